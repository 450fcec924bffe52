"""Figures with their intervals: rank AUC with a bootstrap over clusters, proportions with Wilson's interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
_Z = 1.959964  # 97.5th percentile of the normal distribution


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Proportion:
    """count of total, with Wilson's 95% interval (Wilson 1927)."""

    count: int
    total: int

    @property
    def interval(self) -> Interval:
        share = self.count / self.total
        centre = share + _Z**2 / (2 * self.total)
        half = _Z * math.sqrt(share * (1 - share) / self.total + _Z**2 / (4 * self.total**2))
        scale = 1 + _Z**2 / self.total
        return Interval(share, (centre - half) / scale, (centre + half) / scale)


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties a half.

    Raises ValueError without both labels.
    """
    wins = _wins(np.asarray(scores, float), np.asarray(positive, bool))
    return float(wins.mean())


def auc_interval(
    scores: Sequence[float], positive: Sequence[bool], clusters: Sequence[str], *, seed: int = 0
) -> Interval:
    """AUC over all radiographs; its interval redraws whole clusters (a group, or a patient), for radiographs of one are
    not independent. Where the scores separate the labels, every sample has AUC 1, and the interval says nothing.
    """
    flags = np.asarray(positive, bool)
    wins = _wins(np.asarray(scores, float), flags)  # [positives, negatives]
    names, owner = np.unique(np.asarray(clusters), return_inverse=True)
    random = np.random.default_rng(seed)
    drawn: list[float] = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names))[owner]
        of_positives, of_negatives = times[flags], times[~flags]
        pairs = of_positives.sum() * of_negatives.sum()
        if pairs > 0:
            drawn.append(float(of_positives @ wins @ of_negatives / pairs))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(float(wins.mean()), float(low), float(high))


def youden_point(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """The operating point with the greatest sensitivity + specificity, midway to the next lower score."""
    values, flags = np.asarray(scores, float), np.asarray(positive, bool)
    levels = np.unique(values)
    points = np.concatenate([[levels[0]], (levels[1:] + levels[:-1]) / 2])
    gains = [float((values[flags] >= point).mean() + (values[~flags] < point).mean()) for point in points]
    best = np.flatnonzero(np.isclose(gains, max(gains)))
    return float(points[best[len(best) // 2]])


def _wins(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[positives, negatives]: 1 where the positive scores higher, one half at a tie."""
    if positive.all() or not positive.any():
        raise ValueError("an AUC needs both labels")
    difference = scores[positive][:, None] - scores[~positive][None, :]
    return np.where(difference == 0, 0.5, difference > 0)
