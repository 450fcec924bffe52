"""Files that wait to be handed out: new ones in the window, and those taken back. A path waits once."""

import time
from dataclasses import replace
from pathlib import Path

from edge.looks import fingerprint_of, look
from edge.put_off import PutOff, Wait
from edge.values import Sighting
from edge.window import Candidate, Window

_AGAIN_EACH = 4  # of so many files one may be whose time has come, however many are new


class Waiting:
    """still_s: how long a new file must stand still. newest_first: as of the window."""

    def __init__(self, *, still_s: float, newest_first: bool) -> None:
        self.still_s = still_s
        self.window = Window(newest_first=newest_first)
        self.put_off = PutOff()
        self._turns = 0
        self._in_hand: Candidate | None = None  # handed out last, and not accepted yet

    def __len__(self) -> int:
        return len(self.window) + len(self.put_off)

    def __contains__(self, path: Path) -> bool:
        return path in self.window or path in self.put_off

    @property
    def files(self) -> int:
        """How many are known to be there, without those that cannot be opened. Any thread may ask."""
        put_off = max(0, len(self.put_off) - self.put_off.unopenable)
        return len(self.window) + self.window.beyond + put_off + (self._in_hand is not None)

    def oldest_complete_s(self) -> float | None:
        """Since when the first of the new ones is complete (monotonic clock). Any thread may ask."""
        in_hand, oldest_s = self._in_hand, self.window.oldest_complete_s()
        if in_hand is None:
            return oldest_s
        return in_hand.complete_s if oldest_s is None else min(oldest_s, in_hand.complete_s)

    def is_low(self) -> bool:
        """Whether there is room for what did not fit."""
        return self.window.is_low() or self.put_off.is_low()

    def search_begins(self) -> None:
        """What did not fit is about to be found again."""
        self.window.search_begins()
        self.put_off.overflowed = False

    def search_ends(self) -> None:
        """What does not fit has been counted."""
        self.window.search_ends()

    def found(self, sighting: Sighting) -> None:
        """One seen so for the first time, or put off earlier."""
        wait = self.put_off.wait_of(fingerprint_of(sighting))
        if wait is None:
            self._put(Candidate(sighting, time.monotonic() + self.still_s))
        else:
            self.window.discard(sighting.path)
            self.put_off.keep(sighting, wait)

    def completed(self, sighting: Sighting) -> None:
        """One that its writer has closed or renamed into place."""
        self._put(Candidate(sighting, time.monotonic(), complete=True))

    def taken_back(self, sighting: Sighting, wait: Wait | None) -> None:
        """One that was handed out. Without a wait it comes at the next look."""
        if wait is None:
            self._put(Candidate(sighting, time.monotonic()))
        else:
            self.window.discard(sighting.path)
            self.put_off.put(sighting, wait)

    def take(self) -> Sighting | None:
        """The next complete file: a new one, or in its turn one whose time has come. It is in hand until the next."""
        self._turns += 1
        if self._turns % _AGAIN_EACH == 0:
            self._in_hand = self.put_off.take() or self.window.take()
        else:
            self._in_hand = self.window.take() or self.put_off.take()
        return None if self._in_hand is None else self._in_hand.sighting

    def accepted(self) -> float:
        """What is in hand does not wait here any more. Returns since when it is complete (monotonic clock)."""
        in_hand, self._in_hand = self._in_hand, None
        return time.monotonic() if in_hand is None else in_hand.complete_s

    def look(self) -> None:
        """Those that have looked the same for long enough are complete; the others wait for the next look."""
        for candidate in self.window.incomplete():
            if self._stands_still(candidate.sighting) and time.monotonic() >= candidate.complete_s:
                self.window.put(replace(candidate, complete=True))
        for sighting in self.put_off.kept():
            self._stands_still(sighting)

    def _stands_still(self, sighting: Sighting) -> bool:
        now = look(sighting.path)
        if now is None:
            self.window.discard(sighting.path)
            self.put_off.discard(sighting.path)
        elif now != sighting:
            self.found(now)
        return now == sighting

    def _put(self, candidate: Candidate) -> None:
        self.put_off.discard(candidate.sighting.path)
        self.window.put(candidate)
