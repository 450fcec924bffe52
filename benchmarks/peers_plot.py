"""The plot of benchmarks/peers.py: how many times as long as the box each peer takes, one panel a race."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.peers_report import Report
from benchmarks.race import Outcome, Row

WIDTH_INCHES, ROW_INCHES, HEAD_INCHES = 9.0, 0.28, 0.75
OURS, OTHERS = "#1f6f8b", "#9aa5ad"


def draw(report: Report, path: Path) -> None:
    """Nothing where nothing was measured."""
    outcomes = [outcome for outcome in report.outcomes if any(row.ratio for row in outcome.rows)]
    if not outcomes:
        return
    heights = [HEAD_INCHES + ROW_INCHES * len(_measured(outcome)) for outcome in outcomes]
    figure, panels = plt.subplots(
        len(outcomes),
        1,
        figsize=(WIDTH_INCHES, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axes, outcome in zip(panels[:, 0], outcomes, strict=True):
        _panel(axes, outcome)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _measured(outcome: Outcome) -> list[Row]:
    return [row for row in outcome.rows if row.ratio is not None]


def _panel(axes: Axes, outcome: Outcome) -> None:
    """Bars from zero, the baseline's length as a line across, the interval as a line, the median in words."""
    rows = _measured(outcome)
    for place, row in enumerate(rows):
        assert row.ratio is not None and row.median_s is not None
        value = row.ratio.value
        low, high = row.ratio.low or value, row.ratio.high or value
        axes.barh(place, value, color=OURS if place == 0 else OTHERS, height=0.7)
        axes.plot([low, high], [place, place], color="black", linewidth=1.2)
        axes.text(
            high,
            place,
            f"  {value:.2f}   {_time(row.median_s)}",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    axes.set_yticks(range(len(rows)), [row.peer for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(row.ratio.high or row.ratio.value for row in rows if row.ratio) * 1.25)
    axes.axvline(1, color="black", linewidth=0.6)
    cores = "" if outcome.cores is None else f", {outcome.cores} core"
    axes.set_title(f"{outcome.race}{cores}", fontsize=9, loc="left")
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlabel("times as long as the first", fontsize=8)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
