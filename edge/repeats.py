"""Lines that come again and again: so many a minute are written, then one that says how many more there were."""

import logging
import re
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

_VARYING = re.compile(r"[0-9a-f]{8,}|\d+")  # a digest, a case id, or a number: it is the same event all the same
_EVENTS = 256  # followed at a time


@dataclass
class _Spell:
    """A minute of one event. held_back: what was not written of it; last: the latest of these."""

    ends_s: float
    written: int = 0
    held_back: int = 0
    last: logging.LogRecord | None = None


class Repeats(logging.Filter):
    """Of equal events `most` are let through in `each_s`. The others are told of with the first line after that.

    Events are equal when they differ in numbers and case ids only. tell: called with the latest of those held back, and
    how many they were. Never held back: errors, and these events. Memory is bounded: of more than some hundred events
    at a time the oldest is told of at once.
    """

    def __init__(
        self,
        tell: Callable[[logging.LogRecord, int], None],
        *,
        never_held_back: Collection[str] = (),
        most: int = 20,
        each_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._tell, self._never, self._most, self._each_s = tell, frozenset(never_held_back), most, each_s
        self._clock = clock
        self._lock = threading.Lock()
        self._spells: dict[tuple[int, str], _Spell] = {}  # in the order of their ends

    def filter(self, record: logging.LogRecord) -> bool:
        event = record.getMessage()
        with self._lock:
            settled = self._over()
            is_written = event in self._never or record.levelno >= logging.ERROR or self._is_among_first(record, event)
            if len(self._spells) > _EVENTS:
                settled.append(self._spells.pop(next(iter(self._spells))))
        for spell in settled:
            if spell.last is not None:
                self._tell(spell.last, spell.held_back)
        return is_written

    def _over(self) -> list[_Spell]:
        now_s = self._clock()
        over = [event for event, spell in self._spells.items() if spell.ends_s <= now_s]
        return [self._spells.pop(event) for event in over]

    def _is_among_first(self, record: logging.LogRecord, event: str) -> bool:
        key = record.levelno, _VARYING.sub("#", event)
        spell = self._spells.setdefault(key, _Spell(self._clock() + self._each_s))
        if spell.written < self._most:
            spell.written += 1
            return True
        spell.held_back, spell.last = spell.held_back + 1, record
        return False
