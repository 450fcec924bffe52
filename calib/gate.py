"""The accuracy gate: whether a precision decides and retrieves as fp32 does, before anyone relies on it.

Judged on val rows and on patients set aside (training/reserve.py), never on a test split.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from edge.engines.base import OUTPUT_NAMES, Outputs
from edge.errors import EdgeError, UsageError
from edge.operating_point import operating_points, youden_point
from edge.statistics import auc
from export.parity import Parity, compare
from training.neighbours import vote

CONFIDENCE = 0.95
NEIGHBOURS = 4


class GateFailed(EdgeError):
    """A precision lost more against fp32 than it may."""


@dataclass(frozen=True)
class Limits:
    """What a precision may lose against fp32. flipped: the upper bound of the share of decisions (Clopper-Pearson, one-
    sided, 95 %); None for a bundle without operating point, which decides nothing: flips are counted, not judged.
    radiographs: fewer prove nothing.
    """

    auc_loss: float = 0.005
    recall: float = 0.95
    flipped: float | None = 0.01
    radiographs: int = 300


@dataclass(frozen=True)
class Asked:
    """One precision's answers. gate: over the gate set. cases: over the reference cases; None where nobody asked, for
    only fp32's and the operating point of another precision need them.
    """

    gate: Outputs
    cases: Outputs | None


@dataclass(frozen=True)
class Labels:
    """positive: of the gate set, bool [n]. validation: the val rows among them, which set the operating point.

    Raises UsageError where those are of one label.
    """

    positive: NDArray[np.bool_]
    validation: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if len({*self.positive[self.validation]}) < 2:
            raise UsageError("the gate needs val rows of both labels: they set the operating point; list more of them")


@dataclass(frozen=True)
class Outcome:
    """failures: a sentence for each limit that does not hold. Shares are of the precision itself, at its own point.

    decisions_judged: whether flipped decisions could fail it.
    """

    passed: bool
    failures: tuple[str, ...]
    operating_point: float
    auc: float
    auc_fp32: float
    sensitivity: float
    specificity: float
    flipped: int
    flipped_upper: float
    decisions_judged: bool
    recall: float
    parity: Parity

    def as_record(self) -> dict[str, Any]:
        """As it stands in a bundle's manifest."""
        record = asdict(self)
        parity = record.pop("parity")
        # Decisions at its own point, where parity counts those at one half.
        return {**parity, **record, "failures": list(self.failures)}


def judge(
    fp32: Asked, other: Asked, labels: Labels, *, limits: Limits = Limits(), points: tuple[float, float] | None = None
) -> Outcome:
    """Compare a precision with fp32. points: the operating points of both, where a bundle has set them.

    An answer that is not finite fails the precision, and counts as zero in its figures.
    """
    measure, spoilt = other is fp32, _not_finite(other)
    other = Asked(_finite(other.gate), None if other.cases is None else _finite(other.cases))
    before, after = fp32.gate.score, other.gate.score
    reference_point, point = points or _points(fp32, other, labels)
    decided = after >= point
    flipped = int((decided != (before >= reference_point)).sum())
    upper = upper_bound(flipped, len(after))
    areas = auc(before, labels.positive), auc(after, labels.positive)
    found = recall(fp32, other)
    failures = [f"{spoilt} answers are not finite"] if spoilt else []
    if len(after) < limits.radiographs:
        failures.append(f"{len(after)} radiographs prove nothing; the gate needs {limits.radiographs}")
    if areas[0] - areas[1] > limits.auc_loss:
        failures.append(f"AUC falls by {areas[0] - areas[1]:.4f}, more than {limits.auc_loss}")
    if limits.flipped is not None and upper > limits.flipped:
        failures.append(f"{flipped} of {len(after)} decisions flip, at most {upper:.2%} by the 95% bound, more than "
                        f"{limits.flipped:.0%}")  # fmt: skip
    if found < limits.recall:
        failures.append(f"{found:.3f} of the {NEIGHBOURS} nearest cases stay, less than {limits.recall}")
    if measure and not spoilt:
        failures = []  # it is what the others are measured by
    return Outcome(
        passed=not failures,
        failures=tuple(failures),
        operating_point=point,
        auc=areas[1],
        auc_fp32=areas[0],
        sensitivity=float(decided[labels.positive].mean()),
        specificity=float(1 - decided[~labels.positive].mean()),
        flipped=flipped,
        flipped_upper=upper,
        decisions_judged=limits.flipped is not None,
        recall=found,
        parity=compare(fp32.gate, other.gate),
    )


