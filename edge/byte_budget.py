"""How many bytes may be held in memory at the same time: who takes waits until others have given back."""

import threading
from collections.abc import Callable

_POLL_S = 0.2


class ByteBudget:
    """One alone may hold more than the limit: otherwise its turn would never come. One thread takes, any gives back."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0
        self._changed = threading.Condition()

    def take(self, size_bytes: int, *, is_over: Callable[[], bool]) -> bool:
        """False, and nothing was taken, when it was over before there was room."""
        with self._changed:
            while self.held_bytes and self.held_bytes + size_bytes > self._limit_bytes:
                if is_over():
                    return False
                self._changed.wait(_POLL_S)
            self.held_bytes += size_bytes
            return True

    def give_back(self, size_bytes: int) -> None:
        with self._changed:
            self.held_bytes -= size_bytes
            self._changed.notify()
