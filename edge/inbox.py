"""The watch folder: finds files that are complete, and hands each out once. Knows nothing of radiographs or results.

A file is complete when its writer closed it or renamed it into place (inotify), or when its size, mtime and inode stood
still from look to look. A scan every few seconds finds what events missed.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from inotify_simple import INotify, flags

from edge.errors import Unopenable
from edge.values import Sighting

TEMPORARY_SUFFIXES = (".part", ".tmp", ".partial", ".filepart", ".crdownload", ".swp")
_EVENTS = flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE | flags.ONLYDIR


class Stop(Protocol):
    """Anything that can say stop, such as a threading.Event."""

    def is_set(self) -> bool: ...


def look(path: Path) -> Sighting | None:
    """What a file looks like now; None when it is gone or no regular file (links, pipes, devices are no input)."""
    try:
        seen = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(seen.st_mode):
        return None
    return Sighting(path, seen.st_size, seen.st_mtime_ns, seen.st_ino)


def is_temporary(name: str) -> bool:
    return name.startswith((".", "~")) or name.lower().endswith(TEMPORARY_SUFFIXES)


class Inbox:
    """Complete files under a folder, oldest first. One thread iterates; `known` says which sightings have a result.

    still_s: how long a file that only the scan has seen must stand still: its writer may have made it in full size and
    stall. restless_s: how long a single run waits for files that keep changing.
    """

    def __init__(
        self,
        root: Path,
        known: Callable[[Sighting], bool],
        *,
        warn: Callable[[str], None] = lambda text: None,
        look_s: float = 0.5,
        still_s: float = 5.0,
        scan_s: float = 10.0,
        restless_s: float = 15.0,
    ) -> None:
        self._root = root.resolve()
        self._known, self._warn = known, warn
        self._look_s, self._still_s, self._scan_s, self._restless_s = look_s, still_s, scan_s, restless_s
        self._waiting: dict[Path, tuple[Sighting, float]] = {}  # not yet complete; how it looks, and since when
        self._deferred: dict[Path, tuple[Sighting, float]] = {}  # taken back; not handed out unchanged before then
        self._handed_out: dict[Path, Sighting] = {}
        self._folders: dict[int, Path] = {}  # by inotify's watch descriptor
        self.unreadable: set[str] = set()  # subfolders that could not be listed
        self.restless = 0  # files that a single run left because they kept changing

    def settled(self, stop: Stop) -> Iterator[Sighting]:
        """What is there now, for --once: ends when every file has been handed out, or `stop` is set.

        Two equal looks are enough here. Files that keep changing are left when nothing else has come for `restless_s`.
        """
        self._scan()
        last_s = time.monotonic()
        while self._waiting and not stop.is_set():
            time.sleep(self._look_s)
            for sighting in self._complete(stop, still_s=0):
                yield sighting
                last_s = time.monotonic()
            if time.monotonic() - last_s > self._restless_s:
                self.restless = len(self._waiting)
                return

    def watch(self, stop: Stop) -> Iterator[Sighting]:
        """Files as they become complete, until `stop` is set."""
        with INotify() as notifications:
            self._subscribe(notifications)
            next_scan_s = 0.0
            while not stop.is_set():
                if time.monotonic() >= next_scan_s:
                    self._scan()
                    self._subscribe(notifications)
                    next_scan_s = time.monotonic() + self._scan_s
                yield from self._complete(stop, still_s=self._still_s)
                closed = self._closed_files(notifications)
                yield from self._hand_out(closed, stop)

    def look_again(self, sighting: Sighting, *, after_s: float) -> None:
        """Take a sighting back: hand it out again once it has changed, or has stood still for `after_s` more."""
        self._handed_out.pop(sighting.path, None)
        self._waiting[sighting.path] = (sighting, time.monotonic())
        self._deferred[sighting.path] = (sighting, time.monotonic() + after_s)

    def was_deferred(self, sighting: Sighting) -> bool:
        """True when this very look was taken back before: the file has not changed since."""
        return self._deferred.get(sighting.path, (None, 0.0))[0] == sighting

    def _scan(self) -> None:
        found = {sighting.path: sighting for sighting in self._sightings()}
        self._handed_out = {path: seen for path, seen in self._handed_out.items() if path in found}
        self._deferred = {path: due for path, due in self._deferred.items() if path in found}
        for path, sighting in found.items():
            if self._handed_out.get(path) == sighting or path in self._waiting:
                continue
            if self._known(sighting):
                self._handed_out[path] = sighting  # not to be asked for again
            else:
                self._waiting[path] = (sighting, time.monotonic())

    def _sightings(self) -> Iterator[Sighting]:
        for folder, names in self._walk():
            for name in names:
                if not is_temporary(name) and (sighting := look(folder / name)) is not None:
                    yield sighting

    def _walk(self) -> Iterator[tuple[Path, list[str]]]:
        """Every folder with its file names. Raises Unopenable when the watched folder itself cannot be listed."""
        for folder, subfolders, names in os.walk(self._root, onerror=self._cannot_list):
            subfolders[:] = sorted(name for name in subfolders if not is_temporary(name))
            yield Path(folder), names

    def _cannot_list(self, fault: OSError) -> None:
        if Path(fault.filename) == self._root:
            raise Unopenable(f"incoming folder {self._root} cannot be read ({fault.strerror}); is it mounted?")
        if fault.filename not in self.unreadable:
            self.unreadable.add(fault.filename)
            self._warn(f"a subfolder of the incoming folder cannot be listed ({fault.strerror}); check its permissions")

    def _complete(self, stop: Stop, *, still_s: float) -> Iterator[Sighting]:
        """Those that have looked the same for long enough; the others wait for the next look."""
        complete = []
        for path, (before, since_s) in list(self._waiting.items()):
            now = look(path)
            if now is None:
                del self._waiting[path]
            elif now != before:
                self._waiting[path] = (now, time.monotonic())
            elif time.monotonic() >= (self._deferred[path][1] if self.was_deferred(now) else since_s + still_s):
                complete.append(now)
        yield from self._hand_out(sorted(complete, key=lambda seen: (seen.mtime_ns, seen.path)), stop)

    def _hand_out(self, complete: list[Sighting], stop: Stop) -> Iterator[Sighting]:
        for sighting in complete:
            if stop.is_set():
                return
            self._waiting.pop(sighting.path, None)
            self._handed_out[sighting.path] = sighting
            yield sighting

    def _subscribe(self, notifications: INotify) -> None:
        """Adding a watch that exists changes nothing, so every folder is simply added again."""
        for folder, _ in self._walk():
            try:
                self._folders[notifications.add_watch(str(folder), _EVENTS)] = folder
            except OSError:
                continue  # gone, or out of watches: the scan finds its files

    def _closed_files(self, notifications: INotify) -> list[Sighting]:
        """Files that their writer closed or renamed into place since the last call; waits a look's time for events."""
        closed: dict[Path, Sighting] = {}
        for event in notifications.read(timeout=int(self._look_s * 1000)):
            folder = self._folders.get(event.wd)
            if folder is None or not event.mask & (flags.CLOSE_WRITE | flags.MOVED_TO) or is_temporary(event.name):
                continue
            sighting = look(folder / event.name)
            # What was taken back and has not changed since waits its time, whoever closes it.
            if sighting is None or self._handed_out.get(sighting.path) == sighting or self.was_deferred(sighting):
                continue
            if not self._known(sighting):
                closed[sighting.path] = sighting
        return list(closed.values())
