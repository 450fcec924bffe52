"""Figure 2 and figure s6: how the ensemble separates the labels, and how much that depends on the draw."""

import numpy as np
from matplotlib.axes import Axes

from training.measures import Samples, bootstrap, confusion, measure, precision_recall_points, roc_points
from training.outcome import StudyOutcome
from training.report.document import Missing, Picture
from training.report.drawing import BLACK, GREEN, GREY, NEGATIVE, POSITIVE, canvas, drawable, in_style, svg
from training.report.sample import Sample, drawn, sample
from training.report.wording import counted, interval, kept_short

_SAMPLES = 100  # bootstrap samples a draw, as in the paper
_PANELS = ("accuracy", "specificity", "sensitivity", "roc_auc")
_PANEL_NAMES = ("Accuracy", "Specificity", "Sensitivity", "Area under the ROC curve")


@in_style
def separation(outcome: StudyOutcome, *, seed: int = 0) -> Picture | Missing:
    """Figure 2: confusion matrix, ROC, precision against recall, and the scores themselves."""
    chosen = sample(outcome, outcome.primary)
    if not chosen.both_labels:
        return Missing("Figure 2", f"the split {outcome.primary} holds radiographs of one label only.")
    figures = measure(chosen.scores, chosen.positive, chosen.clusters, point=chosen.point, seed=seed)
    others = [other for draw, other in drawn(outcome) if draw is not outcome.draws[0] and other.both_labels]
    figure = canvas(6.2)
    (matrix, roc), (recall, scores) = figure.subplots(2, 2)
    _confusion(matrix, chosen, outcome.labels)
    _roc(roc, chosen, others, interval(figures.roc_auc))
    _precision_recall(recall, chosen, others, interval(figures.pr_auc))
    _scores(scores, chosen, outcome.labels)
    curves = f"Thin lines: the other {counted(len(others), 'draw')}. " if others else ""
    caption = (
        f"Performance of the ensemble on {outcome.primary}, n = {len(chosen)} radiographs of "
        f"{counted(chosen.patients(), 'patient')}. (a) Confusion matrix at a score of {chosen.point:.2f}; shares are "
        f"of the row. (b) ROC curve, area {interval(figures.roc_auc)}. (c) Precision against recall, area "
        f"{interval(figures.pr_auc)}; the dashed line is the share of {outcome.labels[1]}. {curves}"
        f"Dots: a score of {chosen.point:.2f}. (d) Scores by true label; {chosen.point:.2f} is dashed."
    )
    (tn, fp), (fn, tp) = confusion(chosen.scores, chosen.positive, chosen.point)
    alt = (
        f"Four panels. Confusion matrix: {tn} true negative, {fp} false positive, {fn} false negative, {tp} true "
        f"positive. ROC curve with area {interval(figures.roc_auc)}, precision-recall curve with area "
        f"{interval(figures.pr_auc)}, and a histogram of the scores of each label."
    )
    return Picture("Figure 2", caption, alt, svg(figure), "svg")


def _confusion(axes: Axes, chosen: Sample, labels: tuple[str, str]) -> None:
    counts = np.array(confusion(chosen.scores, chosen.positive, chosen.point), float)  # [truth, call]
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for truth in range(2):
        for call in range(2):
            ink = "white" if shares[truth, call] > 0.55 else "black"
            text = f"{counts[truth, call]:.0f}\n{shares[truth, call]:.0%}"
            axes.text(call, truth, text, ha="center", va="center", color=ink, fontsize=11)
    names = [drawable(kept_short(label, 14)) for label in labels]
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], names, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="Called", ylabel="Truth", title="(a) Confusion matrix")


def _roc(axes: Axes, chosen: Sample, others: list[Sample], area: str) -> None:
    for other in others:
        axes.plot(*roc_points(other.scores, other.positive), color=GREY, linewidth=0.7, alpha=0.7)
    axes.plot(*roc_points(chosen.scores, chosen.positive), color=BLACK)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.8)
    (tn, fp), (fn, tp) = confusion(chosen.scores, chosen.positive, chosen.point)
    axes.plot([fp / (fp + tn)], [tp / (tp + fn)], "o", color=BLACK, markersize=6, clip_on=False, zorder=5)
    axes.text(0.97, 0.04, f"AUC {area}", ha="right", transform=axes.transAxes)
    _square(axes)
    axes.set(xlabel="False positive rate", ylabel="True positive rate", title="(b) ROC curve")


