"""What a campaign has seen: counts, extremes and every violation. Tallies add up, and go to JSON and back."""

import heapq
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Self

_EXTREMES = 10
_CPU_EDGES_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Violation:
    """What must not be: hang, cpu, memory, escaped, leak, pixels, unsteady or unconfined; or, for the record, died."""

    kind: str
    number: int
    made_of: str
    edits: tuple[str, ...]
    told: str


@dataclass
class Tally:
    """outcomes: files by how they ended. died: how workers ended. slowest, hungriest, largest: (s, s, bytes) and number
    of the files with the most time, the most processor time, and after which a worker's memory was largest."""

    files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    died: Counter[str] = field(default_factory=Counter)
    compared: int = 0  # files that were read twice, to see that they end alike
    cpu_up_to_s: Counter[str] = field(default_factory=Counter)
    slowest: list[tuple[float, int]] = field(default_factory=list)
    hungriest: list[tuple[float, int]] = field(default_factory=list)
    largest: list[tuple[float, int]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    for_the_record: list[Violation] = field(default_factory=list)  # workers that died: kept, and looked at

    def note(self, number: int, outcome: str, *, wall_s: float, cpu_s: float, peak_bytes: int) -> None:
        self.files += 1
        self.outcomes[outcome] += 1
        self.cpu_up_to_s[str(next((edge for edge in _CPU_EDGES_S if cpu_s <= edge), "more"))] += 1
        self.slowest = _most([*self.slowest, (round(wall_s, 4), number)])
        self.hungriest = _most([*self.hungriest, (round(cpu_s, 4), number)])
        self.largest = _first_of_each([*self.largest, (peak_bytes, number)])

    def __iadd__(self, other: "Tally") -> "Tally":
        self.files += other.files
        self.outcomes += other.outcomes
        self.died += other.died
        self.compared += other.compared
        self.cpu_up_to_s += other.cpu_up_to_s
        self.slowest = _most(self.slowest + other.slowest)
        self.hungriest = _most(self.hungriest + other.hungriest)
        self.largest = _first_of_each(self.largest + other.largest)
        self.violations += other.violations
        self.for_the_record += other.for_the_record
        return self

    def as_json(self) -> dict[str, Any]:
        lists = {name: [asdict(one) for one in getattr(self, name)] for name in ("violations", "for_the_record")}
        counters = {name: dict(getattr(self, name)) for name in ("outcomes", "died", "cpu_up_to_s")}
        return {**vars(self), **counters, **lists}

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Self:
        counters = {name: Counter(told[name]) for name in ("outcomes", "died", "cpu_up_to_s")}
        extremes = {
            name: [(value, number) for value, number in told[name]] for name in ("slowest", "hungriest", "largest")
        }
        lists = {name: [Violation(**{**one, "edits": tuple(one["edits"])}) for one in told[name]]
                 for name in ("violations", "for_the_record")}  # fmt: skip
        return cls(files=told["files"], compared=told["compared"], **counters, **extremes, **lists)


def _most(found: list[tuple[float, int]]) -> list[tuple[float, int]]:
    return heapq.nlargest(_EXTREMES, found)


def _first_of_each(found: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """A worker's peak stands until a larger one: only the file that made it counts."""
    first: dict[float, int] = {}
    for peak, number in found:
        first[peak] = min(number, first.get(peak, number))
    return _most(list(first.items()))
