"""Kills at random moments while radiographs keep arriving, in every way in which a sender may put them there."""

import contextlib
import os
import random
import shutil
import signal
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.durability.bench import bench
from benchmarks.durability.box import Order
from benchmarks.durability.crew import Tally
from benchmarks.durability.forks import KILLED, Boxes
from benchmarks.durability.invariant import check
from benchmarks.durability.radiographs import GARBAGE, GOOD, TRUNCATED, Sent, sent
from benchmarks.durability.reader import Reader

_PATIENCE_S = 30.0  # a slow sender's pause is far shorter: what stands still for that long is truncated


class Sender:
    """A thread that puts files into the folder until it is told to stop. sent: those that it has delivered whole."""

    def __init__(self, incoming: Path, aside: Path, *, seed: int, per_s: float) -> None:
        self._incoming, self._aside, self._rng, self._per_s = incoming, aside, random.Random(seed), per_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, name="sender")
        self.sent: list[Sent] = []

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _send(self) -> None:
        ways = (self._renamed, self._at_once, self._slowly, self._as_temporary, self._copied)
        number = 0
        while not self._stop.is_set():
            number += 1
            kind = self._rng.choices((GOOD, TRUNCATED, GARBAGE), (90, 5, 5))[0]
            file = sent(f"{number:06}.dcm", number, kind)
            if self._rng.random() < 0.05 and self.sent:
                file = Sent(
                    file.name, self._rng.choice(self.sent).content, frozenset({None, "truncated", "unreadable"})
                )
            self._rng.choice(ways)(file)
            self.sent.append(file)
            self._stop.wait(self._rng.expovariate(self._per_s))

    def _renamed(self, file: Sent) -> None:
        (self._aside / file.name).write_bytes(file.content)
        (self._aside / file.name).rename(self._incoming / file.name)

    def _at_once(self, file: Sent) -> None:
        (self._incoming / file.name).write_bytes(file.content)

    def _as_temporary(self, file: Sent) -> None:
        temporary = self._incoming / f"{file.name}.part"
        temporary.write_bytes(file.content)
        temporary.rename(self._incoming / file.name)

    def _copied(self, file: Sent) -> None:
        """With an old date, as cp -p and rsync do."""
        (self._aside / file.name).write_bytes(file.content)
        os.utime(self._aside / file.name, (1_600_000_000, 1_600_000_000))
        shutil.copy2(self._aside / file.name, self._incoming / file.name)
        (self._aside / file.name).unlink()

    def _slowly(self, file: Sent) -> None:
        """In pieces with pauses."""
        with (self._incoming / file.name).open("wb", buffering=0) as opened:
            for start in range(0, len(file.content), 100):
                opened.write(file.content[start : start + 100])
                self._stop.wait(0.02)


@dataclass(frozen=True)
class Load:
    """kills: how many. longest_s: a box lives for a random time of at most this."""

    kills: int
    after: str = "archive"
    longest_s: float = 0.8
    per_s: float = 20.0
    seed: int = 1


def kill_under_load(load: Load, *, title: str = "") -> Tally:
    """Kill, start again, and so on; then stop sending, let the box finish, and look."""
    tally, rng = Tally(), random.Random(load.seed)
    with bench([]) as place:
        place.fresh()
        aside = place.root / "aside"
        aside.mkdir()
        order = Order(
            str(place.incoming), str(place.state), str(place.root / "log"), load.after,
            once=False, scan_s=0.3, unfinished_after_s=_PATIENCE_S,
        )  # fmt: skip
        with Reader(place.state) as reader:
            with Sender(place.incoming, aside, seed=load.seed, per_s=load.per_s) as sender:
                for number in range(1, load.kills + 1):
                    _live_for(place.boxes, order, rng.uniform(0.02, load.longest_s), tally)
                    if title and number % 50 == 0:
                        print(f"{title}: {number} of {load.kills} kills, {len(sender.sent)} files sent", flush=True)
            last = place.boxes.run(replace(order, once=True, unfinished_after_s=1e-3))  # nobody writes any more
        if last.exit_code != 0:
            tally.found.note("lost", f"the last run ended with {last.exit_code}: {last.log[-500:]}")
        tally.did["files"] = len(sender.sent)
        tally.did["results_read_at_once"] = reader.read
        tally.found += check(place.incoming, place.state, sender.sent, after=load.after)
        for name in reader.not_whole:
            tally.found.note("partial", f"a reader met {name} half written")
    return tally


def _live_for(boxes: Boxes, order: Order, life_s: float, tally: Tally) -> None:
    timers: list[threading.Timer] = []

    def kill_later(pid: int) -> None:
        timers.append(threading.Timer(life_s, _kill, (pid,)))
        timers[0].start()

    outcome = boxes.run(order, on_start=kill_later)
    timers[0].cancel()
    if outcome.exit_code == KILLED:
        tally.did["kills"] += 1
    else:
        tally.found.note("lost", f"the box stopped by itself with {outcome.exit_code}: {outcome.log[-500:]}")


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
