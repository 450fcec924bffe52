"""Figure 4: the score against the days since admission."""

import numpy as np

from training.outcome import StudyOutcome
from training.report.document import Missing, Picture
from training.report.drawing import BLACK, GREY, POSITIVE, canvas, in_style, svg
from training.report.sample import all_tests
from training.report.wording import counted, listed
from training.subgroups import by_day

_MOST_LABELS = 16  # counts above the means; more would run into each other


@in_style
def course(outcome: StudyOutcome) -> Picture | Missing:
    """Figure 4: of every positive test radiograph whose day is known; (a) each, (b) the mean of each day."""
    tests, positive = all_tests(outcome), outcome.labels[1]
    known = by_day(tests.rows, tests.scores, positive)
    if not known.means:
        return Missing("Figure 4", f"no {positive} radiograph of a test split has a value in days_since_admission.")
    days, means, counts = (np.array(values) for values in zip(*known.means, strict=True))
    figure = canvas(3.0)
    each, mean = figure.subplots(1, 2, sharey=True, sharex=True)
    each.scatter(known.days, known.scores, 16, facecolors="none", edgecolors=POSITIVE, linewidths=0.9)
    each.set(ylabel="Score", title="(a) Each radiograph")
    mean.plot(days, means, color=GREY, linewidth=0.8, zorder=1)
    mean.scatter(days, means, 14 + 5 * counts, color=POSITIVE, zorder=2)
    mean.set_title("(b) Mean of each day, with n")
    step = -(-len(days) // _MOST_LABELS)
    for day, height, count in list(zip(days, means, counts, strict=True))[::step]:
        mean.annotate(f"{count:.0f}", (day, height), (0, 6), textcoords="offset points", ha="center", fontsize=7)
    for axes in (each, mean):
        axes.axhline(tests.point, color=BLACK, linestyle="--", linewidth=0.8)
        axes.set(xlabel="Days since admission", ylim=(-0.04, 1.1))
        axes.margins(x=0.06)
    held = {row.split for row in tests.rows if row.label == positive and row.days_since_admission is not None}
    splits = listed([name for name in outcome.draws[0].tests() if name in held])
    caption = (
        f"Score of the ensemble against the days since admission: n = {len(known.days)} {positive} radiographs of "
        f"{counted(len(set(known.clusters)), 'patient or group', 'patients or groups')} in {splits}. (a) Each "
        "radiograph. (b) The mean of each day; larger dots hold more radiographs, and small n means little. Dashed: "
        f"{tests.point:.2f}."
    )
    alt = (
        f"Scores over {days[0]:g} to {days[-1]:g} days since admission; the mean is {means[0]:.2f} on the first day "
        f"and {means[-1]:.2f} on the last."
    )
    return Picture("Figure 4", caption, alt, svg(figure), "svg")
