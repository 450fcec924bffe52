"""Many jobs on a few benches at once, one tally of what they found, and progress on stderr."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks.durability.bench import Bench, bench
from benchmarks.durability.invariant import Findings
from benchmarks.durability.radiographs import Sent
from benchmarks.durability.reader import Reader

Job = TypeVar("Job")
WORKERS = 2


@dataclass
class Tally:
    """did: how often what was done. found: what must be zero. noted: what a reader should know, with how often."""

    did: Counter[str] = field(default_factory=Counter)
    found: Findings = field(default_factory=Findings)
    noted: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Tally") -> "Tally":
        self.did += other.did
        self.found += other.found
        self.noted += other.noted
        return self

    def as_json(self) -> dict[str, object]:
        """Counts, and the first lines of what went wrong."""
        counts = {**dict(sorted(self.did.items())), **self.found.counts()}
        return {**counts, "noted": dict(self.noted.most_common()), "wrong": self.found.lines[:20]}


def work_off(
    jobs: Sequence[Job],
    do: Callable[[Bench, Job], Tally],
    files: Sequence[Sent],
    *,
    title: str = "",
    read: bool = False,
    workers: int = WORKERS,
    enough: Callable[[Tally], bool] = lambda tally: False,
) -> Tally:
    """Every job on some bench; the rest is left once the tally is enough. An empty title shows no progress.

    read: a reader beside each bench looks at every result the moment it is visible.
    """
    tally, lock, started = Tally(), threading.Lock(), time.monotonic()
    waiting, done = list(reversed(jobs)), 0

    def work(place: Bench) -> None:
        nonlocal tally, done
        while True:
            with lock:
                if not waiting or enough(tally):
                    return
                job = waiting.pop()
            one = do(place, job)
            with lock:
                tally += one
                done += 1
                _show(title, done, len(jobs), tally, started)

    with ExitStack() as opened:
        places = [opened.enter_context(bench(files)) for _ in range(min(workers, max(1, len(jobs))))]
        readers = [Reader(place.state) for place in places] if read else []
        for reader in readers:
            opened.callback(_add_reads, tally, reader)
            opened.enter_context(reader)
        with ThreadPoolExecutor(len(places)) as pool:
            for future in [pool.submit(work, place) for place in places]:
                future.result()
    if title and sys.stderr.isatty():
        print(file=sys.stderr)
    return tally


def _add_reads(tally: Tally, reader: Reader) -> None:
    tally.did["results_read_at_once"] += reader.read
    for name in reader.not_whole:
        tally.found.note("partial", f"a reader met {name} half written")


def _show(title: str, done: int, of: int, tally: Tally, started: float) -> None:
    """One line that is written over on a terminal, and elsewhere a line for each tenth."""
    if not title:
        return
    wrong = ", ".join(f"{kind} {count}" for kind, count in tally.found.counts().items())
    line = f"{title}: {done} of {of}, {time.monotonic() - started:.0f} s, {wrong}"
    if sys.stderr.isatty():
        print(f"\r{line} ", end="", file=sys.stderr, flush=True)
    elif done == of or done % max(1, of // 10) == 0:
        print(line, file=sys.stderr, flush=True)
