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


@dataclass(frozen=True)
class EarlierCase:
    """A case that may be found: its label and score if known.

    patient_key: as in Source, None where unknown. It tells whose case it is and is never shown.
    """

    case_id: str
    embedding: NDArray[np.float32]  # [128]
    label: str | None
    score: float | None
    patient_key: str | None = field(default=None, kw_only=True, repr=False)


@dataclass(frozen=True)
class NumberedCase(EarlierCase):
    """A case of the ledger. Its number is never given to another, not even when the case is forgotten."""

    number: int


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
        self, embedding: NDArray[np.float32], k: int, *, without: Collection[str], not_of: str | None = None
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
        if k < 1:
            return ()
        found = ranked(embedding, list(self._reference.values()), without=(without,), not_of=not_of)
        if self.earlier is not None:  # a reference case that was scored here too is known with its label
            found += self.earlier.nearest(embedding, k, without=self._reference.keys() | {without}, not_of=not_of)
        return tuple(Neighbour(case.case_id, away, case.label, case.score) for away, case in _nearest_first(found)[:k])


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
        self, embedding: NDArray[np.float32], k: int, *, without: Collection[str], not_of: str | None = None
    ) -> list[Ranked]:
        best: list[Ranked] = []
        for page in pages(self._ledger, self._bundle_id):
            best = _nearest_first(best + ranked(embedding, page, without=without, not_of=not_of))[:k]
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
    not_of: str | None = None,
) -> list[Ranked]:
    """Cases with their exact distances, nearest first; none whose id is in `without`, or of the patient `not_of`."""
    cases = [case for case in cases if case.case_id not in without and (not_of is None or case.patient_key != not_of)]
    if not cases:
        return []
    apart = np.stack([case.embedding for case in cases]).astype(np.float64) - embedding.astype(np.float64)
    return _nearest_first(list(zip(np.linalg.norm(apart, axis=1).tolist(), cases, strict=True)))


def _nearest_first(found: list[Ranked]) -> list[Ranked]:
    return sorted(found, key=lambda near: (near[0], near[1].case_id))


def knn_score(neighbours: Sequence[Neighbour]) -> float | None:
    """Mean of the neighbours' scores, the paper's KNN; None when no neighbour has one."""
    scores = [neighbour.score for neighbour in neighbours if neighbour.score is not None]
    return sum(scores) / len(scores) if scores else None
