"""A line of stages, each with threads of its own, joined by bounded queues. Knows nothing of what flows through it.

Owned by daemon.py.
"""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_POLL_S = 0.2
T = TypeVar("T")


@dataclass(frozen=True)
class Stage(Generic[T]):
    """step: what is done to each; None ends its way. drop: called with what will not be done any more.

    allowed_s: how long a step may take by right, as it ends by itself then. together: done first, to all that wait at
    that moment, at most as many as `most` says; nobody waits for another to come. It returns them in their order.
    """

    name: str
    step: Callable[[T], T | None]
    threads: int = 1
    drop: Callable[[T], None] = lambda one: None
    allowed_s: float = 0.0
    together: Callable[[Sequence[T]], Sequence[T]] = lambda those: those
    most: Callable[[], int] = lambda: 1


class Line(Generic[T]):
    """Stages in order. A step's exception goes to `on_fault`; once there `is_faulty`, all that comes is dropped."""

    def __init__(
        self,
        stages: Sequence[Stage[T]],
        *,
        queue_size: int,
        on_fault: Callable[[BaseException], None],
        is_faulty: Callable[[], bool],
    ) -> None:
        self.stages, self._on_fault, self._is_faulty = stages, on_fault, is_faulty
        self._queues: list[queue.Queue[T | None]] = [queue.Queue(queue_size) for _ in stages]
        self._running = [stage.threads for stage in stages]
        self._lock = threading.Lock()
        self._since_s: dict[int, float] = {}  # thread -> since when it should be done with what it does
        self._threads = [
            threading.Thread(target=self._run, args=(place,), name=stage.name)
            for place, stage in enumerate(stages)
            for _ in range(stage.threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def depth(self, name: str) -> int:
        """How many wait for a stage."""
        return next(
            waiting.qsize() for stage, waiting in zip(self.stages, self._queues, strict=True) if stage.name == name
        )

    def put(self, one: T, *, is_over: Callable[[], bool]) -> bool:
        """Hand one to the first stage. False when it was over before there was a place; it was dropped."""
        while not is_over():
            with contextlib.suppress(queue.Full):
                self._queues[0].put(one, timeout=_POLL_S)
                return True
        self.stages[0].drop(one)
        return False

    def stalled_s(self) -> float:
        """For how long the slowest step has been under way beyond what it may take; 0 while none is."""
        since_s = min(list(self._since_s.values()), default=float("inf"))
        return max(0.0, time.monotonic() - since_s)

    def finish(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Nothing more comes: wait until all that was put in is done or dropped. meanwhile: called again and again."""
        for _ in range(self.stages[0].threads):
            while not self._has_put_end(0):
                meanwhile()
        for thread in self._threads:
            while thread.is_alive():
                thread.join(_POLL_S)
                meanwhile()

    def _has_put_end(self, place: int) -> bool:
        with contextlib.suppress(queue.Full):
            self._queues[place].put(None, timeout=_POLL_S)
            return True
        return False

    def _end(self, place: int) -> None:
        for _ in range(self.stages[place].threads):
            self._queues[place].put(None)

    def _run(self, place: int) -> None:
        last = place + 1 == len(self.stages)
        while self._pass_on(place, last=last):
            pass
        with self._lock:
            self._running[place] -= 1
            is_last_thread = self._running[place] == 0
        if is_last_thread and not last:
            self._end(place + 1)

    def _pass_on(self, place: int, *, last: bool) -> bool:
        """The next ones; False at the end. On its own, so that nothing of them lies in memory until others come."""
        those = self._waiting(place)
        for one in self._together(self.stages[place], those) if those else ():
            done = self._done(self.stages[place], one)
            if done is not None and not last:
                self._queues[place + 1].put(done)
        return bool(those)

    def _waiting(self, place: int) -> list[T]:
        """The next one, and what waits behind it and goes with it; nothing at the end."""
        those, waiting, most = [], self._queues[place], self.stages[place].most
        one = waiting.get()
        while one is not None:
            those.append(one)
            if len(those) >= most():
                return those
            try:
                one = waiting.get_nowait()
            except queue.Empty:
                return those
        if those:
            waiting.put(None)  # the end, for the next look: there is room where `those` were
        return those

    def _together(self, stage: Stage[T], those: Sequence[T]) -> Sequence[T]:
        if self._is_faulty():
            return those  # each is dropped
        try:
            with self._watched(stage):
                return stage.together(those)
        except BaseException as fault:
            self._on_fault(fault)
            for one in those:
                stage.drop(one)
            return ()

    def _done(self, stage: Stage[T], one: T) -> T | None:
        if self._is_faulty():
            stage.drop(one)
            return None
        try:
            with self._watched(stage):
                return stage.step(one)
        except BaseException as fault:
            self._on_fault(fault)
            return None

    @contextlib.contextmanager
    def _watched(self, stage: Stage[T]) -> Iterator[None]:
        self._since_s[threading.get_ident()] = time.monotonic() + stage.allowed_s
        try:
            yield
        finally:
            del self._since_s[threading.get_ident()]
