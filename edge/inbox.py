"""The watch folder: finds files that are complete, and hands each out once. Knows nothing of radiographs or results.

A file is complete when its writer closed it or renamed it into place (inotify), or when its size, mtime and inode stood
still from look to look. A scan finds what events missed; where the kernel tells of no events, such as on a network
share, scans are all there is and come more often. Memory is bounded: what the window cannot hold stays in the folder.
"""

import contextlib
import queue
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import Unopenable
from edge.folders import Batch, Folders, Found
from edge.looks import KnownLooks, fingerprint_of, is_temporary, look, look_beneath
from edge.mounts import announces, filesystem_of
from edge.notifications import Changes, Notifications
from edge.values import Sighting
from edge.window import Candidate, Window

_SCAN_PAUSE = 200  # a scan comes at the earliest after so many times its own CPU time ...
_POLL_PAUSE = 20  # ... or, on a share, its own duration


class Stop(Protocol):
    """Anything that can say stop, such as a threading.Event."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Pace:
    """look: between two looks at a file. still: how long a file that only a scan has seen must stand still; its writer
    may have made it in full size and stall. scan: between two scans where events are told. poll: where they are not.
    restless: how long a single run waits for files that keep changing.
    """

    look_s: float = 0.5
    still_s: float = 5.0
    scan_s: float = 10.0
    poll_s: float = 2.0
    restless_s: float = 15.0


_PACE = Pace()


class Inbox:
    """Complete files under a folder, oldest first. One thread iterates.

    known: says which sightings have a result. changed: says whether `known` may answer otherwise than before.
    appeared: called before the first scan, and whenever another folder lies in the root's place, as after a mount.
    further: another folder to take files from, which need not be there. watching: "events" asks for inotify, "polling"
    does without, "auto" goes by the filesystem of each folder.
    """

    def __init__(
        self,
        root: Path,
        known: Callable[[Sighting], bool],
        *,
        further: Iterable[Path] = (),
        changed: Callable[[], bool] = lambda: False,
        appeared: Callable[[], None] = lambda: None,
        warn: Callable[[str], None] = lambda text: None,
        pace: Pace = _PACE,
        watching: str = "auto",
        newest_first: bool = False,
    ) -> None:
        self._folders = Folders(root.resolve(), *further, warn=warn)
        self._known, self._changed, self._appeared, self._warn = known, changed, appeared, warn
        self._pace, self._watching = pace, watching
        self._identity: tuple[int, int] | None = None  # of the root: device and inode
        self._still_s = pace.still_s
        self._window = Window(newest_first=newest_first)
        self._handed_out = KnownLooks()  # or known from before
        self._deferred: dict[int, float] = {}  # taken back: a look's fingerprint, and until when
        self._taken_back: queue.SimpleQueue[tuple[Sighting, float]] = queue.SimpleQueue()
        self._next_look_s = self._next_scan_s = 0.0
        self._polls = False  # some folder is not announced
        self.restless = 0  # files that a single run left because they kept changing
        self.absent: str | None = None  # why the folder cannot be read at present

    @property
    def unreadable(self) -> int:
        """Subfolders that could not be listed."""
        return len(self._folders.unreadable)

    def root_of(self, path: Path) -> Path:
        """The folder below which a file was found: to be opened and put away from there, with no link on the way."""
        return self._folders.root_of(path)

    def settled(self, stop: Stop) -> Iterator[Sighting]:
        """What is there now, for --once: ends when every file has been handed out, or `stop` is set.

        Two equal looks are enough here. Files that keep changing are left when nothing else has come for `restless_s`.
        Raises Unopenable when the folder cannot be read.
        """
        self._still_s = 0.0
        self._scan(None)
        last_s = time.monotonic()
        while len(self._window) and not stop.is_set():
            sighting = self._window.take()
            if sighting is not None:
                if self._hand_out(sighting):
                    yield sighting
                last_s = time.monotonic()
            elif time.monotonic() - last_s > self._pace.restless_s:
                self.restless = len(self._window)
                return
            else:
                time.sleep(self._pace.look_s)
                self._look()
            self._take_back()
            if self._window.is_low():
                self._scan(None)

    def watch(self, stop: Stop) -> Iterator[Sighting]:
        """Files as they become complete, until `stop` is set. A folder that vanishes is waited for."""
        with contextlib.ExitStack() as opened:
            notifications = self._notifications(opened)
            while not stop.is_set():
                self._keep_up(notifications)
                sighting = self._window.take()
                if sighting is None:
                    self._wait(notifications)
                elif self._hand_out(sighting):
                    yield sighting

    def look_again(self, sighting: Sighting, *, after_s: float) -> None:
        """Take a sighting back: hand it out again once it has changed, or has stood still for `after_s` more.

        With 0 it comes again at the next look, and does not count as deferred. Any thread may call this.
        """
        self._taken_back.put((sighting, after_s))

    def was_deferred(self, sighting: Sighting) -> bool:
        """True when this very look was taken back before: the file has not changed since."""
        self._take_back()
        return fingerprint_of(sighting) in self._deferred

    def _take_back(self) -> None:
        while not self._taken_back.empty():
            sighting, after_s = self._taken_back.get()
            print_, complete_s = fingerprint_of(sighting), time.monotonic() + after_s
            self._handed_out.discard(print_)
            if after_s > 0:
                self._deferred[print_] = complete_s
            self._window.put(Candidate(sighting, complete_s))

    def _notifications(self, opened: contextlib.ExitStack) -> Notifications | None:
        if self._watching == "polling":
            return None
        try:
            return opened.enter_context(Notifications(warn=self._warn))
        except OSError as fault:
            self._warn(f"the kernel gives no inotify ({fault.strerror}); the folder is polled. "
                       "Raise fs.inotify.max_user_instances")  # fmt: skip
            return None

    def _hand_out(self, sighting: Sighting) -> bool:
        """False when the file has changed since it was found complete: it is looked at anew.

        And when a link has taken the place of a folder above it: it leads to a file that nobody has sent.
        """
        now = look_beneath(self.root_of(sighting.path), sighting.path)
        if now == sighting:
            self._handed_out.add(fingerprint_of(sighting))
            return True
        if now is not None:
            self._window.put(self._candidate(now))
        return False

    def _candidate(self, sighting: Sighting) -> Candidate:
        """A file seen so for the first time, or taken back earlier."""
        still_until_s = time.monotonic() + self._still_s
        return Candidate(sighting, self._deferred.get(fingerprint_of(sighting), still_until_s))

    def _keep_up(self, notifications: Notifications | None) -> None:
        """Whatever is due: what was taken back, events, looks, a scan."""
        self._take_back()
        if notifications is not None:
            self._hear(notifications.read(wait_s=0), notifications)
        if time.monotonic() >= self._next_look_s:
            if self._changed():
                self._handed_out.clear()
                self._next_scan_s = 0.0
            self._look()
            self._next_look_s = time.monotonic() + self._pace.look_s
        if time.monotonic() >= self._next_scan_s or self._window.is_low():
            self._scan_in_time(notifications)

    def _wait(self, notifications: Notifications | None) -> None:
        rest_s = max(self._next_look_s - time.monotonic(), 0.0)
        if notifications is None:
            time.sleep(rest_s)
        else:
            self._hear(notifications.read(wait_s=rest_s), notifications)

    def _hear(self, changes: Changes, notifications: Notifications) -> None:
        for path in changes.closed:  # even if it looks as before: a coarse clock does not show every rewriting
            self._complete(path, lambda sighting: False)
        for path in changes.moved:
            self._complete(path, lambda sighting: fingerprint_of(sighting) in self._handed_out or self._known(sighting))
        for folder in changes.folders:
            if not is_temporary(folder.name):
                self._find(self._folders.below(folder, self._follows(notifications)))
        if changes.lost:
            self._next_scan_s = 0.0

    def _complete(self, path: Path, needless: Callable[[Sighting], bool]) -> None:
        sighting = None if is_temporary(path.name) else look(path)
        # What was taken back and has not changed since waits its time, whoever closes it.
        if sighting is not None and not self.was_deferred(sighting) and not needless(sighting):
            self._window.put(Candidate(sighting, time.monotonic(), complete=True))

    def _look(self) -> None:
        """Those that have looked the same for long enough are complete; the others wait for the next look."""
        for candidate in self._window.incomplete():
            now = look(candidate.sighting.path)
            if now is None:
                self._window.discard(candidate.sighting.path)
            elif now != candidate.sighting:
                self._window.put(self._candidate(now))
            elif time.monotonic() >= candidate.complete_s:
                self._window.put(replace(candidate, complete=True))

    def _scan_in_time(self, notifications: Notifications | None) -> None:
        """A scan, and when the next is due: the more it costs, the later."""
        started_s, cpu_s = time.monotonic(), time.thread_time()
        try:
            self._scan(notifications)
        except Unopenable as fault:
            if self.absent is None:
                self._warn(str(fault))
            self.absent = str(fault)
            self._next_scan_s = time.monotonic() + min(self._pace.scan_s, self._pace.poll_s)
            return
        if self.absent is not None:
            self._warn("the incoming folder can be read again")
            self.absent = None
        if self._polls:
            pause_s = max(self._pace.poll_s, _POLL_PAUSE * (time.monotonic() - started_s))
        else:
            pause_s = max(self._pace.scan_s, _SCAN_PAUSE * (time.thread_time() - cpu_s))
        self._next_scan_s = time.monotonic() + pause_s

    def _scan(self, notifications: Notifications | None) -> None:
        """Find all that is new, and forget what is gone. Raises Unopenable when the folder cannot be read."""
        self._greet()
        self._window.overflowed = self._polls = False
        present = self._find(self._folders.all(self._follows(notifications)))
        self._handed_out.keep_only(present)
        if self._deferred:
            here = set(present.tolist())
            self._deferred = {print_: until_s for print_, until_s in self._deferred.items() if print_ in here}

    def _greet(self) -> None:
        try:
            seen = self._folders.root.stat()
        except OSError:  # the scan itself will say why
            return
        if self._identity != (seen.st_dev, seen.st_ino):
            self._identity = (seen.st_dev, seen.st_ino)
            self._appeared()

    def _find(self, batches: Iterable[Batch]) -> NDArray[np.uint64]:
        """Put what is new into the window; the fingerprints of all that is there."""
        present = array("Q")
        for batch in batches:
            present.frombytes(batch.fingerprints.tobytes())
            for sighting, print_ in batch.chosen(self._handed_out.unknown(batch.fingerprints)):
                if sighting.path in self._window:
                    continue
                if self._known(sighting):
                    self._handed_out.add(print_)  # not to be asked for again
                else:
                    self._window.put(self._candidate(sighting))
        return np.frombuffer(present, np.uint64)

    def _follows(self, notifications: Notifications | None) -> Found:
        def found(folder: Path, told: bool) -> None:
            followed = notifications is not None and notifications.follow(folder)
            self._polls = self._polls or not (followed and (told or self._watching == "events"))

        return found


def mode(root: Path, watching: str) -> str:
    """How changes in a folder are noticed, in words."""
    kind = filesystem_of(root)
    listens = watching == "events" or (watching == "auto" and announces(kind))
    return f"{kind}: inotify events and scans" if listens else f"{kind}: polling"
