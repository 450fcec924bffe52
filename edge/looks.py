"""One look at a file, and a small memory of looks that need no further attention."""

import os
import stat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.beneath import open_beneath
from edge.values import Sighting

TEMPORARY_SUFFIXES = (".part", ".tmp", ".partial", ".filepart", ".crdownload", ".swp")
_MASK = (1 << 64) - 1
_RECENT = 4096


def look(path: Path) -> Sighting | None:
    """What a file looks like now; None when it is gone or no regular file (links, pipes, devices are no input)."""
    try:
        seen = path.lstat()
    except OSError:
        return None
    return sighting_of(path, seen) if stat.S_ISREG(seen.st_mode) else None


def look_beneath(root: Path, path: Path) -> Sighting | None:
    """As `look`, and None too when a link lies on the way from the root, or the path leads out of it."""
    try:
        opened = open_beneath(root, path)
    except OSError:
        return None
    try:
        seen = os.fstat(opened)
    finally:
        os.close(opened)
    return sighting_of(path, seen) if stat.S_ISREG(seen.st_mode) else None


def sighting_of(path: Path, seen: os.stat_result) -> Sighting:
    return Sighting(path, seen.st_size, seen.st_mtime_ns, seen.st_ino)


def is_temporary(name: str) -> bool:
    """Whether a name is one that senders give while they write."""
    return name.startswith((".", "~")) or name.lower().endswith(TEMPORARY_SUFFIXES)


def fingerprint(path: str, size_bytes: int, mtime_ns: int, inode: int) -> int:
    """64 bits of a look, keyed anew in each process: a file that is taken for a known one is not so again.

    Even among a million known files the odds of that are 1 in 10^13 for each new file.
    """
    return hash((path, size_bytes, mtime_ns, inode)) & _MASK


def fingerprint_of(sighting: Sighting) -> int:
    return fingerprint(str(sighting.path), sighting.size_bytes, sighting.mtime_ns, sighting.inode)


class KnownLooks:
    """A set of fingerprints in 8 bytes each, so that a folder may keep a million files."""

    def __init__(self) -> None:
        self._sorted: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._recent: set[int] = set()  # not yet sorted in

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def __contains__(self, one: int) -> bool:
        return one in self._recent or bool(self._holds(np.array([one], np.uint64))[0])

    def add(self, one: int) -> None:
        self._recent.add(one)
        if len(self._recent) >= _RECENT:
            self._sort_in()

    def discard(self, one: int) -> None:
        self._recent.discard(one)
        if one in self:  # to copy a million for each would take long
            self._sorted = self._sorted[self._sorted != np.uint64(one)]

    def unknown(self, some: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of some fingerprints [N] are not in the set."""
        self._sort_in()
        return ~self._holds(some)

    def keep_only(self, present: NDArray[np.uint64]) -> None:
        """Forget every look that is not among those present."""
        self._sort_in()
        self._sorted = np.intersect1d(self._sorted, present)

    def clear(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._recent.clear()

    def _holds(self, some: NDArray[np.uint64]) -> NDArray[np.bool_]:
        if not len(self._sorted):
            return np.zeros(len(some), np.bool_)
        places = np.searchsorted(self._sorted, some)
        return self._sorted[np.minimum(places, len(self._sorted) - 1)] == some

    def _sort_in(self) -> None:
        if self._recent:
            self._sorted = np.union1d(self._sorted, np.fromiter(self._recent, np.uint64, len(self._recent)))
            self._recent.clear()
