"""Walks the watched folders: every regular file with its look, in batches and at little cost."""

import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.errors import Unopenable
from edge.looks import fingerprint, is_temporary, sighting_of
from edge.mounts import announces, filesystem_of
from edge.values import Sighting

# Called with each folder before it is read, and whether inotify tells of every change in it.
Found = Callable[[Path, bool], None]
_BATCH = 4096


@dataclass(frozen=True)
class Batch:
    """Some files of one folder. fingerprints: uint64 [N] of their looks, in the same order."""

    sightings: "list[tuple[str, os.stat_result]]"
    fingerprints: NDArray[np.uint64]

    def chosen(self, mask: NDArray[np.bool_]) -> Iterator[tuple[Sighting, int]]:
        """The sightings at the places where `mask` is True, with their fingerprints."""
        for place in np.flatnonzero(mask):
            path, seen = self.sightings[place]
            yield sighting_of(Path(path), seen), int(self.fingerprints[place])


class Folders:
    """The incoming folder, what lies below it, and further roots that need not be there.

    warn: called once for each subfolder that cannot be listed; it stays in `unreadable`.
    """

    def __init__(self, root: Path, *further: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self.root, self._further = root, further
        self._warn = warn
        self._kinds: dict[int, str] = {}  # by device
        self.unreadable: set[str] = set()

    def kind(self) -> str:
        """Filesystem of the root."""
        return self._kind(str(self.root))

    def all(self, found: Found) -> Iterator[Batch]:
        """Every file. Raises Unopenable when the root itself cannot be listed."""
        self._kinds.clear()  # another filesystem may have been mounted meanwhile
        return self._batches([str(root) for root in (*self._further, self.root)], found)

    def below(self, folder: Path, found: Found) -> Iterator[Batch]:
        """The files below one folder."""
        return self._batches([str(folder)], found)

    def _batches(self, pending: list[str], found: Found) -> Iterator[Batch]:
        while pending:
            folder = pending.pop()
            found(Path(folder), announces(self._kind(folder)))
            try:
                with os.scandir(folder) as entries:
                    yield from _in_batches(entries, pending)
            except OSError as fault:
                self._cannot_list(folder, fault)

    def _kind(self, folder: str) -> str:
        try:
            device = Path(folder).stat().st_dev
        except OSError:
            return "unknown"
        if device not in self._kinds:
            self._kinds[device] = filesystem_of(Path(folder))
        return self._kinds[device]

    def _cannot_list(self, folder: str, fault: OSError) -> None:
        if Path(folder) == self.root:
            raise Unopenable(f"incoming folder {self.root} cannot be read ({fault.strerror}); is it mounted?") from None
        if not isinstance(fault, FileNotFoundError) and folder not in self.unreadable:
            self.unreadable.add(folder)
            self._warn(f"a subfolder of the incoming folder cannot be listed ({fault.strerror}); check its permissions")


def _in_batches(entries: "Iterator[os.DirEntry[str]]", subfolders: list[str]) -> Iterator[Batch]:
    seen: list[tuple[str, os.stat_result]] = []
    prints = array("Q")
    for entry in entries:
        if is_temporary(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            subfolders.append(entry.path)
        elif entry.is_file(follow_symlinks=False):
            try:
                look = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # taken back meanwhile
                continue
            seen.append((entry.path, look))
            prints.append(fingerprint(entry.path, look.st_size, look.st_mtime_ns, look.st_ino))
        if len(seen) == _BATCH:
            yield Batch(seen, np.array(prints, np.uint64))
            seen, prints = [], array("Q")
    if seen:
        yield Batch(seen, np.array(prints, np.uint64))
