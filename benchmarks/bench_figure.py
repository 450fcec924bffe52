"""A measurement as a picture: throughput and latency by batch, stages, and the daemon's reaction. Needs matplotlib."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from benchmarks.measurement import Measured
from benchmarks.spread import Spread
from training.report.drawing import BLUE, GREEN, GREY, VERMILLION, canvas, in_style, png

_HEIGHT_IN = 2.4  # of one panel


@in_style
def draw(measured: Measured) -> bytes:
    """PNG."""
    reaction = measured.reaction
    panels = 1 + bool(measured.engine_rows) + (reaction is not None)
    figure = canvas(_HEIGHT_IN * panels)
    axes = list(figure.subplots(panels, 1, squeeze=False)[:, 0])
    engine = measured.engine
    figure.suptitle(f"{engine.backend} {engine.precision}, bundle {engine.bundle_id[:12]}", fontsize=9)
    if measured.engine_rows:
        _engine(axes.pop(0), measured)
    _spreads(axes.pop(0), [(one.stage, one.spread) for one in measured.latencies], "One radiograph, by stage", BLUE)
    if reaction is not None:
        parts = [("reaction", reaction.reaction), ("infer", reaction.infer), ("besides infer", reaction.besides_infer)]
        title = f"Daemon, file complete to result visible, {reaction.rate_per_s:g} radiographs/s"
        _spreads(axes.pop(0), parts, title, VERMILLION)
    return png(figure)


def _engine(axes: Axes, measured: Measured) -> None:
    rows = measured.engine_rows
    batches = [row.batch for row in rows]
    axes.plot(batches, [row.radiographs_per_s for row in rows], "o-", color=GREEN)
    axes.set_xticks(batches)
    axes.set_ylim(0, 1.15 * max(row.radiographs_per_s for row in rows))
    axes.set_xlabel("batch")
    axes.set_ylabel("radiographs/s")
    axes.set_title(f"Engine alone, requests in flight: {rows[0].requests}")
    for row in rows:
        label = f"{1000 * row.latency.median_s:.0f} ms"
        axes.annotate(label, (row.batch, row.radiographs_per_s), textcoords="offset points", xytext=(0, -12),
                      ha="center", fontsize=7, color=GREY)  # fmt: skip


def _spreads(axes: Axes, parts: Sequence[tuple[str, Spread]], title: str, colour: str) -> None:
    """Median as a bar; a line from the least to the 95th percentile, a dot for the greatest."""
    for place, (_, spread) in enumerate(parts):
        axes.barh(place, 1000 * spread.median_s, color=colour, alpha=0.7, height=0.6)
        axes.plot([1000 * spread.min_s, 1000 * spread.p95_s], [place, place], color="black")
        axes.plot(1000 * spread.max_s, place, "o", color="black", markersize=3)
    axes.set_yticks(range(len(parts)), [name for name, _ in parts])
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("ms: median; line to p95; dot at the greatest")
    axes.set_title(title)