def _precision_recall(axes: Axes, chosen: Sample, others: list[Sample], area: str) -> None:
    for other in others:
        axes.plot(
            *precision_recall_points(other.scores, other.positive),
            color=GREY,
            linewidth=0.7,
            alpha=0.7,
            drawstyle="steps-pre",
        )
    axes.plot(*precision_recall_points(chosen.scores, chosen.positive), color=BLACK, drawstyle="steps-pre")
    axes.axhline(float(chosen.positive.mean()), color=GREY, linestyle="--", linewidth=0.8)
    (_, fp), (fn, tp) = confusion(chosen.scores, chosen.positive, chosen.point)
    if tp + fp:
        axes.plot([tp / (tp + fn)], [tp / (tp + fp)], "o", color=BLACK, markersize=6, clip_on=False, zorder=5)
    axes.text(0.03, 0.04, f"AUC {area}", ha="left", transform=axes.transAxes)
    _square(axes)
    axes.set(xlabel="Recall", ylabel="Precision", title="(c) Precision against recall")


def _square(axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.grid(color="#e4e4e4", linewidth=0.6)


def _scores(axes: Axes, chosen: Sample, labels: tuple[str, str]) -> None:
    bins = np.linspace(0, 1, 21)
    for flag, colour, hatch in ((False, NEGATIVE, ""), (True, POSITIVE, "////")):
        part = chosen.scores[chosen.positive == flag]
        name = f"{drawable(kept_short(labels[int(flag)], 16))} (n = {len(part)})"
        axes.hist(
            part, bins, histtype="stepfilled", facecolor=(colour, 0.35), edgecolor=colour, hatch=hatch, linewidth=1.4,
            label=name,
        )  # fmt: skip
    axes.axvline(chosen.point, color=BLACK, linestyle="--", linewidth=0.9)
    axes.legend(loc="upper center", frameon=True, facecolor="white", edgecolor="none", framealpha=1)
    axes.margins(y=0.35)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="Score", ylabel="Radiographs", xlim=(0, 1), title="(d) Scores by true label")


@in_style
def draws(outcome: StudyOutcome, *, seed: int = 0) -> Picture | Missing:
    """Figure s6: the distribution of 100 bootstrap samples of each draw's test split, a panel for each measure."""
    found = [(draw.name, chosen) for draw, chosen in drawn(outcome) if chosen.both_labels]
    if not found:
        return Missing("Figure s6", f"no draw has both labels in its split {outcome.primary}.")
    samples = [
        bootstrap(
            chosen.scores, chosen.positive, chosen.clusters, point=chosen.point, samples=_SAMPLES, seed=seed + place
        )
        for place, (_, chosen) in enumerate(found)
    ]
    figure = canvas(min(9.0, 3.4 + 0.42 * len(found)))
    panels = figure.subplots(2, 2, sharey=True)
    for axes, letter, panel, title in zip(panels.flat, "abcd", _PANELS, _PANEL_NAMES, strict=True):
        _ridges(axes, [_finite(one, panel) for one in samples])
        axes.set_title(f"({letter}) {title}")
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(found)), [drawable(kept_short(name, 16)) for name, _ in found])
    panels[0, 0].set_ylim(len(found) - 0.65, -1.0)
    sizes = [len(chosen) for _, chosen in found]
    span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    alone = " There is one draw only: how far the figures depend on the division cannot be seen." * (len(found) == 1)
    caption = (
        f"Distribution of {_SAMPLES} bootstrap samples of the test split in each of {counted(len(found), 'draw')}, "
        f"n = {span} radiographs: (a) accuracy, (b) specificity, (c) sensitivity, (d) area under the ROC curve of the "
        f"ensemble. Bars are the share of samples in steps of 0.01, the tick their median. {found[0][0]}, in green, is "
        f"the division that the other figures show.{alone}"
    )
    medians = ", ".join(
        f"{title.lower()} {np.median(_finite(samples[0], panel)):.2f}"
        for panel, title in zip(_PANELS, _PANEL_NAMES, strict=True)
    )
    alt = f"Histograms of four measures for each draw. Medians of {found[0][0]}: {medians}."
    return Picture("Figure s6", caption, alt, svg(figure), "svg")


def _finite(samples: Samples, panel: str) -> np.ndarray:
    values = np.asarray(getattr(samples, panel), float)
    return values[np.isfinite(values)]


def _ridges(axes: Axes, rows: list[np.ndarray]) -> None:
    """A histogram above each line, the first in another colour; one scale for all lines of the panel."""
    low = min((values.min() for values in rows if len(values)), default=0.0)
    start = np.floor(min(low, 0.9) * 100) / 100
    bins = np.arange(start, 1.0151, 0.01) - 0.005
    counts = [np.histogram(values, bins)[0] for values in rows]
    most = max(1, *(int(count.max()) for count in counts))
    for place, (values, count) in enumerate(zip(rows, counts, strict=True)):
        colour = GREEN if place == 0 else "#9a9a9a"
        axes.bar(bins[:-1], -0.85 * count / most, 0.01, bottom=place, align="edge", color=colour, linewidth=0)
        axes.axhline(place, color="#bbbbbb", linewidth=0.5)
        if len(values):
            middle = float(np.median(values))
            axes.plot([middle, middle], [place, place + 0.18], color=BLACK, linewidth=1.4)
    axes.set_xlim(bins[0], bins[-1])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
