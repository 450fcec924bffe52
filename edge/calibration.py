"""Whether scores mean what they say: reliability diagram, expected calibration error, temperature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.statistics import (
    RESAMPLES,
    Interval,
    Times,
    bootstrap_interval,
    finite,
    labelled,
    need_both_labels,
    same_length,
)
from edge.temperature import TEMPERATURES, apply_temperature, logit, sigmoid

PROVEN_BY = 300  # radiographs
MOST_ERROR = 0.03  # expected calibration error, by the upper end of its interval
_NEAREST_TO_CERTAIN = 1e-7  # a score of exactly 0 or 1 that is wrong would have an infinite loss


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width over 0..1. confidence: mean score. observed: share of positives; both NaN in an empty bin.

    ece: expected calibration error, the mean of |observed - confidence| over radiographs (Naeini 2015, for the positive
    label). Few radiographs alone make it large: by_chance is its mean where the scores are perfectly calibrated, labels
    drawn from them (Bröcker and Smith 2007). Redrawing raises it too, so its interval is widened to hold the value.
    """

    confidence: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]
    ece: Interval
    by_chance: float


def reliability(
    scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike, *, bins: int = 10, seed: int = 0
) -> Reliability:
    """scores: probabilities [n] in 0..1, n at least 1. A score on an edge is of the bin above; 1 is of the last."""
    values, flags = labelled(_probabilities(scores), positive)
    same_length(scores=values, clusters=clusters)
    if bins < 1 or not len(values):
        raise ValueError(f"a reliability diagram needs radiographs and bins; there are {len(values)} and {bins}")
    place = np.minimum((values * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.where(counts > 0, counts, np.nan)

    def error(times: Times) -> float:
        return _calibration_error(place, flags - values, times)

    ece = bootstrap_interval(error, clusters, seed=seed)
    return Reliability(
        confidence=np.bincount(place, values, minlength=bins) / filled,
        observed=np.bincount(place, flags, minlength=bins) / filled,
        counts=counts,
        ece=Interval(ece.value, min(ece.low, ece.value), max(ece.high, ece.value)),
        by_chance=_error_by_chance(place, values, seed=seed),
    )


def fit_temperature(scores: ArrayLike, positive: ArrayLike) -> float:
    """The T that, dividing the scores' logits, makes the labels likeliest (Guo 2017), within TEMPERATURES.

    1 where every score is 0.5. Scores that separate the labels end at the lower bound: that tells of a small set rather
    than of the scores. Raises ValueError without both labels.
    """
    values, flags = labelled(_probabilities(scores), positive)
    need_both_labels(flags)
    logits = logit(np.clip(values, _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN))
    if not logits.any():
        return 1.0

    def slope(temperature: float) -> float:  # of the loss by 1/T, in which it is convex
        return float((sigmoid(logits / temperature) - flags) @ logits)

    low, high = TEMPERATURES
    for _ in range(60):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return float(np.sqrt(low * high))


@dataclass(frozen=True)
class Proof:
    """By how many radiographs a temperature was judged, their expected calibration error, its interval's upper end."""

    radiographs: int
    ece: float
    ece_high: float

    def __post_init__(self) -> None:
        if self.radiographs < PROVEN_BY or not 0 <= self.ece <= self.ece_high <= MOST_ERROR:
            raise ValueError(
                f"a temperature is proven by at least {PROVEN_BY} radiographs and an expected calibration error of at "
                f"most {MOST_ERROR} by its upper bound; told are {self.radiographs}, {self.ece} and {self.ece_high}"
            )


@dataclass(frozen=True)
class Scaling:
    """A temperature, and how far scores scaled by it may be believed. held_out: of each half of the clusters, scaled by
    the other half's; None where a half lacks a label. hindrance: why it must not be used, None where it may.
    """

    temperature: float
    held_out: Reliability | None
    hindrance: str | None

    @property
    def proof(self) -> Proof | None:
        if self.held_out is None or self.hindrance is not None:
            return None
        ece = self.held_out.ece
        return Proof(int(self.held_out.counts.sum()), round(ece.value, 6), round(ece.high, 6))


def fit_scaling(scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike) -> Scaling:
    """The temperature of these scores, judged: it may be used where the expected calibration error of at least 300
    radiographs is at most 0.03 by its upper bound. A temperature at its bounds tells of labels that the scores
    separate, not of the scores. Raises ValueError without both labels.
    """
    values, flags = labelled(_probabilities(scores), positive)
    temperature = fit_temperature(values, flags)
    scaled = scaled_by_others(values, flags, clusters)
    held_out = None if scaled is None else reliability(scaled, flags, clusters)
    return Scaling(temperature, held_out, _hindrance(len(values), temperature, held_out))


def _hindrance(count: int, temperature: float, held_out: Reliability | None) -> str | None:
    if count < PROVEN_BY:
        return f"{count} radiographs are fewer than {PROVEN_BY}"
    if held_out is None:
        return "a half of the patients lacks a label"
    if not TEMPERATURES[0] * 1.01 < temperature < TEMPERATURES[1] / 1.01:
        return f"no temperature between {TEMPERATURES[0]} and {TEMPERATURES[1]} fits: the scores separate the labels"
    if held_out.ece.high > MOST_ERROR:
        return f"the expected calibration error may be {held_out.ece.high:.3f}, more than {MOST_ERROR}"
    return None


def proven_scaling(scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike) -> Scaling | None:
    """`fit_scaling` of these scores where it finds that the temperature may be used, else None: a number that may
    mislead is better not shown as a probability.
    """
    values, flags = labelled(_probabilities(scores), positive)
    same_length(scores=values, clusters=clusters)
    if len(values) < PROVEN_BY or len({*flags.tolist()}) < 2:
        return None
    scaling = fit_scaling(values, flags, clusters)
    return scaling if scaling.hindrance is None else None


def scaled_by_others(scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike) -> NDArray[np.float64] | None:
    """Each score scaled by the temperature of the other half of the clusters; None where a half lacks a label.

    The halves are drawn: names tell of labels where a manifest lists cases and controls in turn.
    """
    values, flags = labelled(_probabilities(scores), positive)
    same_length(scores=values, clusters=clusters)
    names, owner = np.unique(np.asarray(clusters), return_inverse=True)
    halves = (np.random.default_rng(0).permutation(len(names)) % 2 == 0)[owner]
    if any(len({*flags[half].tolist()}) < 2 for half in (halves, ~halves)):
        return None
    scaled = np.empty(len(values))
    for half in (halves, ~halves):
        scaled[half] = apply_temperature(values[half], fit_temperature(values[~half], flags[~half]))
    return scaled


def _calibration_error(place: NDArray[np.intp], differences: NDArray[np.float64], times: Times) -> float:
    """differences: label less score of each radiograph, each counted `times`."""
    return float(np.abs(np.bincount(place, times * differences)).sum() / times.sum())


def _error_by_chance(place: NDArray[np.intp], scores: NDArray[np.float64], *, seed: int) -> float:
    random, once = np.random.default_rng(seed), np.ones(len(scores), np.intp)
    drawn = ((random.random(len(scores)) < scores) - scores for _ in range(RESAMPLES))
    return float(np.mean([_calibration_error(place, differences, once) for differences in drawn]))


def _probabilities(scores: ArrayLike) -> NDArray[np.float64]:
    values = finite("scores", scores)
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"scores must be probabilities in 0..1; they reach {values.min()} to {values.max()}")
    return values
