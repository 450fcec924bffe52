"""The plot of benchmarks/cost_curves.py: one panel a curve, costs against size, both on logarithmic scales.

Seconds are on the left and drawn through, bytes on the right and dashed; points from earlier result files are hollow.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.growth import amount
from training.report.drawing import CATEGORIES, MARKERS, canvas, in_style, png

_HEIGHT_IN = 3.4  # of one panel
_SIZES_TOLD = 8  # with no more, each is a tick
_ROOM, _WIDE = 1.7, 300.0


@in_style
def draw(curves: Mapping[str, Mapping[str, Any]]) -> bytes:
    """PNG. curves: as the JSON file holds them."""
    figure = canvas(_HEIGHT_IN * len(curves))
    for axes, (name, curve) in zip(figure.subplots(len(curves), 1, squeeze=False)[:, 0], curves.items(), strict=True):
        _panel(axes, name, curve)
    return png(figure)


def _panel(axes: Axes, name: str, curve: Mapping[str, Any]) -> None:
    """Each cost that is told has a colour, each series a marker."""
    memory = axes.twinx()
    told = list(dict.fromkeys(growth["cost"] for growth in curve["growth"]))
    series = list(dict.fromkeys(point["series"] for point in curve["points"]))
    for number, cost in enumerate(told):
        is_memory = cost.endswith("_bytes")
        colour = CATEGORIES[number % len(CATEGORIES)]
        for place, one in enumerate(series):
            points = [point for point in curve["points"] if point["series"] == one and cost in point["costs"]]
            label = cost if len(series) == 1 else f"{cost}, {one}"
            _line(
                memory if is_memory else axes, points, cost, colour, MARKERS[place], "--" if is_memory else "-", label
            )
    _scales(axes, memory, curve)
    axes.set_title(f"{name}: cost against {curve['unit']}")


def _line(
    axes: Axes, points: list[Mapping[str, Any]], cost: str, colour: str, marker: str, style: str, label: str
) -> None:
    if not points:
        return
    sizes, costs = [point["size"] for point in points], [point["costs"][cost] for point in points]
    axes.plot(sizes, costs, style, color=colour, marker=marker, markersize=4, linewidth=1.2, label=label)
    for point in points:
        if point["source"]:
            axes.plot(point["size"], point["costs"][cost], marker, color=colour, markersize=4, markerfacecolor="white")


def _scales(axes: Axes, memory: Axes, curve: Mapping[str, Any]) -> None:
    sizes = sorted({point["size"] for point in curve["points"]})
    for one, cost in ((axes, "_s"), (memory, "_bytes")):
        one.set_xscale("log")
        _costs_scale(one, cost)
    if len(sizes) <= _SIZES_TOLD:
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(curve["unit"])
    memory.spines["right"].set_visible(True)
    handles = [line for one in (axes, memory) for line in one.get_lines() if not str(line.get_label()).startswith("_")]
    axes.legend(handles=handles, fontsize=6, loc="center left", bbox_to_anchor=(1.18, 0.5))


def _costs_scale(axes: Axes, cost: str) -> None:
    """With room above and below, so that there is a tick in any case."""
    if not axes.get_lines():
        axes.set_yticks([])
        return
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.get_lines()])
    low, high = float(values.min()) / _ROOM, float(values.max()) * _ROOM
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high > _WIDE * low else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(cost, value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
