"""Walks the watched folders: every regular file with its look, in batches and at little cost."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.beneath import PLAIN, held_folder, open_below
from edge.errors import Unopenable
from edge.looks import fingerprint, is_temporary, sighting_of
from edge.mounts import announces, filesystem_of
from edge.values import Sighting

# Called with each folder before it is read, and whether inotify tells of every change in it.
Found = Callable[[Path, bool], None]
# A folder that waits to be read: the path above it, shared by all that lie there, and its name. Of a hundred thousand
# folders at the end of a path of 4000 bytes the whole paths would take 400 MB.
Below = tuple[str, str]
_BATCH = 4096
_LONGEST_PATH = 4095  # bytes: the kernel's PATH_MAX
_CERTAINLY_SHORT = _LONGEST_PATH // 4  # characters: a name's character has at most four bytes
_WARNINGS = 20


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

    warn: called once for each subfolder that cannot be listed and each entry that cannot be looked at, but for so many
    in a scan only as are read by people. unreadable: hashes of the paths of all those of the last scan and since.
    """

    def __init__(self, root: Path, *further: Path, warn: Callable[[str], None] = lambda text: None) -> None:
        self.root, self._further = root, further
        self._warn = warn
        self._kinds: dict[int, str] = {}  # by device
        self.unreadable: set[int] = set()
        self._told: set[int] = set()  # those of the scan before
        self._warned = 0

    def all(self, found: Found) -> Iterator[Batch]:
        """Every file; batches without any in between. Raises Unopenable when the root itself cannot be listed."""
        self._kinds.clear()  # another filesystem may have been mounted meanwhile
        self._told, self.unreadable, self._warned = self.unreadable, set(), 0
        for root in (*self._further, self.root):
            yield from self._batches(root, root, found)

    def below(self, folder: Path, found: Found) -> Iterator[Batch]:
        """The files below one folder."""
        return self._batches(self.root_of(folder), folder, found)

    def root_of(self, path: Path) -> Path:
        """The root below which a path lies; the incoming folder for one that lies below none."""
        return next((root for root in self._further if path.is_relative_to(root)), self.root)

    def _batches(self, root: Path, begin: Path, found: Found) -> Iterator[Batch]:
        pending: list[Below] = [("", str(begin))]
        try:
            opened = os.open(root, PLAIN | os.O_DIRECTORY)
        except OSError as fault:
            found(root, False)
            self._cannot_list(str(root), fault)
            return
        try:
            while pending:
                above, name = pending.pop()
                folder = f"{above}/{name}" if above else name
                found(Path(folder), announces(self._kind(folder)))
                try:
                    yield from self._in_batches(opened, folder, folder[len(str(root)) + 1 :], pending)
                    yield _batch([])  # also of folders without number: who reads may have other things to do
                except OSError as fault:
                    self._cannot_list(folder, fault)
        finally:
            os.close(opened)

    def _in_batches(self, root: int, folder: str, relative: str, subfolders: list[Below]) -> Iterator[Batch]:
        """From the open root: a link that took a folder's place meanwhile is not followed out of it."""
        opened = open_below(root, relative.split("/") if relative else [], os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(opened) as entries:
                yield from self._of_entries(folder, entries, subfolders)
        finally:
            os.close(opened)

    def _of_entries(
        self, folder: str, entries: "Iterator[os.DirEntry[str]]", subfolders: list[Below]
    ) -> Iterator[Batch]:
        seen: list[tuple[str, os.stat_result]] = []
        for number, entry in enumerate(entries, 1):
            if not is_temporary(entry.name):
                self._sort(folder, entry, seen, subfolders)
            if number % _BATCH == 0:
                yield _batch(seen)
                seen = []
        if seen:
            yield _batch(seen)

    def _sort(
        self, folder: str, entry: "os.DirEntry[str]", seen: list[tuple[str, os.stat_result]], subfolders: list[Below]
    ) -> None:
        path = f"{folder}/{entry.name}"
        look = self._look(path, entry)
        if look is not None and stat.S_ISDIR(look.st_mode):
            subfolders.append((folder, entry.name))
        elif look is not None and stat.S_ISREG(look.st_mode):
            seen.append((path, look))

    def _look(self, path: str, entry: "os.DirEntry[str]") -> os.stat_result | None:
        """One entry that cannot be looked at, as on a failing share, keeps no other from being found."""
        try:
            look = entry.stat(follow_symlinks=False)
            if len(path) > _CERTAINLY_SHORT and len(os.fsencode(path)) > _LONGEST_PATH:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            return look
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
        place = hash(path)
        if place in self.unreadable:
            return
        self.unreadable.add(place)
        if place in self._told:
            return
        self._warned += 1
        if self._warned <= _WARNINGS:
            self._warn(f"{what}; check its permissions and the disk")
        elif self._warned == _WARNINGS + 1:
            self._warn("more of the incoming folder cannot be read than is told one by one; check its permissions")


def files_beginning(root: Path, prefix: str) -> Iterator[tuple[Path, list[str]]]:
    """Of every folder below a root, itself included: a held path, and its regular files whose names begin so.

    Links are not followed; what cannot be listed is passed over.
    """
    pending: list[Below] = [("", str(root))]
    while pending:
        above, name = pending.pop()
        folder = f"{above}/{name}" if above else name
        with contextlib.suppress(OSError), held_folder(root, Path(folder)) as held:
            names = []
            with os.scandir(held) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((folder, entry.name))
                    elif entry.name.startswith(prefix) and entry.is_file(follow_symlinks=False):
                        names.append(entry.name)
            yield held, names


def _batch(seen: "list[tuple[str, os.stat_result]]") -> Batch:
    prints = (fingerprint(path, look.st_size, look.st_mtime_ns, look.st_ino) for path, look in seen)
    return Batch(seen, np.fromiter(prints, np.uint64, len(seen)))
