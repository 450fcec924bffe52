"""Figures with their intervals: areas with a bootstrap over clusters, proportions with Wilson's interval; and what
every figure asks of its numbers. What is measured of a network is in measures.py.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
_Z = 1.959964  # 97.5th percentile of the normal distribution

Times = NDArray[np.intp]  # [n]: how often a redraw counts each radiograph
Cluster = tuple[str, str]  # kind and name: a group, or a patient who is in none


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Proportion:
    """count of total, at least 1, with Wilson's 95% interval (Wilson 1927)."""

    count: int
    total: int

    @property
    def interval(self) -> Interval:
        share = self.count / self.total
        centre = share + _Z**2 / (2 * self.total)
        half = _Z * math.sqrt(share * (1 - share) / self.total + _Z**2 / (4 * self.total**2))
        scale = 1 + _Z**2 / self.total
        low, high = (centre - half) / scale, (centre + half) / scale
        # For none and for all, rounding alone would leave the share outside, or end beyond it: "-0.000".
        return Interval(share, max(min(low, share), 0.0), min(max(high, share), 1.0))


@dataclass(frozen=True)
class Ranking:
    """Radiographs in the order of their scores. level: int [n], equal for equal scores. positive: bool [n]."""

    level: NDArray[np.intp]
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: ArrayLike, positive: ArrayLike) -> "Ranking":
        """Raises ValueError without both labels."""
        values, flags = labelled(scores, positive)
        need_both_labels(flags)
        return cls(np.unique(values, return_inverse=True)[1], flags)

    def roc_area(self, times: Times | None = None) -> float | None:
        """The share of (positive, negative) pairs in the right order, ties a half; None where a redraw has no pair."""
        negatives, positives = self._counts(times)
        pairs = positives.sum() * negatives.sum()
        below = np.cumsum(negatives) - negatives / 2
        return float(positives @ below / pairs) if pairs else None

    def average_precision(self, times: Times | None = None) -> float | None:
        """Area under the steps of the P-R curve: straight lines between its points would promise too much (Davis and
        Goadrich 2006). None where a redraw lacks one of the labels."""
        negatives, positives = (counts[::-1] for counts in self._counts(times))  # from the highest score down
        if not positives.any() or not negatives.any():
            return None
        found = np.cumsum(positives)
        called = np.maximum(found + np.cumsum(negatives), 1)
        return float(positives @ (found / called) / found[-1])

    def _counts(self, times: Times | None) -> NDArray[np.float64]:
        """[2, levels]: negatives and positives at each level, from the lowest score up."""
        cells = 2 * self.level + self.positive
        counts = np.bincount(cells, times, minlength=2 * (self.level.max() + 1))
        return counts.astype(np.float64).reshape(-1, 2).T


def auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties a half.

    Raises ValueError without both labels.
    """
    area = Ranking.of(scores, positive).roc_area()
    assert area is not None
    return area


def auc_interval(scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike, *, seed: int = 0) -> Interval:
    """AUC over all radiographs; its interval redraws whole clusters (a group, or a patient), for radiographs of one are
    not independent. Where the scores separate the labels, every sample has AUC 1, and the interval says nothing.
    """
    return bootstrap_interval(Ranking.of(scores, positive).roc_area, clusters, seed=seed)


def precision_interval(scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike, *, seed: int = 0) -> Interval:
    """Average precision over all radiographs, its interval as that of the AUC."""
    return bootstrap_interval(Ranking.of(scores, positive).average_precision, clusters, seed=seed)


def bootstrap_interval(figure: Callable[[Times], float | None], clusters: ArrayLike, *, seed: int = 0) -> Interval:
    """The figure of all radiographs, with the 2.5th and 97.5th percentiles of RESAMPLES redraws of whole clusters.

    figure: None where a redraw has not what it takes (a label, a source): that redraw is left out.
    """
    names = np.asarray(clusters)
    value = figure(np.ones(len(names), np.intp))
    if value is None:
        raise ValueError(f"the figure cannot be told of these {len(names)} radiographs; check their labels first")
    drawn = [figure(times) for times in islice(redraws(names, seed=seed), RESAMPLES)]
    low, high = np.percentile([answer for answer in drawn if answer is not None], [2.5, 97.5])
    return Interval(value, float(low), float(high))


def clusters_of(listed: Iterable[tuple[str, str]]) -> dict[str, Cluster]:
    """Patient -> cluster: all who share a group with the patient, also by way of others.

    listed: each radiograph's patient and group, which is empty where there is none.
    """
    least: dict[Cluster, Cluster] = {}

    def root(name: Cluster) -> Cluster:
        while least.setdefault(name, name) != name:
            name = least[name]
        return name

    pairs = list(listed)
    for patient, group in pairs:
        one = root(("patient", patient))
        if group:
            other = root(("group", group))
            least[max(one, other)] = min(one, other)  # the least, so that the order of rows does not matter
    return {patient: root(("patient", patient)) for patient, _ in pairs}


def redraws(clusters: ArrayLike, *, seed: int) -> Iterator[Times]:
    """Bootstrap samples without end: as many clusters as there are, drawn with replacement, each with all its rows."""
    names, owner = np.unique(np.asarray(clusters), return_inverse=True)
    random = np.random.default_rng(seed)
    while True:
        yield np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))[owner]


def labelled(scores: ArrayLike, positive: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores float64 [n] and labels bool [n]. Raises ValueError at another shape, and at a number that is none."""
    values, flags = finite("scores", scores), finite("positive", positive)
    same_length(scores=values, positive=flags)
    if values.ndim != 1 or not np.isin(flags, (0, 1)).all():
        seen = f"{list(values.shape)} and {np.unique(flags)[:5].tolist()}"
        raise ValueError(f"scores must be [n], and labels true or false; they are {seen}")
    return values, flags.astype(bool)


def need_both_labels(positive: NDArray[np.bool_]) -> None:
    """Raises ValueError without both labels."""
    if positive.all() or not positive.any():
        raise ValueError(f"this needs both labels; {int(positive.sum())} of {len(positive)} radiographs are positive")


def finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """As float64. Raises ValueError that names the first number that is none, for no figure may hide it."""
    numbers = np.asarray(values, np.float64)
    if not np.isfinite(numbers).all():
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(numbers))[0])
        raise ValueError(f"{name} has {numbers[place]} at row {place[0] if place else 0}; leave that radiograph out")
    return numbers


def same_length(**columns: ArrayLike) -> None:
    """Raises ValueError where columns that belong together have unequal numbers of rows."""
    lengths = {name: len(np.asarray(column)) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"these need one row for each radiograph; they have {listed}")
