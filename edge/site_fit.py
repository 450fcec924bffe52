"""Scores of a site's labelled radiographs -> operating point and temperature, and what they are worth there.

What is said of them is said of patients by whom they were not chosen. Reading radiographs is site_cohort.py's work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.calibration import Reliability, Scaling, fit_scaling, reliability
from edge.errors import UsageError
from edge.operating_point import HALF, operating_point, operating_point_interval, parse_rule
from edge.statistics import Interval, Proportion, auc_interval, bootstrap_interval
from edge.temperature import apply_temperature

LEAST_PATIENTS = 30  # of each label: a sensitivity of 0.9 is then known to 0.74..0.97, and by fewer hardly at all
FOLDS = 5
NOBODY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class LabelledScore:
    """A radiograph's score by the network itself. cluster: patients that belong together, or the patient."""

    score: float
    positive: bool
    cluster: str


@dataclass(frozen=True)
class SiteFit:
    """operating_point: on the scale of the scores that results will have: scaled where `scaling` has no hindrance.

    sensitivity, specificity: as `found_and_passed`. unscaled: the reliability of the network's own scores.
    """

    operating_point: Interval
    sensitivity: Interval
    specificity: Interval
    auc: Interval
    scaling: Scaling
    unscaled: Reliability
    positives: int
    negatives: int
    patients: int

    @property
    def temperature(self) -> float | None:
        return self.scaling.temperature if self.scaling.hindrance is None else None


class Labelled(Protocol):
    """A radiograph, before or after it was scored."""

    @property
    def positive(self) -> bool: ...
    @property
    def cluster(self) -> str: ...


def fit_site(cases: Sequence[LabelledScore], rule: str) -> SiteFit:
    """Raises UsageError for another rule, for fewer than 30 patients of a label, and where the scores do not tell the
    labels apart.
    """
    check_rule(rule)
    require_enough(cases)
    scores = np.array([case.score for case in cases], np.float64)
    positive = np.array([case.positive for case in cases], bool)
    clusters = np.array([case.cluster for case in cases], np.str_)
    area = auc_interval(scores, positive, clusters)
    _require_order(area)
    try:
        point = operating_point_interval(scores, positive, clusters, rule)
        sensitivity, specificity = found_and_passed(scores, positive, clusters, rule)
    except ValueError as fault:
        raise UsageError(f"these radiographs give no operating point: {fault}") from None
    scaling = _keeping_calls(fit_scaling(scores, positive, clusters), scores, point.value)
    if scaling.hindrance is None:
        values = apply_temperature([point.value, point.low, point.high], scaling.temperature)
        point = Interval(*map(float, values))
    return SiteFit(
        operating_point=point,
        sensitivity=sensitivity,
        specificity=specificity,
        auc=area,
        scaling=scaling,
        unscaled=reliability(scores, positive, clusters),
        positives=int(positive.sum()),
        negatives=int((~positive).sum()),
        patients=len(np.unique(clusters)),
    )


def check_rule(rule: str) -> None:
    """Raises UsageError unless it is a rule that looks at the site's radiographs."""
    try:
        kind = parse_rule(rule).kind
    except ValueError:
        kind = HALF
    if kind == HALF:
        raise UsageError(f"{rule!r} is no rule for a site; use youden, sensitivity=0.90 or specificity=0.95 "
                         "(above 0 to 1)")  # fmt: skip


def require_enough(cases: Sequence[Labelled], left_out: Mapping[str, int] = NOBODY) -> None:
    """Before an hour of scoring, and after it. left_out: how many radiographs were, by why.

    Raises UsageError for fewer than 30 patients of a label.
    """
    having = [len({case.cluster for case in cases if case.positive == flag}) for flag in (True, False)]
    if min(having) < LEAST_PATIENTS:
        raise UsageError(
            f"{having[0]} patients with a positive radiograph and {having[1]} with a negative one are left"
            f"{_without(left_out)}; at least {LEAST_PATIENTS} of each are needed, for by fewer a sensitivity or "
            "specificity is hardly known: list more"
        )


def _without(left_out: Mapping[str, int]) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
    return f" (without {told}; see docs/reasons.md and docs/trust.md)" if told else ""


def found_and_passed(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], clusters: NDArray[np.str_], rule: str
) -> tuple[Interval, Interval]:
    """Sensitivity and specificity of each fifth of the patients, by the point that the other four fifths choose.

    The intervals hold those of the point that all choose too. Of 100 made-up sites they then held the truth of that
    point 95 to 99 times; those of held-out patients alone 85 times by Youden's rule, whose points lie far apart. Raises
    ValueError.
    """
    held_out = called_by_others(scores, positive, clusters, rule)
    by_all = scores >= operating_point(scores, positive, rule)
    found = (share_of(called[positive], clusters[positive]) for called in (held_out, by_all))
    passed = (share_of(~called[~positive], clusters[~positive]) for called in (held_out, by_all))
    return _wider(*found), _wider(*passed)


def called_by_others(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], clusters: ArrayLike, rule: str, *, seed: int = 0
) -> NDArray[np.bool_]:
    """Whether each radiograph is called positive by the point of the other folds' clusters. Raises ValueError."""
    names, owner = np.unique(np.asarray(clusters), return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[owner]
    called = np.zeros(len(scores), bool)
    for number in range(FOLDS):
        others = fold != number
        called[~others] = scores[~others] >= operating_point(scores[others], positive[others], rule)
    return called


def share_of(hits: NDArray[np.bool_], clusters: NDArray[np.str_]) -> Interval:
    """The share of hits, with the wider of two intervals on either side: Wilson's, which knows no clusters, and that of
    redrawn clusters, which knows no doubt where all are hits.
    """
    wilson = Proportion(int(hits.sum()), len(hits)).interval
    return _wider(wilson, bootstrap_interval(lambda times: float(times @ hits / times.sum()), clusters))


def _wider(first: Interval, second: Interval) -> Interval:
    return Interval(first.value, min(first.low, second.low), max(first.high, second.high))


def _keeping_calls(scaling: Scaling, scores: NDArray[np.float64], point: float) -> Scaling:
    """Scaled scores and points may become the same number where they were not."""
    scaled = apply_temperature(scores, scaling.temperature) >= apply_temperature(point, scaling.temperature)
    if scaling.hindrance is None and (scaled != (scores >= point)).any():
        return replace(scaling, hindrance="scaled scores cannot be told from the operating point")
    return scaling


def _require_order(area: Interval) -> None:
    if area.low <= 0.5:
        raise UsageError(
            f"the scores do not tell these labels apart (AUC {area.value:.2f}, {area.low:.2f} to {area.high:.2f}): no "
            "operating point helps; check the column label, list more patients, or use another bundle"
        )
