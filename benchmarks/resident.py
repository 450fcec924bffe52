"""A peer in a process of its own that stays: opened once, asked many times, measured where it works.

Processes keep peers from sharing thread pools, memory or a crash; that they stay lets peers take turns round by round.
"""

import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.child import CallFailed, why
from edge.errors import EdgeError

_LEAVE_S = 10.0  # for a process that was told to end


def _nothing(answer: Any) -> NDArray[Any]:
    return np.empty(0)


def _all_counts(answer: Any) -> float:
    return 0.0


def _nothing_to_close() -> None:
    return None


@dataclass(frozen=True)
class Opened:
    """What a peer does once it is open. call: the work that is timed, by the number of its input.

    told: of an answer, what can be compared with other peers' answers. left_out_s: seconds of a call that do not count.
    close: frees what it holds, a process of its own say.
    """

    call: Callable[[int], Any]
    told: Callable[[Any], NDArray[Any]] = _nothing
    left_out_s: Callable[[Any], float] = _all_counts
    close: Callable[[], object] = _nothing_to_close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True)
class Peer:
    """open: can be pickled (a function of a module, or a partial of one). note: in what its work differs from ours.

    comparable: whether it should answer as the baseline does; with other weights it cannot.
    """

    name: str
    open: Callable[[], Opened]
    note: str = ""
    comparable: bool = True


@dataclass(frozen=True)
class Turn:
    """The median call of one turn. cpu_s: of all threads, so that cpu_s / wall_s says how many cores worked."""

    wall_s: float
    cpu_s: float


class Resident:
    """An open peer. open_s: from nothing to the first answer. Not thread-safe."""

    def __init__(self, peer: Peer, *, inputs: int, cores: int | None, limit_s: float) -> None:
        """inputs: how many it answers untimed before its first turn. cores: that it may use; None: all.

        Raises CallFailed when it cannot be opened, dies, or takes longer than limit_s.
        """
        context = multiprocessing.get_context("spawn")  # a fork would share thread pools that are half alive
        self._link, theirs = context.Pipe()
        self._limit_s = limit_s
        self._process = context.Process(target=_serve, args=(theirs, peer, inputs, cores))
        self._process.start()
        theirs.close()
        self.open_s, self.answers = self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def turn(self, first: int, calls: int) -> Turn:
        """`calls` calls in a row, from input number `first`. Raises CallFailed."""
        self._link.send((first, calls))
        return Turn(*self._receive())

    def memory_bytes(self) -> int:
        """The most memory that its process has held. Raises CallFailed."""
        self._link.send(None)
        return int(self._receive())

    def close(self) -> None:
        self._link.close()
        self._process.join(_LEAVE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        try:
            if not self._link.poll(self._limit_s):
                self._process.kill()
                raise CallFailed(f"no answer within {self._limit_s:.0f} s")
            fault, answer = self._link.recv()
        except (EOFError, ConnectionError):
            self._process.join(_LEAVE_S)
            fault, answer = f"its process died ({self._process.exitcode})", None
        except CallFailed as late:
            fault, answer = str(late), None
        if fault is not None:
            self.close()
            raise CallFailed(fault)
        return answer


def _serve(link: Connection, peer: Peer, inputs: int, cores: int | None) -> None:
    """What the process does: open, answer each input once, then take turns until the link closes."""
    os.dup2(2, 1)  # stdout belongs to the parent's own words
    try:
        if cores is not None:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
        started = time.perf_counter()
        with peer.open() as opened:
            answers = [opened.told(opened.call(0))]
            open_s = time.perf_counter() - started
            answers += [opened.told(opened.call(number)) for number in range(1, inputs)]
            link.send((None, (open_s, answers)))
            while True:
                order = link.recv()
                link.send((None, _most_memory_bytes() if order is None else _take_turn(opened, *order)))
    except (EOFError, ConnectionError):
        return
    except Exception as fault:
        if not isinstance(fault, EdgeError | ImportError):
            traceback.print_exc()
        link.send((why(fault), None))


def _take_turn(opened: Opened, first: int, calls: int) -> tuple[float, float]:
    wall_s, cpu_s = [], []
    for number in range(first, first + calls):
        started, worked = time.perf_counter(), _cpu_s()
        answer = opened.call(number)
        ended = time.perf_counter()
        cpu_s.append(_cpu_s() - worked)
        wall_s.append(ended - started - opened.left_out_s(answer))
    return statistics.median(wall_s), statistics.median(cpu_s)


def _most_memory_bytes() -> int:
    """Of this program alone: getrusage would count what the parent held before this one was started."""
    words = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").split()
    return int(words[words.index("VmHWM:") + 1]) * 1024


def _cpu_s() -> float:
    return time.clock_gettime(time.CLOCK_PROCESS_CPUTIME_ID)
