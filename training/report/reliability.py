"""Whether the scores mean what they say: the reliability diagram, temperature, and the operating points."""

import numpy as np

from edge.calibration import fit_temperature, reliability
from edge.operating_point import operating_point
from edge.temperature import apply_temperature
from training.measures import measure
from training.outcome import StudyOutcome
from training.report.document import Missing, Picture, Table
from training.report.drawing import BLUE, GREY, ORANGE, canvas, in_style, svg
from training.report.sample import HALF, Sample, rule_of, sample
from training.report.wording import interval, proportion

_RULES = (HALF, "youden", "sensitivity=0.90")
_RULE_NAMES = {HALF: "0.5, as in the paper", "youden": "Youden: greatest sensitivity + specificity"}


@in_style
def diagram(outcome: StudyOutcome, number: str, *, seed: int = 0) -> Picture | Missing:
    """Observed share against score, before and after the temperature that the validation rows give."""
    test, held = sample(outcome, outcome.primary), sample(outcome, "val")
    if not len(test):
        return Missing(number, f"the split {outcome.primary} is empty.")
    temperature = fit_temperature(held.scores, held.positive) if held.both_labels else None
    series = [("As scored", test.scores, BLUE, "o")]
    if temperature is not None:
        series.append((f"Temperature {temperature:.2f}", apply_temperature(test.scores, temperature), ORANGE, "^"))
    figure = canvas(3.7)
    curve, counts = figure.subplots(1, 2, width_ratios=[1.3, 1])
    curve.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.9)
    told = []
    for name, scores, colour, marker in series:
        found = reliability(scores, test.positive, test.clusters, seed=seed)
        filled = found.counts > 0
        curve.plot(found.confidence[filled], found.observed[filled], color=colour, linewidth=1.0)
        sizes = 14 + 110 * found.counts[filled] / len(test)
        curve.scatter(found.confidence[filled], found.observed[filled], sizes, color=colour, marker=marker, label=name)
        edges = np.linspace(0, 1, len(found.counts) + 1)
        counts.stairs(
            found.counts, edges, color=colour, linewidth=1.5, label=name, linestyle="-" if marker == "o" else "--"
        )
        told.append(f"{name}, expected calibration error {interval(found.ece)}, by chance alone {found.by_chance:.2f}")
    curve.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="Mean score", ylabel="Share of positives", aspect="equal")
    curve.set_title("(a) Reliability")
    curve.legend(loc="upper left")
    counts.set(xlabel="Score", ylabel="Radiographs", xlim=(0, 1), title="(b) Radiographs in each bin")
    counts.yaxis.get_major_locator().set_params(integer=True)
    how = (
        f"The temperature is fitted on the {len(held)} validation radiographs."
        if temperature is not None
        else "There is no temperature: the validation rows hold one label only."
    )
    caption = (
        f"Reliability of the ensemble's scores on {outcome.primary}, n = {len(test)}: (a) share of {outcome.labels[1]} "
        f"against the mean score, in ten bins of equal width; larger marks hold more radiographs; on the dashed line a "
        f"score means what it says. (b) Radiographs in each bin. {'. '.join(told)}. {how} The share of "
        f"{outcome.labels[1]} here, {test.positive.mean():.2f}, need not be that of a hospital."
    )
    return Picture(number, caption, f"Reliability diagram: {'; '.join(told)}.", svg(figure), "svg")


def operating_points(outcome: StudyOutcome, number: str) -> Table | Missing:
    """What each rule, applied to the validation rows, comes to on the primary test split."""
    test, held = sample(outcome, outcome.primary), sample(outcome, "val")
    if not held.both_labels:
        return Missing(number, "the validation rows hold one label only, so no rule can set an operating point.")
    chosen = rule_of(outcome)
    rules = tuple(dict.fromkeys((*_RULES, chosen)))
    rows = [_rule_row(rule, test, held, chosen=rule == chosen) for rule in rules]
    caption = (
        f"Operating points of the ensemble by rule: set on the {len(held)} validation radiographs, measured on the "
        f"{len(test)} of {outcome.primary}. The study's rule stands out; it holds for every table and figure."
    )
    header = ("Rule", "Score", "Accuracy", "Sensitivity", "Specificity")
    return Table(number, caption, header, tuple(rows), frozenset({rules.index(chosen)}))


def _rule_row(rule: str, test: Sample, held: Sample, *, chosen: bool) -> tuple[str, ...]:
    point = operating_point(held.scores, held.positive, rule)
    figures = measure(test.scores, test.positive, test.clusters, point=point)
    name = _RULE_NAMES.get(rule, rule.replace("sensitivity=", "highest with a sensitivity of "))
    return (
        f"{name} (this study)" if chosen else name,
        f"{point:.3f}",
        proportion(figures.accuracy),
        proportion(figures.sensitivity),
        proportion(figures.specificity),
    )
