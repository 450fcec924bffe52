"""How measured seconds spread: least, most, mean, median, percentiles, and how well the median is known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_ONE_IN = 40  # the true median lies below its 95 % interval once in so many times, and above it as often


@dataclass(frozen=True)
class Spread:
    """Seconds over `count` runs.

    median_half_width: half the median's 95 % interval, as a share of the median. The interval lies between two of the
    measured values (order statistics), whatever the distribution; None below 6 runs, which give no such interval.
    """

    count: int
    min_s: float
    max_s: float
    mean_s: float
    median_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    median_half_width: float | None


def spread_of(seconds: Sequence[float]) -> Spread:
    """seconds: one for each run, in any order; at least one."""
    median, p90, p95, p99 = (float(quantile) for quantile in np.percentile(seconds, (50, 90, 95, 99)))
    return Spread(
        len(seconds),
        float(min(seconds)),
        float(max(seconds)),
        float(np.mean(seconds)),
        median,
        p90,
        p95,
        p99,
        _half_width(seconds, median),
    )


def _half_width(seconds: Sequence[float], median: float) -> float | None:
    outer = interval_rank(len(seconds))
    if outer == 0 or median == 0:
        return None
    ordered = sorted(seconds)
    return (ordered[-outer] - ordered[outer - 1]) / 2 / median


def interval_rank(count: int) -> int:
    """The r for which the r-th least and the r-th greatest of `count` values enclose the median at 95 %; 0: none does.

    As many values lie below the true median as a fair coin shows heads.
    """
    rank, heads, below = 0, 1, 1  # of 2**count tosses: with just `rank` heads, and with no more
    while _ONE_IN * below <= 2**count:
        rank += 1
        heads = heads * (count - rank + 1) // rank
        below += heads
    return rank
