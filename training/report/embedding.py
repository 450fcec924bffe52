"""Figure 3: the embeddings of train and test in two dimensions, by label and by source."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from training.outcome import StudyOutcome
from training.report.document import Missing, Picture
from training.report.drawing import (
    CATEGORIES,
    GREY,
    MARKERS,
    NEGATIVE,
    POSITIVE,
    canvas,
    drawable,
    in_style,
    svg,
)
from training.report.paper import name_of
from training.report.sample import sample
from training.report.wording import counted, kept_short

_FEWEST = 6  # radiographs; fewer have no neighbourhoods to keep
_PERPLEXITY = 30.0


def reduced(embeddings: NDArray[np.float32], *, seed: int) -> NDArray[np.float64]:
    """t-SNE: [n, 128] -> [n, 2]. On one thread, for the order of sums must not depend on the machine's cores."""
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(embeddings)


@in_style
def map_of_embeddings(outcome: StudyOutcome, *, seed: int = 0) -> Picture | Missing:
    """Figure 3: (a) coloured by label, (b) by source; where one source is known, (a) alone."""
    member = outcome.embedding_member
    train, test = sample(outcome, "train", member), sample(outcome, outcome.primary, member)
    embeddings = np.concatenate([train.embeddings, test.embeddings])
    if len(embeddings) < _FEWEST or float(np.ptp(embeddings, axis=0).max()) == 0:
        return Missing("Figure 3", f"{counted(len(embeddings), 'embedding')} that differ are too few for a map.")
    points = reduced(embeddings, seed=seed)
    of_test = np.arange(len(points)) >= len(train)
    positive = np.concatenate([train.positive, test.positive])
    labels = [outcome.labels[int(flag)] for flag in positive]
    sources = [row.source for row in (*train.rows, *test.rows)]
    several = len(set(sources)) > 1
    figure = canvas(3.9 if several else 4.6)
    panels = figure.subplots(1, 2 if several else 1, squeeze=False)[0]
    _scatter(panels[0], points, labels, of_test, dict(zip(outcome.labels, (NEGATIVE, POSITIVE), strict=True)))
    panels[0].set_title("(a) By label" if several else "By label")
    if several:
        _scatter(panels[1], points, *_grouped(sources, of_test))
        panels[1].set_title("(b) By source")
    beside = "(b) the same points by source: clusters that follow the source warn of a shortcut" if several else ""
    caption = (
        f"t-SNE of the embeddings of {name_of(member)}: n = {len(train)} training radiographs (hollow) and {len(test)} "
        f"of {outcome.primary} (filled). {'(a) ' if several else ''}By true label{'; ' if several else ''}{beside}. "
        + (
            ""
            if several
            else f"The manifest names {'one' if sources[0] else 'no'} source, so there is no panel by source. "
        )
        + "Distances between far clusters mean nothing."
    )
    alt = f"Scatter of {len(points)} points in two dimensions, coloured by label" + (
        f" and by {counted(len(set(sources)), 'source')}." if several else "."
    )
    return Picture("Figure 3", caption, alt, svg(figure), "svg")


def _grouped(sources: Sequence[str], of_test: NDArray[np.bool_]) -> tuple[list[str], NDArray[np.bool_], dict[str, str]]:
    """The seven largest sources in colours of their own; the others share one."""
    names, counts = np.unique(sources, return_counts=True)
    largest = [str(name) for name in names[np.argsort(-counts, kind="stable")][: len(CATEGORIES) - 1]]
    shown = [_shown(name) if name in largest else "other sources" for name in sources]
    colours = dict(zip(map(_shown, largest), CATEGORIES, strict=False))
    return shown, of_test, {**colours, "other sources": GREY}


def _shown(source: str) -> str:
    return source or "no source named"


def _scatter(
    axes: Axes,
    points: NDArray[np.float64],
    groups: Sequence[str],
    of_test: NDArray[np.bool_],
    colours: dict[str, str],
) -> None:
    size = float(np.clip(2500 / len(points), 6, 26))
    kinds = np.asarray(groups)
    for place, (group, colour) in enumerate(colours.items()):
        marker = MARKERS[place % len(MARKERS)]
        for test in (False, True):
            part = points[(kinds == group) & (of_test == test)]
            face = colour if test else "none"
            axes.scatter(
                part[:, 0], part[:, 1], size, marker=marker, facecolors=face, edgecolors=colour, linewidths=0.8
            )
        if (kinds == group).any():
            name = f"{drawable(kept_short(group, 20))} (n = {int((kinds == group).sum())})"
            axes.scatter([], [], 26, marker=marker, color=colour, label=name)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#bbbbbb")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, handletextpad=0.2, columnspacing=1.0)
