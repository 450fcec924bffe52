"""A ledger in memory, for tests of the index of earlier cases that need many cases or none of SQLite."""

from collections.abc import Sequence

import numpy as np

from edge.similarity import Extent, NumberedCase

BUNDLE = "b" * 64


def numbered(count: int, seed: int, *, after: int = 0) -> list[NumberedCase]:
    """Cases with random embeddings, numbered from after + 1."""
    embeddings = np.random.default_rng(seed).normal(size=(count, 128)).astype(np.float32)
    return [
        NumberedCase(f"{number:016x}", embedding, ("covid", "other", None)[number % 3], number / 1000, number)
        for number, embedding in enumerate(embeddings, start=after + 1)
    ]


class FakeLedger:
    """read: how many rows were read as pages."""

    def __init__(self, cases: Sequence[NumberedCase] = ()) -> None:
        self.cases = {case.number: case for case in cases}
        self.last_number = len(cases)
        self.forgotten = "0"
        self.read = 0

    def add(self, cases: Sequence[NumberedCase]) -> None:
        self.cases.update({case.number: case for case in cases})
        self.last_number = max(self.cases)

    def forget(self, number: int) -> None:
        del self.cases[number]
        self.forgotten += f",{number}"

    def extent(self) -> Extent:
        return Extent(self.last_number, self.forgotten)

    def earlier_cases(self, bundle_id: str, *, after: int = 0, up_to: int | None = None) -> list[NumberedCase]:
        assert bundle_id == BUNDLE
        last = self.last_number if up_to is None else up_to
        page = [self.cases[number] for number in range(after + 1, last + 1) if number in self.cases]
        self.read += len(page)
        return page

    def cases_numbered(self, numbers: Sequence[int]) -> dict[int, NumberedCase]:
        return {number: self.cases[number] for number in numbers if number in self.cases}
