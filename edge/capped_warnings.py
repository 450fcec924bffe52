"""Warnings of which there may be thousands: as many as people read are told one by one."""

import time
from collections.abc import Callable


class CappedWarnings:
    """most: so many in `each_s` are told, and then that more are not. counted_in: the metric that counts them all."""

    def __init__(self, warn: Callable[[str], None], *, counted_in: str, most: int = 20, each_s: float = 60.0) -> None:
        self._warn, self._counted_in, self._most, self._each_s = warn, counted_in, most, each_s
        self._told, self._until_s = 0, 0.0

    def __call__(self, text: str) -> None:
        if time.monotonic() >= self._until_s:
            self._told, self._until_s = 0, time.monotonic() + self._each_s
        self._told += 1
        if self._told <= self._most:
            self._warn(text)
        elif self._told == self._most + 1:
            self._warn(
                f"more such files are not told one by one for {self._each_s:g} s; {self._counted_in} counts them"
            )
