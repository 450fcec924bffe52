"""Does an index file say what the ledger says? Counts what differs; nothing is changed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import index_file
from edge.case_index import differing, restored, search
from edge.index_file import IndexDamaged
from edge.similarity import NumberedCase, NumberedCases, pages

_CANDIDATES = 17  # as many as are looked at for the four nearest
_SAMPLE = 500
_FOUND_SHARE = 0.98  # a graph leaves a few cases out of reach of their own embedding


@dataclass(frozen=True)
class IndexCheck:
    """What a file holds, and how it differs from the ledger.

    missing: cases of the ledger up to last_number that it lacks. different: those with another embedding. gone: held,
    and no longer in the ledger, as after a case was asked for again; no search gives them. later: cases of the ledger
    that came after it was saved; the daemon adds them at its start. sampled, found: cases searched by their own
    embedding.
    """

    file: str
    bundle_id: str
    bytes: int
    cases: int
    last_number: int
    missing: int
    different: int
    gone: int
    later: int
    sampled: int
    found: int
    holds_forgotten: bool

    @property
    def faults(self) -> list[str]:
        """Why it should be built anew; empty when it agrees with the ledger."""
        told = {
            f"{self.missing} cases of the ledger are missing": self.missing > 0,
            f"{self.different} embeddings are not the ledger's": self.different > 0,
            "a case was forgotten since it was saved": self.holds_forgotten,
            f"{self.gone} of {self.cases} cases are gone from the ledger": 2 * self.gone > self.cases,
            f"only {self.found} of {self.sampled} cases are found": self.found < _FOUND_SHARE * self.sampled,
        }
        return [fault for fault, is_so in told.items() if is_so]


def check_index(
    folder: Path,
    ledger: NumberedCases,
    bundle_id: str,
    *,
    on_page: Callable[[int, int], None] = lambda last_number, of: None,
) -> IndexCheck:
    """Compare a bundle's index file with the ledger, every number and embedding, and search for a sample.

    Raises IndexDamaged when there is no file, or its digest is wrong.
    """
    path = index_file.path_of(folder, bundle_id)
    kept = index_file.load(path, bundle_id)
    if kept is None:
        raise IndexDamaged(f"there is no index {path}; run edge-cxr index rebuild")
    stamp, payload = kept
    index = restored(path, stamp, payload)
    extent = ledger.extent()
    present = missing = different = later = sampled = found = 0
    each = max(1, stamp.count // _SAMPLE)
    for page in pages(ledger, bundle_id):
        due = [case for case in page if case.number <= stamp.last_number]
        there = _contained(due, index.contains(np.array([case.number for case in due], np.uint64)))
        different += differing(index, {case.number: case for case in there})
        for case in there[-present % each :: each]:
            sampled += 1
            found += case.number in search(index, case.embedding, _CANDIDATES)
        present, missing, later = present + len(there), missing + len(due) - len(there), later + len(page) - len(due)
        if page:
            on_page(page[-1].number, extent.last_number)
    return IndexCheck(
        file=path.name,
        bundle_id=bundle_id,
        bytes=path.stat().st_size,
        cases=stamp.count,
        last_number=stamp.last_number,
        missing=missing,
        different=different,
        gone=stamp.count - present,
        later=later,
        sampled=sampled,
        found=found,
        holds_forgotten=stamp.forgotten != extent.forgotten,
    )


def _contained(cases: list[NumberedCase], contains: NDArray[np.bool_]) -> list[NumberedCase]:
    return [case for case, is_there in zip(cases, contains, strict=True) if is_there]
