"""Files taken back until their time comes. They wait outside the window, so that no number of them fills it.

A look, its time and its cause take 17 bytes, so that a folder may hold a million of them. Of those that come first the
sightings are kept; the others are found again by a scan.
"""

import bisect
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.looks import fingerprint_of
from edge.values import Sighting
from edge.window import SIZE, Candidate

_RECENT = 4096


class Cause(IntEnum):
    """Why a file was taken back."""

    UNFINISHED = 0  # its writer may go on
    LINKED = 1  # it has several names; its sender may take the others away
    UNOPENABLE = 2


@dataclass(frozen=True)
class Wait:
    """until_s: monotonic clock."""

    until_s: float
    cause: Cause


class PutOff:
    """Sightings by the time at which they come again; of more than `size` those that come last are not kept."""

    def __init__(self, *, size: int = SIZE) -> None:
        self._size = size
        self._waits = Waits()
        self._kept: dict[Path, tuple[float, Sighting]] = {}
        self._order: list[tuple[float, Path]] = []
        self.overflowed = False  # some were not kept since this was last set to False
        self.unopenable = 0  # files that could not be opened when they were last tried. Any thread may read it

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, path: Path) -> bool:
        return path in self._kept

    def is_low(self) -> bool:
        """Whether there is room for what was not kept."""
        return self.overflowed and len(self) <= self._size // 4

    def kept(self) -> list[Sighting]:
        return [sighting for _, sighting in self._kept.values()]

    def wait_of(self, print_: int) -> Wait | None:
        """Of a look that was taken back, also after its time has come; None of any other."""
        return self._waits.get(print_)

    def put(self, sighting: Sighting, wait: Wait) -> None:
        """Take a sighting back."""
        print_ = fingerprint_of(sighting)
        self._set(print_, wait)
        self.keep(sighting, wait)

    def keep(self, sighting: Sighting, wait: Wait) -> None:
        """Keep one that was put off before and found again."""
        self.discard(sighting.path)
        if len(self) >= self._size:
            self.overflowed = True
            if wait.until_s >= self._order[-1][0]:
                return
            self.discard(self._order[-1][1])
        self._kept[sighting.path] = wait.until_s, sighting
        bisect.insort(self._order, (wait.until_s, sighting.path))

    def discard(self, path: Path) -> None:
        kept = self._kept.pop(path, None)
        if kept is not None:
            del self._order[bisect.bisect_left(self._order, (kept[0], path))]

    def take(self) -> Candidate | None:
        """The next whose time has come; None when there is none."""
        if not self._order or self._order[0][0] > time.monotonic():
            return None
        until_s, sighting = self._kept[self._order[0][1]]
        self.discard(sighting.path)
        return Candidate(sighting, until_s, complete=True)

    def tried(self, print_: int) -> None:
        """It is handed out again: it had its time, and counts as unopenable only when it is put off so again."""
        wait = self._waits.get(print_)
        if wait is not None and wait.cause is Cause.UNOPENABLE:
            self._set(print_, Wait(wait.until_s, Cause.UNFINISHED))

    def keep_only(self, present: NDArray[np.uint64]) -> None:
        """Forget every look that is not among those present."""
        self._waits.keep_only(present)
        self.unopenable = self._waits.count(Cause.UNOPENABLE)

    def _set(self, print_: int, wait: Wait) -> None:
        before = self._waits.get(print_)
        was_unopenable = before is not None and before.cause is Cause.UNOPENABLE
        self.unopenable += int(wait.cause is Cause.UNOPENABLE) - int(was_unopenable)
        self._waits.set(print_, wait)


class Waits:
    """Waits by the fingerprint of a look."""

    def __init__(self) -> None:
        self._prints: NDArray[np.uint64] = np.empty(0, np.uint64)  # sorted
        self._until_s: NDArray[np.float64] = np.empty(0, np.float64)
        self._causes: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._recent: dict[int, Wait] = {}  # not yet sorted in

    def get(self, one: int) -> Wait | None:
        if one in self._recent:
            return self._recent[one]
        place = int(np.searchsorted(self._prints, np.uint64(one)))
        if place == len(self._prints) or int(self._prints[place]) != one:
            return None
        return Wait(float(self._until_s[place]), Cause(int(self._causes[place])))

    def set(self, one: int, wait: Wait) -> None:
        self._recent[one] = wait
        if len(self._recent) >= _RECENT:
            self._sort_in()

    def keep_only(self, present: NDArray[np.uint64]) -> None:
        self._sort_in()
        self._choose(np.flatnonzero(np.isin(self._prints, present)))

    def count(self, cause: Cause) -> int:
        self._sort_in()
        return int(np.count_nonzero(self._causes == cause))

    def _sort_in(self) -> None:
        recent = self._recent
        if not recent:
            return
        self._prints = np.concatenate([np.fromiter(recent, np.uint64, len(recent)), self._prints])
        until_s = np.array([wait.until_s for wait in recent.values()], np.float64)
        causes = np.array([wait.cause for wait in recent.values()], np.uint8)
        self._until_s = np.concatenate([until_s, self._until_s])
        self._causes = np.concatenate([causes, self._causes])
        _, places = np.unique(self._prints, return_index=True)  # of equal ones the first, which is the newer
        self._choose(places)
        recent.clear()

    def _choose(self, places: NDArray[np.intp]) -> None:
        self._prints, self._until_s, self._causes = self._prints[places], self._until_s[places], self._causes[places]
