"""The score from which a radiograph is called positive: chosen by a stated rule, with the interval of that choice."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.statistics import Interval, Times, bootstrap_interval, labelled, need_both_labels, same_length

HALF, YOUDEN, SENSITIVITY, SPECIFICITY = "half", "youden", "sensitivity", "specificity"
_TARGETED = re.compile(rf"({SENSITIVITY}|{SPECIFICITY})=(0?\.\d+|1|1\.0+)")
_ROUNDING = 1e-9  # 9 of 10 is 0.90, whatever the rounding


@dataclass(frozen=True)
class Rule:
    """kind: half, youden, sensitivity or specificity. target: what the last two must reach, above 0 to 1."""

    kind: str
    target: float = 0.0

    def choose(self, sensitivity: NDArray[np.float64], specificity: NDArray[np.float64]) -> int | None:
        """The place of the point chosen among points that ascend; None where none does what is asked."""
        if self.kind == YOUDEN:
            gains = sensitivity - (1 - specificity)
            best = np.flatnonzero(np.isclose(gains, gains.max()))
            return int(best[len(best) // 2])
        if self.kind == SENSITIVITY:
            return int(np.flatnonzero(sensitivity >= self.target - _ROUNDING)[-1])
        enough = np.flatnonzero((specificity >= self.target - _ROUNDING) & (sensitivity > 0))
        return int(enough[0]) if len(enough) else None


@dataclass(frozen=True)
class Divisions:
    """Every way to divide radiographs by their scores. points: float64 [levels], ascending. level: int [n], the last
    point at or below each score. positive: bool [n].
    """

    points: NDArray[np.float64]
    level: NDArray[np.intp]
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> "Divisions":
        return cls(operating_points(scores), np.unique(scores, return_inverse=True)[1], positive)

    def shares(self, times: Times | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sensitivity and specificity at each point; 0 of a label that is not there."""
        weights = np.ones(len(self.level)) if times is None else times
        cells = np.bincount(2 * self.level + self.positive, weights, minlength=2 * len(self.points))
        negatives, positives = cells.reshape(-1, 2).T
        found, passed = np.cumsum(positives[::-1])[::-1], np.cumsum(negatives) - negatives
        return found / max(positives.sum(), 1), passed / max(negatives.sum(), 1)

    def point(self, rule: Rule, times: Times | None = None) -> float | None:
        """None where no point does what the rule asks, or a redraw lacks a label."""
        if times is not None and not (times[self.positive].any() and times[~self.positive].any()):
            return None
        place = rule.choose(*self.shares(times))
        return None if place is None else float(self.points[place])


def parse_rule(text: str) -> Rule:
    """`half` (0.5), `youden` (the greatest sensitivity + specificity), `sensitivity=0.90` (the highest point that finds
    at least that share of the positives), or `specificity=0.95` (the lowest that passes at least that share of the
    negatives). Raises ValueError at another.
    """
    if text in (HALF, YOUDEN):
        return Rule(text)
    written = _TARGETED.fullmatch(text)
    if written is None or float(written[2]) == 0:
        raise ValueError(
            f"no operating point by the rule {text!r}; use half, youden, sensitivity=0.90 or specificity=0.95 "
            "(above 0 to 1)"
        )
    return Rule(written[1], float(written[2]))


def operating_point(scores: ArrayLike, positive: ArrayLike, rule: str) -> float:
    """The score from which a radiograph is called positive, by a rule as `parse_rule` knows it: midway to the next
    lower score. Raises ValueError at another rule, or where the labels do not allow it.
    """
    values, flags = labelled(scores, positive)
    parsed = parse_rule(rule)
    if parsed.kind == HALF:
        return 0.5
    if parsed.kind == SENSITIVITY and not flags.any():
        raise ValueError(f"the rule {rule} needs positive radiographs; there are none among {len(flags)}")
    if parsed.kind != SENSITIVITY:
        need_both_labels(flags)
    point = Divisions.of(values, flags).point(parsed)
    if point is None:
        raise ValueError(f"no point has the {rule} and finds a positive; ask for less, or choose by youden")
    return point


def youden_point(scores: ArrayLike, positive: ArrayLike) -> float:
    """The operating point with the greatest sensitivity + specificity. Raises ValueError without both labels."""
    return operating_point(scores, positive, YOUDEN)


def operating_point_interval(
    scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike, rule: str, *, seed: int = 0
) -> Interval:
    """The operating point, with how far it moves when whole clusters are redrawn and it is chosen again.

    Raises ValueError as `operating_point`, and for `half`, which nothing moves.
    """
    values, flags = labelled(scores, positive)
    same_length(scores=values, clusters=clusters)
    chosen, parsed = operating_point(values, flags, rule), parse_rule(rule)
    if parsed.kind == HALF:
        raise ValueError("the rule half has no interval; it is 0.5 whatever the scores")
    divisions = Divisions.of(values, flags)
    moved = bootstrap_interval(lambda times: divisions.point(parsed, times), clusters, seed=seed)
    return Interval(chosen, min(moved.low, chosen), max(moved.high, chosen))


def operating_points(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """One point for each way to divide the scores, ascending: the lowest score, then midway between neighbours."""
    levels = np.unique(scores)
    midway = (levels[1:] + levels[:-1]) / 2
    # Between neighbours too close for a number of their own the point is the upper one.
    return np.concatenate([levels[:1], np.where(midway > levels[:-1], midway, levels[1:])])
