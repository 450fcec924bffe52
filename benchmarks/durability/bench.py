"""A place to break boxes in: folders that are made anew for each run, a box to run there, and points to break it at."""

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.durability import strace
from benchmarks.durability.box import TOLD_ON, Order
from benchmarks.durability.forks import Boxes, Outcome
from benchmarks.durability.radiographs import Sent, deliver

LOGGED = ("fsync", "fdatasync")


@dataclass(frozen=True)
class Point:
    """The n-th call of this name that a thread makes, counted from 1."""

    thread: str
    call: str
    n: int


class Bench:
    """One place, one thread. Folders keep their paths from run to run: the ledger knows inputs by them."""

    def __init__(self, root: Path, boxes: Boxes, files: Sequence[Sent]) -> None:
        self.root, self.boxes, self.files = root, boxes, files
        self.incoming, self.state = root / "incoming", root / "state"
        self._order = Order(str(self.incoming), str(self.state), str(root / "log"))

    def fresh(self) -> None:
        """An empty state folder, and every file delivered."""
        for folder in (self.incoming, self.state):
            shutil.rmtree(folder, ignore_errors=True)
        deliver(self.files, self.incoming)

    def run(self, *, after: str, mutant: str | None = None) -> Outcome:
        return self.boxes.run(replace(self._order, after=after, mutant=mutant))

    def run_broken(self, point: Point, fault: str, *, after: str, mutant: str | None = None) -> Outcome:
        """fault: `signal=SIGKILL` or `error=ENOSPC`, as strace's inject takes it."""
        return self._broken(point, f"{point.call}:{fault}:when={point.n}", after, mutant, (point.thread,))

    def run_failing(self, point: Point, error: str, *, after: str, onwards: bool = False) -> Outcome:
        """The call returns `error`; afterwards `traces` hold each thread's fsyncs, whichever of them it was."""
        injection = f"{point.call}:error={error}:when={point.n}{'+' if onwards else ''}"
        watched = ("main", "write") if point.call in LOGGED else (point.thread,)
        return self._broken(point, injection, after, None, watched)

    def traces(self) -> list[Path]:
        return sorted(self.root.glob("trace.*"))

    def _broken(
        self, point: Point, injection: str, after: str, mutant: str | None, watched: tuple[str, ...]
    ) -> Outcome:
        tracers: list[subprocess.Popen[bytes]] = []
        for trace in self.traces():
            trace.unlink()

        def attach(thread: str, tid: int) -> None:
            log = self.root / f"trace.{thread}"
            if thread == point.thread:
                tracers.append(strace.injector(tid, injection, log, also=LOGGED))
            else:
                tracers.append(strace.witness(tid, log, LOGGED))

        return self._traced(replace(self._order, after=after, mutant=mutant, wait_in=watched), attach, tracers)

    def run_recorded(self, log: Path, *, after: str, mutant: str | None = None, inject: str | None = None) -> Outcome:
        """Every write-side call of every thread in `log`, by strace.calls to be read."""
        tracers: list[subprocess.Popen[bytes]] = []

        def attach(thread: str, tid: int) -> None:
            tracers.append(strace.recorder(tid, log, inject=inject))

        return self._traced(replace(self._order, after=after, mutant=mutant, wait_in=("main",)), attach, tracers)

    def points(self, *, after: str) -> list[Point]:
        """Every write-side call that a run makes, by thread: where it can be killed."""
        self.fresh()
        log = self.root / "record"
        outcome = self.run_recorded(log, after=after)
        seen: Counter[tuple[int, str]] = Counter()
        points = []
        for call in strace.calls(log):
            if call.name == "write" and call.arguments.startswith(f"{TOLD_ON}, "):
                continue
            seen[call.tid, call.name] += 1
            if call.writes and call.tid in outcome.threads:
                points.append(Point(outcome.threads[call.tid], call.name, seen[call.tid, call.name]))
        return points

    def _traced(
        self, order: Order, attach: Callable[[str, int], None], tracers: "list[subprocess.Popen[bytes]]"
    ) -> Outcome:
        try:
            return self.boxes.run(order, on_wait=attach)
        finally:
            for tracer in tracers:
                tracer.wait(30)


@contextmanager
def bench(files: Sequence[Sent], *, within: Path | None = None) -> Iterator[Bench]:
    """A bench in memory where the machine has such a disk: the calls are the same, and nothing wears out."""
    memory = Path("/dev/shm")
    within = within or (memory if memory.is_dir() and os.access(memory, os.W_OK) else None)
    with tempfile.TemporaryDirectory(dir=within, prefix="edge-cxr-") as root, Boxes() as boxes:
        yield Bench(Path(root), boxes, files)
