"""When the watched folders are walked through. It is done in pieces, between which files are handed out."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from edge.errors import Unopenable

_SCAN_PAUSE = 200  # a scan comes at the earliest after so many times its own CPU time ...
_POLL_PAUSE = 20  # ... or, on a share, its own duration
_PIECE_S = 0.02


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


class Scans:
    """One scan after the other, the rarer the more they cost. One thread owns it.

    alarm: called when the folder cannot be read, in the place of `warn`; warn: when it can be again.
    """

    def __init__(self, pace: Pace, warn: Callable[[str], None], alarm: Callable[[str], None] | None = None) -> None:
        self._pace, self._warn, self._alarm = pace, warn, alarm or warn
        self._walk: Generator[None, None, None] | None = None
        self._next_s = self._spent_s = self._cpu_s = 0.0
        self.polls = False  # some folder is not announced
        self.absent: str | None = None  # why the folder cannot be read at present

    @property
    def is_running(self) -> bool:
        return self._walk is not None

    def is_due(self) -> bool:
        return not self.is_running and time.monotonic() >= self._next_s

    def ask(self) -> None:
        """Another scan at once; when one runs, after that."""
        self._next_s = 0.0

    def begin(self, walk: Generator[None, None, None]) -> None:
        """walk: yields now and then. Raises Unopenable when the folder cannot be read."""
        self._walk, self._next_s = walk, float("inf")
        self._spent_s = self._cpu_s = 0.0

    def go_on(self) -> None:
        """One piece of the scan that runs, if any."""
        if self._walk is None:
            return
        started_s, cpu_s = time.monotonic(), time.thread_time()
        try:
            is_over = _is_over(self._walk, started_s + _PIECE_S)
        except Unopenable as fault:
            self._end(min(self._pace.scan_s, self._pace.poll_s))
            if self.absent is None:
                self._alarm(str(fault))
            self.absent = str(fault)
            return
        self._spent_s += time.monotonic() - started_s
        self._cpu_s += time.thread_time() - cpu_s
        if is_over:
            self._end(self._pause_s())
            if self.absent is not None:
                self._warn("the incoming folder can be read again")
                self.absent = None

    def leave(self) -> None:
        """Whoever watches has stopped."""
        if self._walk is not None:
            self._walk.close()
        self._walk, self._next_s = None, 0.0

    def _end(self, pause_s: float) -> None:
        self._walk, self._next_s = None, min(self._next_s, time.monotonic() + pause_s)

    def _pause_s(self) -> float:
        if self.polls:
            return max(self._pace.poll_s, _POLL_PAUSE * self._spent_s)
        return max(self._pace.scan_s, _SCAN_PAUSE * self._cpu_s)


def _is_over(walk: Generator[None, None, None], until_s: float) -> bool:
    """Goes on with it until then."""
    return not any(time.monotonic() >= until_s for _ in walk)
