"""How much the ledger holds, for who asks every few seconds: counted on from what was counted before.

A ledger of a million cases is a file of gigabytes, which nobody should read through for a number.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError
from edge.ledger_reader import LedgerReader

_SLICE = 1024  # numbers counted in one go: 5 ms
_MOST_S = 0.05  # of one look


@dataclass(frozen=True)
class LedgerCount:
    """size_bytes: with the log that is not yet taken in. cases: results, one for each file and bundle.
    of_others: cases whose last report is a score by another bundle, and which this one has not judged; after the start
    of a large ledger of those that could be looked at so far.
    """

    size_bytes: int
    cases: int
    of_others: int


class LedgerCounts:
    """Counts through a connection of its own, so that nobody who writes waits for it. Any thread may look.

    seen: what the last look has found.
    """

    def __init__(self, ledger: Path, reader: LedgerReader, bundle_id: str) -> None:
        self._files, self._reader, self._bundle_id = (ledger, Path(f"{ledger}-wal")), reader, bundle_id
        self._lock = threading.Lock()
        self._removals, self._last_number, self._cases = "", 0, 0
        self._counted_to, self._counted, self._of_others = 0, 0, 0
        self._is_first = self._again = True
        self.seen = LedgerCount(0, 0, 0)

    def look(self) -> LedgerCount:
        """Takes at most some hundredths of a second. What was seen before, when the ledger cannot be read."""
        with self._lock:
            try:
                self._count()
                size_bytes = sum(path.stat().st_size for path in self._files if path.exists())
                self.seen = LedgerCount(size_bytes, self._cases, self._of_others)
            except (StateError, OSError):  # who writes will meet it too, and say so
                pass
            return self.seen

    def _count(self) -> None:
        removals = f"{self._reader.last_superseded()}:{self._reader.extent().forgotten}"
        before, last = self._last_number, self._reader.extent().last_number
        if removals != self._removals:
            self._cases, self._again = self._reader.count_cases(up_to=last), True
        elif last > before:
            self._cases += self._reader.count_cases(after=before, up_to=last)
            self._again |= self._reader.concerns_others(self._bundle_id, after=before, up_to=last)
        self._removals, self._last_number = removals, last
        if self._again or self._counted_to:
            self._count_others()

    def _count_others(self) -> None:
        """Goes through the numbers, a few at each look; what changes meanwhile is counted the next time."""
        if not self._counted_to:
            self._again, self._counted = False, 0
        until_s = time.monotonic() + _MOST_S
        while self._counted_to < self._last_number:
            up_to = self._counted_to + _SLICE
            self._counted += self._reader.count_of_others(self._bundle_id, after=self._counted_to, up_to=up_to)
            self._counted_to = up_to
            if time.monotonic() >= until_s:
                break
        if self._counted_to >= self._last_number:
            self._of_others, self._counted_to, self._is_first = self._counted, 0, False
        elif self._is_first:
            self._of_others = self._counted
