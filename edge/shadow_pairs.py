"""What the active bundle and a candidate said of the same radiographs, and how far they agree. Pure values."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Self

from edge.statistics import Proportion
from edge.values import Report

NEEDED = 300  # radiographs: if none of them flips, at most 1.3 of 100 do (Wilson's interval)
_SCORED = "scored"


@dataclass(frozen=True)
class Verdict:
    """What one bundle said of a radiograph. positive: None without an operating point. engine_s: of the engine alone;
    None where it was not asked, because the file did not decode.
    """

    score: float | None
    positive: bool | None
    reason: str | None
    engine_s: float | None

    @classmethod
    def of(cls, report: Report) -> Self:
        score = None if report.prediction is None else report.prediction.score
        return cls(score, report.positive, report.reason, report.timings_s.get("infer"))


@dataclass(frozen=True)
class ShadowPair:
    """Ids of the bundles in full."""

    sha256: str
    active_id: str
    candidate_id: str
    active: Verdict
    candidate: Verdict

    @property
    def outcome(self) -> str:
        """same, flipped, only_active or only_candidate. The same too where neither has a score or a verdict."""
        scores = (self.active.score is not None, self.candidate.score is not None)
        if scores[0] != scores[1]:
            return "only_active" if scores[0] else "only_candidate"
        return "flipped" if self.has_verdicts and self.active.positive != self.candidate.positive else "same"

    @property
    def has_verdicts(self) -> bool:
        return self.active.positive is not None and self.candidate.positive is not None

    @property
    def difference(self) -> float | None:
        """The candidate's score less the active bundle's."""
        if self.active.score is None or self.candidate.score is None:
            return None
        return self.candidate.score - self.active.score


@dataclass(frozen=True)
class Comparison:
    """Of one candidate with one active bundle. radiographs: judged by both engines.

    same, to_positive, to_negative: of those that both called positive or negative. only_active, only_candidate: scored
    by one and refused by a gate of the other. gates: how often they did not do the same, by what the active one and
    the candidate did. shift: the mean difference, candidate less active. engine_ratio: the candidate's median time in
    the engine to the active one's. None where there is nothing to tell it of.
    """

    active_id: str
    candidate_id: str
    radiographs: int
    same: Proportion
    to_positive: Proportion
    to_negative: Proportion
    only_active: Proportion
    only_candidate: Proportion
    gates: dict[str, int]
    mean_difference: float | None
    most_difference: float | None
    shift: float | None
    engine_ratio: float | None

    @property
    def is_enough(self) -> bool:
        return self.radiographs >= NEEDED


def compare(pairs: Sequence[ShadowPair]) -> Comparison:
    """pairs: at least one, all of the same two bundles."""
    verdicts = [pair for pair in pairs if pair.has_verdicts]
    flips = Counter(pair.candidate.positive for pair in verdicts if pair.outcome == "flipped")
    outcomes = Counter(pair.outcome for pair in pairs)
    differences = [pair.difference for pair in pairs if pair.difference is not None]
    gates = Counter(_gates(pair) for pair in pairs if pair.active.reason != pair.candidate.reason)
    return Comparison(
        active_id=pairs[0].active_id,
        candidate_id=pairs[0].candidate_id,
        radiographs=len(pairs),
        same=Proportion(len(verdicts) - flips.total(), len(verdicts)),
        to_positive=Proportion(flips[True], len(verdicts)),
        to_negative=Proportion(flips[False], len(verdicts)),
        only_active=Proportion(outcomes["only_active"], len(pairs)),
        only_candidate=Proportion(outcomes["only_candidate"], len(pairs)),
        gates=dict(sorted(gates.items())),
        mean_difference=fmean(map(abs, differences)) if differences else None,
        most_difference=max(map(abs, differences)) if differences else None,
        shift=fmean(differences) if differences else None,
        engine_ratio=_ratio(pairs),
    )


def _gates(pair: ShadowPair) -> str:
    return f"{pair.active.reason or _SCORED} -> {pair.candidate.reason or _SCORED}"


def _ratio(pairs: Sequence[ShadowPair]) -> float | None:
    timed = [(pair.active.engine_s, pair.candidate.engine_s) for pair in pairs]
    both = [(active_s, candidate_s) for active_s, candidate_s in timed if active_s and candidate_s]
    if not both:
        return None
    return median(candidate_s for _, candidate_s in both) / median(active_s for active_s, _ in both)
