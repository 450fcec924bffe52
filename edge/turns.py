"""A lock that is fair: who waits for it is the next to have it, however often another thread takes it meanwhile."""

import threading
from types import TracebackType


class Turns:
    """As threading.Lock in a `with`. That one may go again and again to the thread that has just released it."""

    def __init__(self) -> None:
        self._next = threading.Lock()  # held by who waits: nobody overtakes
        self._turn = threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._turn.acquire()

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._turn.release()
