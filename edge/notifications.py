"""What the kernel tells of watched folders (inotify): files closed or renamed into place, new folders, lost events."""

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from inotify_simple import Event, INotify, flags

_EVENTS = flags.CLOSE_WRITE | flags.MOVED_TO | flags.CREATE | flags.ONLYDIR | flags.DONT_FOLLOW
_MOST_FOLDERS = 100_000


@dataclass(frozen=True)
class Changes:
    """closed: files that their writer closed. moved: renamed into place. folders: new. lost: events were dropped."""

    closed: tuple[Path, ...] = ()
    moved: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    lost: bool = False


class Notifications:
    """Events of the followed folders. One thread owns it. Raises OSError when the kernel has no inotify to give."""

    def __init__(self, *, warn: Callable[[str], None] = lambda text: None) -> None:
        self._inotify, self._warn = INotify(), warn
        self._told = False  # that there are no more watches
        self._folders: dict[int, Path] = {}  # by watch descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._inotify.close()

    def follow(self, folder: Path) -> bool:
        """False when the folder is gone, or the kernel is out of watches. Following it again changes nothing.

        By path, each time anew: another filesystem may have been mounted there. Nor when so many are followed that a
        sender must have made them to fill the memory.
        """
        if len(self._folders) >= _MOST_FOLDERS:
            return False
        try:
            self._folders[self._inotify.add_watch(str(folder), _EVENTS)] = folder
        except OSError as fault:
            if fault.errno == errno.ENOSPC and not self._told:
                self._told = True
                self._warn(
                    "the kernel has no more watches to give; folders are polled. Raise fs.inotify.max_user_watches"
                )
            return False
        return True

    def read(self, *, wait_s: float) -> Changes:
        """What happened since the last call; waits until something does, or `wait_s` has passed."""
        return self._changes(self._inotify.read(timeout=int(wait_s * 1000)))

    def _changes(self, events: Iterable[Event]) -> Changes:
        closed, moved, folders, lost = {}, {}, {}, False
        for event in events:
            folder = self._folders.get(event.wd)
            if event.mask & flags.IGNORED:
                self._folders.pop(event.wd, None)  # the folder is gone; the number may be given again
            elif event.mask & (flags.Q_OVERFLOW | flags.UNMOUNT):
                lost = True
            elif folder is not None and event.mask & flags.ISDIR:
                folders[folder / event.name] = True
            elif folder is not None and event.mask & flags.CLOSE_WRITE:
                closed[folder / event.name] = True
            elif folder is not None and event.mask & flags.MOVED_TO:
                moved[folder / event.name] = True
        return Changes(tuple(closed), tuple(moved), tuple(folders), lost)
