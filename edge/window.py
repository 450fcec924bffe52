"""The files at both ends of the queue: as many as memory allows, the others stay in the folder until there is room."""

import bisect
from dataclasses import dataclass
from pathlib import Path

from edge.values import Sighting

SIZE = 4096
_FAIR_FROM = 64  # from so many on, both ends of the queue are served
_OTHER_END_EACH = 4


Place = tuple[int, Path]  # in the queue: by mtime


@dataclass(frozen=True)
class Candidate:
    """A file that may be handed out. complete_s: when it is complete if it goes on looking so (monotonic clock)."""

    sighting: Sighting
    complete_s: float
    complete: bool = False

    @property
    def place(self) -> "Place":
        return self.sighting.mtime_ns, self.sighting.path


class Window:
    """Candidates by age; when there are more than `size`, those in the middle fall out.

    newest_first: which end is served. Where many wait, every fourth comes from the other end, so that neither a backlog
    keeps today's radiographs waiting, nor today's the backlog.
    """

    def __init__(self, *, newest_first: bool = False, size: int = SIZE) -> None:
        self._newest_first, self._size = newest_first, size
        self._candidates: dict[Path, Candidate] = {}
        self._order: list[Place] = []
        self._complete: list[Place] = []  # of those, the complete ones
        self._taken = 0
        self._fallen = self._fallen_before = 0  # since the folder was last searched, and before that

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, path: Path) -> bool:
        return path in self._candidates

    @property
    def overflowed(self) -> bool:
        """Some fell out, and are not being searched for."""
        return self._fallen > 0

    @property
    def beyond(self) -> int:
        """How many files of the folder, about, fell out. Any thread may ask."""
        return max(self._fallen, self._fallen_before)

    def search_begins(self) -> None:
        """What fell out is about to be found again."""
        self._fallen, self._fallen_before = 0, self.beyond

    def search_ends(self) -> None:
        """What is still beyond has fallen out again."""
        self._fallen_before = 0

    def oldest_complete_s(self) -> float | None:
        """Since when the first of the complete ones is (monotonic clock). Any thread may ask."""
        there = tuple(self._candidates.values())  # at once: the thread that owns the window goes on
        return min((candidate.complete_s for candidate in there if candidate.complete), default=None)

    def is_low(self) -> bool:
        """Whether there is room for what fell out."""
        return self.overflowed and len(self) <= self._size // 4

    def incomplete(self) -> list[Candidate]:
        return [candidate for candidate in self._candidates.values() if not candidate.complete]

    def put(self, candidate: Candidate) -> None:
        """Add a candidate, or replace the one of the same path."""
        self.discard(candidate.sighting.path)
        self._candidates[candidate.sighting.path] = candidate
        bisect.insort(self._order, candidate.place)
        if candidate.complete:
            bisect.insort(self._complete, candidate.place)
        if len(self) > self._size:
            self.discard(self._order[self._size // 2][1])
            self._fallen += 1

    def discard(self, path: Path) -> None:
        candidate = self._candidates.pop(path, None)
        if candidate is not None:
            _remove(self._order, candidate.place)
            if candidate.complete:
                _remove(self._complete, candidate.place)

    def take(self) -> Candidate | None:
        """The next complete one, out of the window; None when there is none."""
        if not self._complete:
            return None
        other_end = len(self) >= _FAIR_FROM and self._taken % _OTHER_END_EACH == _OTHER_END_EACH - 1
        _, path = self._complete[-1 if self._newest_first != other_end else 0]
        candidate = self._candidates[path]
        self.discard(path)
        self._taken += 1
        return candidate


def _remove(order: list[Place], place: Place) -> None:
    del order[bisect.bisect_left(order, place)]
