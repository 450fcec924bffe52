"""Walks the watched folders: every regular file with its look, in batches and at little cost."""

import os
import stat
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

    warn: called once for each subfolder that cannot be listed and each entry that cannot be looked at; they stay in
    `unreadable`.
    """

    def __init__(self, root: Path, *further: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self.root, self._further = root, further
        self._warn = warn
        self._kinds: dict[int, str] = {}  # by device
        self.unreadable: set[str] = set()

    def all(self, found: Found) -> Iterator[Batch]:
        """Every file. Raises Unopenable when the root itself cannot be listed."""
        self._kinds.clear()  # another filesystem may have been mounted meanwhile
        return self._batches([str(root) for root in (self.root, *self._further)], found)  # from the end: further ones

    def below(self, folder: Path, found: Found) -> Iterator[Batch]:
        """The files below one folder."""
        return self._batches([str(folder)], found)

    def _batches(self, pending: list[str], found: Found) -> Iterator[Batch]:
        while pending:
            folder = pending.pop()
            found(Path(folder), announces(self._kind(folder)))
            try:
                yield from self._in_batches(folder, pending)
            except OSError as fault:
                self._cannot_list(folder, fault)

    def _in_batches(self, folder: str, subfolders: list[str]) -> Iterator[Batch]:
        """Read through a descriptor: a link that took a folder's place meanwhile is not followed out of the root."""
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with os.scandir(opened) as entries:
                seen: list[tuple[str, os.stat_result]] = []
                for entry in entries:
                    if is_temporary(entry.name):
                        continue
                    path = f"{folder}/{entry.name}"
                    look = self._look(path, entry)
                    if look is not None and stat.S_ISDIR(look.st_mode):
                        subfolders.append(path)
                    elif look is not None and stat.S_ISREG(look.st_mode):
                        seen.append((path, look))
                    if len(seen) == _BATCH:
                        yield _batch(seen)
                        seen = []
                if seen:
                    yield _batch(seen)
        finally:
            os.close(opened)

    def _look(self, path: str, entry: "os.DirEntry[str]") -> os.stat_result | None:
        """One entry that cannot be looked at, as on a failing share, keeps no other from being found."""
        try:
            return entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # taken back meanwhile
            return None
        except OSError as fault:
            self._tell_once(path, f"an entry of the incoming folder cannot be looked at ({fault.strerror})")
            return None

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
        if not isinstance(fault, FileNotFoundError):
            self._tell_once(folder, f"a subfolder of the incoming folder cannot be listed ({fault.strerror})")

    def _tell_once(self, path: str, what: str) -> None:
        if path not in self.unreadable:
            self.unreadable.add(path)
            self._warn(f"{what}; check its permissions and the disk")


def _batch(seen: "list[tuple[str, os.stat_result]]") -> Batch:
    prints = (fingerprint(path, look.st_size, look.st_mtime_ns, look.st_ino) for path, look in seen)
    return Batch(seen, np.fromiter(prints, np.uint64, len(seen)))
