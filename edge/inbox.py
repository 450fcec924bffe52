"""The watch folder: finds files that are complete, and hands each out once. Knows nothing of radiographs or results.

A file is complete when its writer closed it or renamed it into place (inotify), or when its size, mtime and inode stood
still from look to look. A scan finds what events missed; where the kernel tells of no events, such as on a network
share, scans are all there is and come more often. Memory is bounded: what the window cannot hold stays in the folder.
Those that wait are in waiting.py; when the folder is walked through, scans.py says.
"""

import contextlib
import queue
import time
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.folders import Batch, Folders, Found
from edge.looks import KnownLooks, fingerprint_of, is_temporary, look, look_beneath
from edge.mounts import announces, filesystem_of
from edge.notifications import Changes, Notifications
from edge.put_off import Cause, Wait
from edge.scans import Pace, Scans
from edge.values import Sighting
from edge.waiting import Waiting


class Stop(Protocol):
    """Anything that can say stop, such as a threading.Event."""

    def is_set(self) -> bool: ...


_PACE = Pace()


class Inbox:
    """Complete files under a folder, oldest first. One thread iterates.

    known: says which sightings have a result. changed: says whether `known` may answer otherwise than before.
    appeared: called before the first scan, and whenever another folder lies in the root's place, as after a mount.
    alarm: told in the place of `warn` when nothing can be taken. further: another folder to take files from, which need
    not be there. watching: "events" asks for inotify, "polling" does without, "auto" goes by each folder's filesystem.
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
        alarm: Callable[[str], None] | None = None,
        pace: Pace = _PACE,
        watching: str = "auto",
        newest_first: bool = False,
    ) -> None:
        self._folders = Folders(root.resolve(), *further, warn=warn)
        self._known, self._changed, self._appeared, self._warn = known, changed, appeared, warn
        self._pace, self._watching = pace, watching
        self._identity: tuple[int, int] | None = None  # of the root: device and inode
        self._scans = Scans(pace, warn, alarm)
        self._waiting = Waiting(still_s=pace.still_s, newest_first=newest_first)
        self._handed_out = KnownLooks()  # or known from before
        self._meanwhile = array("Q")  # looks handed out and put off since the last scan began
        self._taken_back: queue.SimpleQueue[tuple[Sighting, float, Cause]] = queue.SimpleQueue()
        self._next_look_s = 0.0
        self.restless = 0  # files that a single run left because they kept changing

    @property
    def unreadable(self) -> int:
        """Subfolders that could not be listed."""
        return len(self._folders.unreadable)

    @property
    def unopenable(self) -> int:
        """Files that could not be opened when they were last tried. Any thread may ask."""
        return self._waiting.put_off.unopenable

    @property
    def waiting_files(self) -> int:
        """Files found and neither accepted nor known, without the unopenable ones. Any thread may ask."""
        return self._waiting.files

    def oldest_complete_s(self) -> float | None:
        """Since when the first of them is complete (monotonic clock); None when none is. Any thread may ask."""
        return self._waiting.oldest_complete_s()

    def accepted(self) -> float:
        """The file handed out last is its taker's now. Returns since when it is complete (monotonic clock)."""
        return self._waiting.accepted()

    @property
    def absent(self) -> str | None:
        """Why the folder cannot be read at present."""
        return self._scans.absent

    def root_of(self, path: Path) -> Path:
        """The folder below which a file was found: to be opened and put away from there, with no link on the way."""
        return self._folders.root_of(path)

    def settled(self, stop: Stop) -> Iterator[Sighting]:
        """What is there now, for --once: ends when every file has been handed out, or `stop` is set.

        Two equal looks are enough here. Files that keep changing are left when nothing else has come for `restless_s`.
        Raises Unopenable when the folder cannot be read.
        """
        self._waiting.still_s = 0.0
        self._scan()
        last_s = time.monotonic()
        while len(self._waiting) and not stop.is_set():
            sighting = self._waiting.take()
            if sighting is not None:
                if self._hand_out(sighting):
                    yield sighting
                last_s = time.monotonic()
            elif time.monotonic() - last_s > self._pace.restless_s:
                self.restless = len(self._waiting)
                return
            else:
                time.sleep(self._pace.look_s)
                self._waiting.look()
            self._take_back()
            if self._waiting.is_low():
                self._scan()

    def watch(self, stop: Stop) -> Iterator[Sighting]:
        """Files as they become complete, until `stop` is set. A folder that vanishes is waited for."""
        with contextlib.ExitStack() as opened:
            opened.callback(self._scans.leave)
            notifications = self._notifications(opened)
            while not stop.is_set():
                self._keep_up(notifications)
                sighting = self._waiting.take()
                if sighting is not None:
                    if self._hand_out(sighting):
                        yield sighting
                elif not self._scans.is_running:
                    self._wait(notifications)

    def look_again(self, sighting: Sighting, *, after_s: float, cause: Cause = Cause.UNFINISHED) -> None:
        """Take a sighting back: hand it out again once it has changed, or has stood still for `after_s` more.

        With 0 it comes again at the next look, and was not put off. Any thread may call this.
        """
        self._taken_back.put((sighting, after_s, cause))

    def was_put_off(self, sighting: Sighting) -> bool:
        """True when this very look was taken back before: the file has not changed since."""
        return self._wait_of(sighting) is not None

    def was_deferred(self, sighting: Sighting) -> bool:
        """True when it was, and had all the time that its writer is given: a wait for its other names is none."""
        wait = self._wait_of(sighting)
        return wait is not None and wait.cause is not Cause.LINKED

    def _wait_of(self, sighting: Sighting) -> Wait | None:
        self._take_back()
        return self._waiting.put_off.wait_of(fingerprint_of(sighting))

    def _take_back(self) -> None:
        while not self._taken_back.empty():
            sighting, after_s, cause = self._taken_back.get()
            print_ = fingerprint_of(sighting)
            self._handed_out.discard(print_)
            self._meanwhile.append(print_)
            wait = Wait(time.monotonic() + after_s, cause) if after_s > 0 else None
            self._waiting.taken_back(sighting, wait)

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
            print_ = fingerprint_of(sighting)
            self._handed_out.add(print_)
            self._meanwhile.append(print_)
            self._waiting.put_off.tried(print_)
            return True
        if now is not None:
            self._waiting.found(now)
        return False

    def _keep_up(self, notifications: Notifications | None) -> None:
        """Whatever is due: what was taken back, events, looks, a scan."""
        self._take_back()
        if notifications is not None:
            self._hear(notifications.read(wait_s=0), notifications)
        if time.monotonic() >= self._next_look_s:
            if self._changed():
                self._handed_out.clear()
                self._scans.ask()
            self._waiting.look()
            self._next_look_s = time.monotonic() + self._pace.look_s
        if self._scans.is_due() or (self._waiting.is_low() and not self._scans.is_running):
            self._scans.begin(self._walk(notifications))
        self._scans.go_on()

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
                for batch in self._folders.below(folder, self._follows(notifications)):
                    self._find(batch)
        if changes.lost:
            self._scans.ask()

    def _complete(self, path: Path, needless: Callable[[Sighting], bool]) -> None:
        sighting = None if is_temporary(path.name) else look(path)
        # What was taken back and has not changed since waits its time, whoever closes it.
        if sighting is not None and not self.was_put_off(sighting) and not needless(sighting):
            self._waiting.completed(sighting)

    def _scan(self) -> None:
        """The whole of one. Raises Unopenable when the folder cannot be read."""
        for _ in self._walk(None):
            pass

    def _walk(self, notifications: Notifications | None) -> Generator[None, None, None]:
        """Find all that is new, and forget what is gone; yields when something else may be done meanwhile."""
        self._greet()
        self._waiting.search_begins()
        self._scans.polls = False
        self._meanwhile = array("Q")
        present = array("Q")
        for batch in self._folders.all(self._follows(notifications)):
            present.frombytes(batch.fingerprints.tobytes())
            self._find(batch)
            yield
        # What the scan passed before it came, or before it was taken back, is there too.
        here: NDArray[np.uint64] = np.frombuffer(present + self._meanwhile, np.uint64)
        self._handed_out.keep_only(here)
        self._waiting.put_off.keep_only(here)
        self._waiting.search_ends()

    def _greet(self) -> None:
        try:
            seen = self._folders.root.stat()
        except OSError:  # the scan itself will say why
            return
        if self._identity != (seen.st_dev, seen.st_ino):
            self._identity = (seen.st_dev, seen.st_ino)
            self._appeared()

    def _find(self, batch: Batch) -> None:
        """Put what is new into the window."""
        for sighting, print_ in batch.chosen(self._handed_out.unknown(batch.fingerprints)):
            if sighting.path in self._waiting:
                continue
            wait = self._waiting.put_off.wait_of(print_)
            if (wait is None or wait.until_s <= time.monotonic()) and self._known(sighting):
                self._handed_out.add(print_)  # not to be asked for again
            else:
                self._waiting.found(sighting)

    def _follows(self, notifications: Notifications | None) -> Found:
        def found(folder: Path, told: bool) -> None:
            followed = notifications is not None and notifications.follow(folder)
            self._scans.polls |= not (followed and (told or self._watching == "events"))

        return found


def mode(root: Path, watching: str) -> str:
    """How changes in a folder are noticed, in words."""
    kind = filesystem_of(root)
    listens = watching == "events" or (watching == "auto" and announces(kind))
    return f"{kind}: inotify events and scans" if listens else f"{kind}: polling"
