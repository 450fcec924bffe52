"""Figures in words: how a report writes a share, an interval, a count or a list."""

import math
from collections.abc import Sequence

from edge.statistics import Interval, Proportion
from training.report.paper import Share

NONE = "\N{EN DASH}"


def interval(figure: Interval | None, digits: int = 2) -> str:
    """0.83 (0.71 to 0.91); a dash where there is none."""
    if figure is None or math.isnan(figure.value):
        return NONE
    if math.isnan(figure.low) or math.isnan(figure.high):
        return f"{figure.value:.{digits}f} (no interval)"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def proportion(figure: Proportion | None) -> str:
    """0.83 (0.71 to 0.91), 25/30; a dash where nothing was counted."""
    if figure is None or figure.total == 0:
        return NONE
    return f"{interval(figure.interval)}, {figure.count}/{figure.total}"


def share(printed: Share, limits: tuple[float, float] | None = None) -> str:
    """A percentage of the paper, in this report's form; percentages keep the paper's digits."""
    value = f"{_unit(printed.percent)}"
    spread = "" if limits is None else f" ({_unit(limits[0])} to {_unit(limits[1])})"
    return f"{value}{spread}, {printed.count}/{printed.total}"


def _unit(percent: float) -> str:
    return f"{percent / 100:.3f}"


def mean_std(pair: tuple[float, float], digits: int = 2) -> str:
    mean, std = pair
    return NONE if math.isnan(mean) else f"{mean:.{digits}f} ± {std:.{digits}f}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """1 image, 3 images."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def percent(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.0%})" if whole else str(part)


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def kept_short(text: str, most: int = 28) -> str:
    """For axes and panels: a longer name is cut with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"