def _points(fp32: Asked, other: Asked, labels: Labels) -> tuple[float, float]:
    """fp32's operating point by Youden's index on val rows, and the other's that decides the cases alike."""
    before = fp32.gate.score
    point = youden_point(before[labels.validation], labels.positive[labels.validation])
    if fp32.cases is None or other.cases is None:
        return point, point
    # On the reference cases, which are not judged here.
    return point, same_decisions(fp32.cases.score >= point, other.cases.score, point)


def same_decisions(decided: NDArray[np.bool_], scores: NDArray[np.float32], near: float) -> float:
    """The operating point at which scores decide most like `decided`; of equally good ones the nearest to `near`."""
    points = np.append(operating_points(np.asarray(scores, np.float64)), near)
    flips = [int(((scores >= point) != decided).sum()) for point in points]
    return float(min(points[np.equal(flips, min(flips))], key=lambda point: abs(point - near)))


def upper_bound(count: int, total: int) -> float:
    """Clopper and Pearson's one-sided 95 % upper bound of a share."""
    return 1.0 if count >= total else float(beta.ppf(CONFIDENCE, count + 1, total - count))


def recall(fp32: Asked, other: Asked) -> float:
    """Mean share of the 4 cases nearest to fp32's query that are among the 4 nearest to the other's.

    Both look among the cases as fp32 embeds them: a bundle's reference set is fp32's, whatever precision asks.
    """
    assert fp32.cases is not None
    nearest = [_nearest(asked.gate, fp32.cases) for asked in (fp32, other)]
    shared = [len({*one} & {*two}) / len(one) for one, two in zip(*nearest, strict=True)]
    return float(np.mean(shared))


def _nearest(queries: Outputs, cases: Outputs) -> NDArray[np.intp]:
    nobody = np.zeros(len(cases.score), bool)
    return vote(queries.embedding, cases.embedding, cases.score, nobody, k=NEIGHBOURS).nearest


def _not_finite(asked: Asked) -> int:
    """Radiographs of which any output is not."""
    return sum(
        int((~np.isfinite(getattr(outputs, name)).reshape(len(outputs.score), -1).all(axis=1)).sum())
        for outputs in (asked.gate, asked.cases)
        if outputs is not None
        for name in ("score", "embedding", "lung_mask")
    )


def _finite(outputs: Outputs) -> Outputs:
    return Outputs(**{name: np.nan_to_num(getattr(outputs, name), posinf=0, neginf=0) for name in OUTPUT_NAMES})


def table(found: Mapping[str, Outcome]) -> str:
    """One line for each precision, then its failures."""
    lines = [
        f"{'precision':<10}{'AUC':>8}{'sens':>7}{'spec':>7}{'flipped':>9}{'95% <':>8}{'recall@4':>10}"
        f"{'score max':>11}{'mean':>9}{'cosine':>8}{'Dice':>7}  gate"
    ]
    for precision, outcome in found.items():
        parity = outcome.parity
        lines.append(
            f"{precision:<10}{outcome.auc:>8.4f}{outcome.sensitivity:>7.3f}{outcome.specificity:>7.3f}"
            f"{outcome.flipped:>5}/{parity.radiographs:<3}{outcome.flipped_upper:>8.2%}{outcome.recall:>10.3f}"
            f"{parity.score_change_max:>11.4f}{parity.score_change_mean:>9.4f}{parity.embedding_cosine_min:>8.4f}"
            f"{parity.lung_dice_min:>7.3f}  {'holds' if outcome.passed else 'FAILS'}"
        )
    failures = [f"{precision}: {failure}" for precision, outcome in found.items() for failure in outcome.failures]
    if not all(outcome.decisions_judged for outcome in found.values()):
        lines.append("without an operating point nothing is decided: flips at Youden's point are counted, not judged")
    return "\n".join([*lines, *failures])
