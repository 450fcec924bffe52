"""Draws one panel into a matplotlib axes, by its kind: near to what Grafana shows, for who has none at hand."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from monitoring.ask import Series
from monitoring.pages import Panel
from monitoring.units import told

COLOURS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2"}
PALETTE = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#e0b400", "#1f60c4", "#fa6400")
INK, FAINT = "#24292e", "#d8d9da"
_ROW = 0.115  # of a table, as a share of the panel
OVER_TIME = ("timeseries", "heatmap")
Found = Sequence[tuple[str, Series]]  # legend, series


def drawer(kind: str) -> Callable[[Axes, Panel, Found], None]:
    return {"stat": _number, "timeseries": _lines, "bargauge": _bars, "heatmap": _heat, "table": _table}[kind]


def instant(at_s: float) -> float:
    """Of Unix time; matplotlib counts days."""
    return at_s / 86400


def _number(axes: Axes, panel: Panel, found: Found) -> None:
    axes.set_axis_off()
    defaults = panel.content["fieldConfig"]["defaults"]
    options = panel.content["options"]
    if not found or not found[0][1].samples:
        text, colour = defaults.get("noValue", "No data"), "green"
    else:
        value = found[0][1].samples[-1][1]
        text, colour = _said(value, defaults, panel.unit)
        if options["textMode"] == "name":
            text = "\n".join(legend for legend, _ in found)
    solid = options["colorMode"] == "background_solid"
    if solid:
        axes.add_patch(_box(axes, COLOURS[colour]))
    size = 22 if len(text) < 9 else 15
    axes.text(0.5, 0.5, text, ha="center", va="center", size=size, color="white" if solid else INK, weight="bold")


def _said(value: float, defaults: Mapping[str, Any], unit: str) -> tuple[str, str]:
    """Text and colour."""
    for mapping in defaults.get("mappings", ()):
        said = mapping["options"].get(f"{value:g}")
        if said is not None:
            return said["text"], said["color"]
    steps = defaults["thresholds"]["steps"]
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return told(value, unit), reached[-1]["color"]


def _box(axes: Axes, colour: str) -> Rectangle:
    return Rectangle((0, 0), 1, 1, transform=axes.transAxes, color=colour, zorder=-1)


def _lines(axes: Axes, panel: Panel, found: Found) -> None:
    defaults = panel.content["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    shown = [(legend, series) for legend, series in found if series.samples]
    base: dict[float, float] = {}
    for (legend, series), colour in zip(shown, PALETTE * 3, strict=False):
        times = [instant(at_s) for at_s, _ in series.samples]
        values = np.array([value for _, value in series.samples])
        if stacked:
            lower = np.array([base.get(at, 0.0) for at, _ in series.samples])
            axes.fill_between(times, lower, lower + values, color=colour, alpha=0.25, lw=0)
            values = lower + values
            base.update({at: value for (at, _), value in zip(series.samples, values, strict=True)})
        if custom.get("drawStyle") == "bars":
            width = (times[-1] - times[0]) / max(len(times), 2) * 0.8
            axes.bar(times, values, width=width, color=colour, label=legend)
        else:
            axes.plot(times, values, color=colour, lw=1.5, label=legend)
    _limit(axes, defaults)
    _over_time(axes, panel)
    top = max((value for _, series in shown for _, value in series.samples), default=1.0)
    axes.set_ylim(0, defaults.get("max") or (max(axes.get_ylim()[1], top * 1.05) if top > 0 else 1))
    if shown:
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.12), ncols=_columns(shown, panel), **_LEGEND)
    else:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", va="center", color=INK)


_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8, "handlelength": 1, "columnspacing": 1.2, "labelspacing": 0}


def _columns(shown: Found, panel: Panel) -> int:
    """As many as fit the width of the panel."""
    longest = max(len(legend) for legend, _ in shown)
    return max(1, min(len(shown), int(panel.place[2] * 8.5 / (longest + 5))))


def _limit(axes: Axes, defaults: Mapping[str, Any]) -> None:
    if defaults["custom"].get("thresholdsStyle", {}).get("mode") == "dashed":
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None:
                axes.axhline(step["value"], color=COLOURS[step["color"]], lw=1.2, ls="--")


def _over_time(axes: Axes, panel: Panel) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: told(value, panel.unit)))
    axes.xaxis.set_major_locator(matplotlib.dates.AutoDateLocator(maxticks=7))
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M:%S"))
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)


def _bars(axes: Axes, panel: Panel, found: Found) -> None:
    rows = [(legend, series.samples[-1][1]) for legend, series in found if series.samples]
    axes.set_axis_off()
    if not rows:
        axes.text(0.5, 0.5, "none", ha="center", va="center", color=INK)
        return
    axes.set_xlim(0, max(value for _, value in rows) * 1.12)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    decimals = panel.content["fieldConfig"]["defaults"].get("decimals", 1)
    for place, (legend, value) in enumerate(rows):
        axes.barh(place, value, height=0.7, color=COLOURS["blue"])
        axes.text(0, place, f"{legend}  ", ha="right", va="center", size=8.5, color=INK)
        axes.text(value, place, f" {value:.{decimals}f}", ha="left", va="center", size=9, color=INK)


def _heat(axes: Axes, panel: Panel, found: Found) -> None:
    """Buckets are cumulative: each row is what is in its own alone."""
    rows = sorted(((float(series.labels["le"]), dict(series.samples)) for _, series in found if series.samples))
    if not rows:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", va="center", color=INK)
        return
    times = sorted({at for _, samples in rows for at in samples})
    whole = np.array([[samples.get(at, 0.0) for at in times] for _, samples in rows])
    own = np.diff(whole, axis=0, prepend=0).clip(min=0)
    shades = np.sqrt(np.ma.masked_less_equal(own, 1e-9))
    places = np.arange(len(rows))
    columns = [instant(at_s) for at_s in times]
    axes.pcolormesh(columns, places, shades, cmap="Blues", vmin=0, shading="nearest", edgecolors="white", lw=0.3)
    _over_time(axes, panel)
    names = [told(le, panel.unit) if np.isfinite(le) else "+Inf" for le, _ in rows]
    every = 1 + len(rows) // 16
    axes.set_yticks(places[::every], names[::every], size=7)
    axes.grid(visible=False)


def _table(axes: Axes, panel: Panel, found: Found) -> None:
    axes.set_axis_off()
    organized = panel.content["transformations"][-1]["options"]
    labels = sorted(organized["indexByName"], key=organized["indexByName"].__getitem__)
    rows = [[organized["renameByName"][label] for label in labels]]
    rows += [[series.labels.get(label, "") for label in labels] for _, series in found]
    longest = [max(len(row[column]) for row in rows) + 3 for column in range(len(labels))]
    places = np.cumsum([0, *longest[:-1]]) / sum(longest)
    for number, row in enumerate(rows):
        middle = 1 - (number + 0.5) * _ROW
        for place, cell in zip(places, row, strict=True):
            axes.text(place, middle, cell, va="center", size=9, color=INK, weight="normal" if number else "bold")
        axes.axhline(middle - _ROW / 2, color=FAINT, lw=0.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
