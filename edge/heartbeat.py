"""The watchdog is fed by progress: the main thread pings wherever it waits, as long as no stage is stuck."""

import threading
import time
from collections.abc import Callable

from edge.notify import Notifier

_SHARE = 0.5  # of the watchdog's patience that one step may take
_PINGS = 4  # in that patience
_OPENING_S = 900.0  # an engine may be compiled
_STATUS_EACH_S = 5.0


class Heartbeat:
    """status: asked every few seconds; systemd is told when it has changed.

    stalled_s: for how long the slowest stage has been at what it does; set by who runs the stages.
    """

    def __init__(self, notifier: Notifier, status: Callable[[], str]) -> None:
        self._notifier, self._status = notifier, status
        self._patience_s = notifier.watchdog_s
        self._pinged_s = self._looked_s = float("-inf")
        self._told = ""
        self.stalled_s: Callable[[], float] = lambda: 0.0

    def beat(self) -> None:
        """Called by the main thread again and again: a ping when one is due and all stages make progress."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= _STATUS_EACH_S:
            self._looked_s = now_s
            self.tell()
        if self._patience_s is None or now_s - self._pinged_s < self._patience_s / _PINGS:
            return
        if self.stalled_s() <= self._patience_s * _SHARE:
            self._pinged_s = now_s
            self._notifier.ping()

    def tell(self) -> None:
        told = self._status()
        if told != self._told:
            self._told = told
            self._notifier.status(told)

    def opening(self) -> None:
        """The main thread opens an engine, which takes its time and cannot ping; ends with `opened`."""
        self.stalled_s = lambda: 0.0
        self.tell()
        self._wait_for(_OPENING_S)

    def opened(self) -> None:
        self.tell()
        self._wait_for(0.0)

    def _wait_for(self, opening_s: float) -> None:
        if self._patience_s is not None:
            self._notifier.wait_for(max(opening_s, self._patience_s))
            self._notifier.ping()


class Beating:
    """The `over` that the main thread's loops ask: each question is a sign of life."""

    def __init__(self, over: threading.Event, heartbeat: Heartbeat) -> None:
        self._over, self._heartbeat = over, heartbeat

    def is_set(self) -> bool:
        self._heartbeat.beat()
        return self._over.is_set()
