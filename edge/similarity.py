"""Similar cases: nearest by Euclidean distance on the decision head's embedding (paper, "Qualitative analysis").

Two sets are searched: the bundle's labelled reference cases, held here and ranked exactly, and where it is wanted the
box's own earlier cases, known by their numbers in the ledger; their index is in case_index.py.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.values import Neighbour

_PAGE = 4096  # numbers looked at in one reading of the ledger
_NO_POINT, _FAR = 0.5, 0.25  # where the neighbours' scores disagree with the network's
_AGAINST, _FEWEST_LABELS = 0.75, 3  # where their labels do


@dataclass(frozen=True)
class EarlierCase:
    """A case that may be found: its label and score if known.

    patient_key: as in Source, None where unknown. It tells whose case it is and is never shown. view: AP, PA or None.
    judged_s: when the box first judged it, in seconds of the epoch; None of a reference case.
    """

    case_id: str
    embedding: NDArray[np.float32]  # [128]
    label: str | None
    score: float | None
    patient_key: str | None = field(default=None, kw_only=True, repr=False)
    view: str | None = field(default=None, kw_only=True)
    judged_s: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class NumberedCase(EarlierCase):
    """A case of the ledger. Its number is never given to another, not even when the case is forgotten."""

    number: int


@dataclass(frozen=True)
class Wanted:
    """Which cases may be found; None: any.

    A case of which a label, view or time is not known does not fit where one is asked for. since_s, until_s: when the
    box first judged it, from the one on and before the other. not_of: a patient's key none of whose cases is wanted;
    those without a key may be anybody's, and are found.
    """

    label: str | None = None
    view: str | None = None
    since_s: float | None = None
    until_s: float | None = None
    not_of: str | None = field(default=None, repr=False)

    @property
    def only_judged_here(self) -> bool:
        """True where no reference case fits, of which neither view nor time is known."""
        return (self.view, self.since_s, self.until_s) != (None, None, None)

    def fits(self, case: EarlierCase) -> bool:
        return (
            (self.label is None or case.label == self.label)
            and (self.view is None or case.view == self.view)
            and (self.since_s is None or (case.judged_s is not None and case.judged_s >= self.since_s))
            and (self.until_s is None or (case.judged_s is not None and case.judged_s < self.until_s))
            and (self.not_of is None or case.patient_key != self.not_of)
        )


ANY = Wanted()


@dataclass(frozen=True)
class Extent:
    """How far a ledger goes. last_number: the highest ever given. forgotten: changes whenever a case is forgotten."""

    last_number: int
    forgotten: str


class NumberedCases(Protocol):
    """What is asked of the ledger here."""

    def extent(self) -> Extent: ...

    def earlier_cases(self, bundle_id: str, *, after: int = 0, up_to: int | None = None) -> list[NumberedCase]: ...

    def cases_numbered(self, numbers: Sequence[int]) -> dict[int, NumberedCase]: ...


Ranked = tuple[float, EarlierCase]  # a case and its distance


class EarlierSet(Protocol):
    """The box's own scored cases, to be searched. pending: some of them cannot be found yet.

    Only `catch_up` turns it on, so who asks between that and a search knows what was searched.
    """

    @property
    def pending(self) -> bool: ...

    def __len__(self) -> int: ...

    def catch_up(self) -> None: ...

    def nearest(
        self, embedding: NDArray[np.float32], k: int, *, without: Collection[str], wanted: Wanted = ANY
    ) -> list[Ranked]: ...


class SimilarCases:
    """The cases that a radiograph of one bundle is compared with: `reference`, and `earlier` if given."""

    def __init__(self, bundle_id: str, reference: Sequence[EarlierCase], earlier: EarlierSet | None = None) -> None:
        self.bundle_id = bundle_id
        self.earlier = earlier
        self._reference = {case.case_id: case for case in reference}

    @classmethod
    def of_bundle(cls, bundle: Bundle, earlier: EarlierSet | None = None) -> "SimilarCases":
        """The labelled reference set of a bundle, and the earlier cases that it scored."""
        reference = bundle.reference()
        rows = zip(reference.case_ids, reference.embeddings, reference.labels, reference.scores, strict=True)
        cases = [
            EarlierCase(*row, patient_key=patient or None)
            for row, patient in zip(rows, reference.patients, strict=True)
        ]
        return cls(bundle.id, cases, earlier)

    def __len__(self) -> int:
        return len(self._reference) + (0 if self.earlier is None else len(self.earlier))

    @property
    def pending(self) -> bool:
        """True while some earlier case cannot be found yet."""
        return self.earlier is not None and self.earlier.pending

    def catch_up(self) -> None:
        """Take in what the ledger has new; call it before a search."""
        if self.earlier is not None:
            self.earlier.catch_up()

    def nearest(
        self, embedding: NDArray[np.float32], k: int, *, without: str, not_of: str | None = None
    ) -> tuple[Neighbour, ...]:
        """The k nearest cases, nearest first; never the case `without`, the query itself, nor one of the patient with
        the key `not_of`. Cases without a key may be anybody's.
        """
        found = self.closest(embedding, k, without=without, wanted=Wanted(not_of=not_of))
        return tuple(neighbour(near) for near in found)

    def closest(self, embedding: NDArray[np.float32], k: int, *, without: str, wanted: Wanted = ANY) -> list[Ranked]:
        """As `nearest`, of those that are wanted, with all that is known of them."""
        if k < 1:
            return []
        found = ranked(embedding, list(self._reference.values()), without=(without,), wanted=wanted)
        if self.earlier is not None:  # a reference case that was scored here too is known with its label
            found += self.earlier.nearest(embedding, k, without=self._reference.keys() | {without}, wanted=wanted)
        return _nearest_first(found)[:k]


class ScannedCases:
    """The earlier cases of a ledger, without an index: each search reads all of them, and is exact."""

    pending = False

    def __init__(self, ledger: NumberedCases, bundle_id: str) -> None:
        self._ledger, self._bundle_id = ledger, bundle_id

    def __len__(self) -> int:
        return sum(map(len, pages(self._ledger, self._bundle_id)))

    def catch_up(self) -> None:
        """Nothing to do: a scan is never behind."""

    def nearest(
        self, embedding: NDArray[np.float32], k: int, *, without: Collection[str], wanted: Wanted = ANY
    ) -> list[Ranked]:
        best: list[Ranked] = []
        for page in pages(self._ledger, self._bundle_id):
            best = _nearest_first(best + ranked(embedding, page, without=without, wanted=wanted))[:k]
        return best


def pages(ledger: NumberedCases, bundle_id: str) -> Iterator[list[NumberedCase]]:
    """All scored cases of a bundle in the order of their numbers, some thousand at a time."""
    last_number = ledger.extent().last_number
    for after in range(0, last_number, _PAGE):
        yield ledger.earlier_cases(bundle_id, after=after, up_to=min(after + _PAGE, last_number))


def ranked(
    embedding: NDArray[np.float32],
    cases: Sequence[EarlierCase],
    *,
    without: Collection[str],
    wanted: Wanted = ANY,
) -> list[Ranked]:
    """Cases with their exact distances, nearest first; none whose id is in `without`, or that is not wanted."""
    cases = [case for case in cases if case.case_id not in without and wanted.fits(case)]
    if not cases:
        return []
    apart = np.stack([case.embedding for case in cases]).astype(np.float64) - embedding.astype(np.float64)
    return _nearest_first(list(zip(np.linalg.norm(apart, axis=1).tolist(), cases, strict=True)))


def neighbour(near: Ranked) -> Neighbour:
    """What a report tells of a similar case."""
    away, case = near
    return Neighbour(case.case_id, away, case.label, case.score)


def _nearest_first(found: list[Ranked]) -> list[Ranked]:
    return sorted(found, key=lambda near: (near[0], near[1].case_id))


def knn_score(neighbours: Sequence[Neighbour]) -> float | None:
    """Mean of the neighbours' scores, the paper's KNN; None when no neighbour has one."""
    scores = [neighbour.score for neighbour in neighbours if neighbour.score is not None]
    return sum(scores) / len(scores) if scores else None


def knn_label_share(neighbours: Sequence[Neighbour], labels: tuple[str, str]) -> float | None:
    """Share of the positive among the neighbours that have one of the bundle's labels; None when none has.

    labels: negative, positive.
    """
    known = [neighbour.label for neighbour in neighbours if neighbour.label in labels]
    return known.count(labels[1]) / len(known) if known else None


def disagree(
    score: float, neighbours: Sequence[Neighbour], labels: tuple[str, str], operating_point: float | None
) -> bool:
    """Whether the neighbours speak for the other answer than the network: their mean score lies on the other side of
    the operating point (of 0.5 where there is none) and far from its score, or three in four of their labels do.

    The measurement behind it is in docs/similar.md.
    """
    point = _NO_POINT if operating_point is None else operating_point
    positive, mean = score >= point, knn_score(neighbours)
    if mean is not None and positive != (mean >= point) and abs(score - mean) > _FAR:
        return True
    known = [neighbour.label for neighbour in neighbours if neighbour.label in labels]
    against = known.count(labels[0] if positive else labels[1])
    return len(known) >= _FEWEST_LABELS and against >= _AGAINST * len(known)
