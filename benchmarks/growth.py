"""How a cost grows with what there is: measured points, the exponent fitted to the last tenfold, and a sentence of it.

An exponent of 1 is in proportion, 2 with the square, 0 not at all. What is fixed and what each further one costs is
told apart where a straight line is what to expect.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LAST = 10.0  # points down to a tenth of the greatest size are fitted
_ROUND = 999.5  # from here on three digits would be written with a power of ten
_SAME, _FLAT = 0.1, 0.1  # an exponent so near to 1, or below this, is told in words as that
_UNITS = {
    "_s": ((1.0, "s", 1.0), (1e-3, "ms", 1e3), (0.0, "us", 1e6)),
    "_bytes": ((1e9, "GB", 1e-9), (1e6, "MB", 1e-6), (1e3, "kB", 1e-3), (0.0, "bytes", 1.0)),
}


@dataclass(frozen=True)
class Point:
    """costs: by name, whose end is their unit. series: which of a curve's lines it is on; empty where there is one.

    source: the result file that it was taken from; empty: measured for this curve.
    """

    size: int
    series: str
    costs: Mapping[str, float]
    source: str = ""


@dataclass(frozen=True)
class Told:
    """A cost that is told in words. straight: whether fixed and further costs are told apart."""

    cost: str
    words: str
    straight: bool = False


@dataclass(frozen=True)
class Growth:
    """Of one cost of one series. exponent: of cost against size, least squares on logarithms, from `low` to `high`.

    fixed, each: cost = fixed + each * size, over all points; None where a straight line was not asked for.
    """

    series: str
    cost: str
    exponent: float
    low: int
    high: int
    fixed: float | None
    each: float | None
    sentence: str


def growths(points: Sequence[Point], told: Sequence[Told], unit: str) -> list[Growth]:
    """One for each series and cost that has two points or more in the last tenfold. unit: what is counted, in words."""
    found = []
    for series in dict.fromkeys(point.series for point in points):
        for one in told:
            sizes = {point.size: point.costs[one.cost] for point in points
                     if point.series == series and point.costs.get(one.cost, 0) > 0}  # fmt: skip
            if len(last := _last(sizes)) > 1:
                found.append(_growth(series, one, sizes, last, unit))
    return found


def exponent(sizes: Mapping[int, float]) -> float:
    """sizes: cost by size, two or more, all above 0."""
    slope, _ = np.polyfit(np.log(list(sizes)), np.log(list(sizes.values())), 1)
    return float(slope)


def straight_line(sizes: Mapping[int, float]) -> tuple[float, float]:
    """What is fixed and what each one costs, by least squares on relative errors; neither below 0."""
    size, cost = np.array(list(sizes), float), np.array(list(sizes.values()))
    (fixed, each), *_ = np.linalg.lstsq(np.stack([1 / cost, size / cost], axis=1), np.ones(len(cost)), rcond=None)
    if fixed < 0:
        return 0.0, float((size / cost).sum() / ((size / cost) ** 2).sum())
    if each < 0:
        return float((1 / cost).sum() / (1 / cost**2).sum()), 0.0
    return float(fixed), float(each)


def amount(cost: str, value: float) -> str:
    """In the unit that reads best. cost: a name that ends in _s or _bytes."""
    for end, scales in _UNITS.items():
        if cost.endswith(end):
            if value == 0:
                return "nothing"
            _, unit, factor = next(scale for scale in scales if value >= scale[0])
            told = value * factor
            return f"{told:.3g} {unit}" if told < _ROUND else f"{told:.0f} {unit}"
    return f"{value:.3g}"


def _last(sizes: Mapping[int, float]) -> dict[int, float]:
    least = max(sizes, default=0) / LAST
    return {size: sizes[size] for size in sorted(sizes) if size >= least}


def _growth(series: str, one: Told, sizes: Mapping[int, float], last: Mapping[int, float], unit: str) -> Growth:
    power, low, high = exponent(last), min(last), max(last)
    fixed, each = straight_line(sizes) if one.straight and len(sizes) > 1 else (None, None)
    of = f"{series}: " if series else ""
    sentence = (
        f"{of}{one.words} {_in_words(power)} (exponent {power:.2f}) from {low:,} to {high:,} {unit}, "
        f"from {amount(one.cost, last[low])} to {amount(one.cost, last[high])}"
    )
    if fixed is not None and each is not None:
        sentence += f"; {amount(one.cost, fixed)} in any case and {amount(one.cost, each)} for each"
    return Growth(series, one.cost, power, low, high, fixed, each, f"{sentence}.")


def _in_words(power: float) -> str:
    if power < -_FLAT:
        return "falls"
    if power < _FLAT:
        return "stays as it is"
    if math.isclose(power, 1, abs_tol=_SAME):
        return "grows in proportion"
    return "grows more slowly than in proportion" if power < 1 else "grows faster than in proportion"
