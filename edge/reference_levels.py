"""How a quantity is spread over a set of radiographs, and how far a few others lie from that: for drift.py and bundles.

The measure is that of Kolmogorov and Smirnov, on classes: the largest difference between the cumulated shares.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge.strict_json import number, share

CLASSES = 10
# By simulation (benchmarks/drift_alarms.py). The first by itself: of 1,000 streams of 2,000 radiographs, looked at with
# each one, about one goes above it by chance. The second is a difference that no alarm is worth.
_CHANCE = 2.15
_SLIGHT = 0.07
LEAST_COUNT = 100  # radiographs; of fewer, levels say too little


@dataclass(frozen=True)
class Levels:
    """Classes of a quantity and their shares in a reference.

    edges: rising; a value that is equal to one lies above it. shares: one more than edges, of sum 1. count: how many
    radiographs they were taken of.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    count: int

    @classmethod
    def of(cls, values: Sequence[float], edges: Sequence[float] | None = None) -> Self:
        """edges: by default what parts the values into tenths, or fewer where many are equal."""
        if edges is None:
            edges = sorted(set(np.quantile(values, np.arange(1, CLASSES) / CLASSES).tolist()))
        return cls(tuple(edges), tuple((_counts(values, edges) / len(values)).tolist()), len(values))

    def distance(self, values: Sequence[float]) -> float:
        """0 when the values are spread as the reference, 1 when all lie beyond all of it."""
        apart = np.cumsum(_counts(values, self.edges) / len(values)) - np.cumsum(self.shares)
        return float(np.abs(apart).max())

    def limit(self, count: int) -> float:
        """What the distance of `count` values exceeds only when they are not spread as the reference."""
        return _SLIGHT + _CHANCE * math.sqrt(1 / count + 1 / self.count)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def levels_from_json(told: Any) -> Levels:
    """As it stands in a bundle's manifest. Raises ValueError, TypeError or KeyError when it is no such thing."""
    edges = tuple(number(edge) for edge in told["edges"])
    shares = tuple(share(part) for part in told["shares"])
    count = told["count"]
    if type(count) is not int or count < LEAST_COUNT:
        raise ValueError(f"levels are of {count!r} radiographs; at least {LEAST_COUNT} are needed")
    if not edges or any(low >= high for low, high in itertools.pairwise(edges)):
        raise ValueError(f"edges are {list(edges)}; they must rise")
    if len(shares) != len(edges) + 1 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"{len(edges)} edges have {len(shares)} shares of sum {sum(shares):.6f}; one more, of sum 1")
    return Levels(edges, shares, count)


def _counts(values: Sequence[float], edges: Sequence[float]) -> NDArray[np.intp]:
    """[classes]"""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
