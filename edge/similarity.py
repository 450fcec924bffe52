"""Similar cases: nearest by Euclidean distance on the decision head's embedding (paper, "Qualitative analysis").

The index is a cache, made from the bundle's reference set and the ledger, stamped with the bundle; never the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from edge.bundle import Bundle
from edge.values import Neighbour

_SPARE = 4  # the index is f16 and approximate: look at more candidates, then rank them exactly


@dataclass(frozen=True)
class EarlierCase:
    """A case that may be found: its label and score if known."""

    case_id: str
    embedding: NDArray[np.float32]  # [128]
    label: str | None
    score: float | None


class SimilarCases:
    """A searchable set of cases of one bundle. One thread adds and searches."""

    def __init__(self, bundle_id: str, size: int) -> None:
        self.bundle_id = bundle_id
        self._index = Index(ndim=size, metric="l2sq", dtype="f16")
        self._cases: list[EarlierCase] = []
        self._known: set[str] = set()

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "SimilarCases":
        """The labelled reference set of a bundle."""
        reference = bundle.reference()
        similar = cls(bundle.id, reference.embeddings.shape[1])
        rows = zip(reference.case_ids, reference.embeddings, reference.labels, reference.scores, strict=True)
        similar.add([EarlierCase(*row) for row in rows])
        return similar

    def __len__(self) -> int:
        return len(self._cases)

    def add(self, cases: Sequence[EarlierCase]) -> None:
        """Add cases that are not there yet."""
        fresh = [case for case in cases if case.case_id not in self._known]
        if not fresh:
            return
        keys = np.arange(len(self._cases), len(self._cases) + len(fresh), dtype=np.uint64)
        # By one thread: added by several at once, usearch 2.26 left cases of a small set that no search could reach.
        self._index.add(keys, np.stack([case.embedding for case in fresh]), threads=1)
        self._cases.extend(fresh)
        self._known.update(case.case_id for case in fresh)

    def nearest(self, embedding: NDArray[np.float32], k: int, *, without: str) -> tuple[Neighbour, ...]:
        """The k nearest cases, nearest first; never the case `without`, the query itself."""
        if not self._cases or k < 1:
            return ()
        found = self._index.search(embedding, min(len(self._cases), _SPARE * k + 1))
        candidates = [self._cases[int(key)] for key in found.keys]
        ranked = sorted(
            (distance(embedding, case.embedding), case.case_id, case) for case in candidates if case.case_id != without
        )
        return tuple(Neighbour(case.case_id, away, case.label, case.score) for away, _, case in ranked[:k])


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Euclidean distance of two embeddings."""
    return float(np.linalg.norm(one.astype(np.float64) - other.astype(np.float64)))


def knn_score(neighbours: Sequence[Neighbour]) -> float | None:
    """Mean of the neighbours' scores, the paper's KNN; None when no neighbour has one."""
    scores = [neighbour.score for neighbour in neighbours if neighbour.score is not None]
    return sum(scores) / len(scores) if scores else None
