"""Reaction time of the running daemon: from a file complete in its folder to its result visible, as radiographs arrive.

Files are renamed into the folder; the kernel tells of each result's name the moment that it is there (inotify). Gaps
between arrivals vary by half about their mean, so that no clock of the daemon's falls in step with them. What the
measuring costs on the same cores is in the figures.
"""

import hashlib
import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inotify_simple import INotify, flags

from benchmarks.copies import distinct
from benchmarks.daemon_process import DaemonProcess
from benchmarks.process_tree import Usage
from benchmarks.spread import Spread, spread_of
from edge.errors import EdgeError
from edge.mounts import filesystem_of
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.values import case_id_of

RESULT_WITHIN_S = 120.0
_LOOK_EACH_S = 1.0  # whether the daemon still lives
_QUIET_SHARE, _QUIET_EACH_S, _QUIET_WITHIN_S = 0.05, 1.0, 3600.0
_KNOWN_SIDE = 64  # pixels of a known file: what it costs later does not depend on its size


@dataclass(frozen=True)
class Arrivals:
    """rate_per_s: radiographs a second, on average. known: files that have their result before anything is measured."""

    rate_per_s: float
    runs: int
    warm_up: int
    idle_s: float
    known: int = 0

    @property
    def count(self) -> int:
        """Radiographs that are sent."""
        return self.runs + self.warm_up


@dataclass(frozen=True)
class Sent:
    """A radiograph on its way. sent_s, seen_s: renamed, and its result seen (monotonic clock)."""

    case_id: str
    sent_s: float
    seen_s: float


@dataclass(frozen=True)
class Reaction:
    """start_s: from the command to ready. overlapped: radiographs that came while an earlier one had no result yet.

    reaction: file complete to result visible. infer: the engine's part of it, as each result tells.
    besides_infer: the rest. idle_cpu_share: of one core, nothing arriving, all processes together. cpu_s: per
    radiograph, all processes together. at_start, when_idle, at_end: memory of the daemon and its workers.
    """

    rate_per_s: float
    known_files: int
    filesystem: str
    start_s: float
    overlapped: int
    reaction: Spread
    infer: Spread
    besides_infer: Spread
    idle_s: float
    idle_cpu_share: float
    cpu_s: float
    at_start: Usage
    when_idle: Usage
    at_end: Usage


def measure_reaction(
    daemon: DaemonProcess,
    radiographs: Sequence[bytes],
    arrivals: Arrivals,
    aside: Path,
    *,
    on_result: Callable[[], None] = lambda: None,
) -> Reaction:
    """radiographs: whole files, of which distinct copies are sent in turn. aside: on the disk of the watched folder.

    Raises EdgeError when one is not scored, has no result in time, or the daemon ends.
    """
    at_start = daemon.usage()
    if arrivals.known:
        wait_until_quiet(daemon)
    files = [lay_aside(radiographs[number % len(radiographs)], number, aside) for number in range(arrivals.count)]
    send(daemon, files[: arrivals.warm_up], arrivals.rate_per_s, on_result)
    idle_cpu_share = idle_share(daemon, arrivals.idle_s)
    when_idle = daemon.usage()
    sent = send(daemon, files[arrivals.warm_up :], arrivals.rate_per_s, on_result)
    at_end = daemon.usage()
    reaction_s = [one.seen_s - one.sent_s for one in sent]
    engine_s = [infer_s(daemon.results / f"{one.case_id}.json") for one in sent]
    return Reaction(
        arrivals.rate_per_s,
        arrivals.known,
        filesystem_of(daemon.incoming),
        daemon.start_s,
        overlapping(sent),
        spread_of(reaction_s),
        spread_of(engine_s),
        spread_of([whole - engine for whole, engine in zip(reaction_s, engine_s, strict=True)]),
        arrivals.idle_s,
        idle_cpu_share,
        (at_end.cpu_s - when_idle.cpu_s) / len(sent),
        at_start,
        when_idle,
        at_end,
    )


def lay_known(incoming: Path, count: int) -> None:
    """Copies of one small radiograph: it gets a result, and the others are known by their bytes."""
    if count == 0:
        return
    first = incoming / "known-000000.dcm"
    write_dicom(render(0, "other", longest_side=_KNOWN_SIDE), first)
    content = first.read_bytes()
    for number in range(1, count):
        (incoming / f"known-{number:06}.dcm").write_bytes(content)


def idle_share(daemon: DaemonProcess, idle_s: float) -> float:
    """CPU time over wall time, of one core."""
    before, started = daemon.usage().cpu_s, time.monotonic()
    time.sleep(idle_s)
    after, ended = daemon.usage().cpu_s, time.monotonic()
    return (after - before) / (ended - started)


def wait_until_quiet(daemon: DaemonProcess) -> None:
    """Until it has a result, no file waits, and it rests. Raises EdgeError when it never does."""
    deadline = time.monotonic() + _QUIET_WITHIN_S
    while time.monotonic() < deadline:
        rests = idle_share(daemon, _QUIET_EACH_S) < _QUIET_SHARE
        if rests and daemon.waiting_files() == 0 and any(daemon.results.iterdir()):
            return
    raise EdgeError(f"the daemon did not come to rest within {_QUIET_WITHIN_S:.0f} s; name fewer files with --known")


def overlapping(sent: Sequence[Sent]) -> int:
    """sent: in the order of sending."""
    count, last_seen_s = 0, float("-inf")
    for one in sent:
        count += one.sent_s < last_seen_s
        last_seen_s = max(last_seen_s, one.seen_s)
    return count


def gaps_s(count: int, rate_per_s: float, *, seed: int = 0) -> list[float]:
    """Between arrivals: 0.5 to 1.5 of their mean, evenly spread; the same each time."""
    rng = random.Random(seed)
    return [rng.uniform(0.5, 1.5) / rate_per_s for _ in range(count)]


def lay_aside(content: bytes, number: int, aside: Path) -> Path:
    """On the disk before anything is timed."""
    path = aside / f"{number:06}"
    with path.open("wb") as opened:
        opened.write(distinct(content, number))
        opened.flush()
        os.fsync(opened.fileno())
    return path


def send(daemon: DaemonProcess, files: Sequence[Path], rate_per_s: float, on_result: Callable[[], None]) -> list[Sent]:
    """Rename the files into the folder, one after each gap, and wait for every result."""
    cases = [case_id_of(hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]
    sent_s: dict[str, float] = {}
    seen_s: dict[str, float] = {}
    gaps = gaps_s(len(files), rate_per_s)
    with INotify() as results:
        results.add_watch(daemon.results, flags.MOVED_TO)
        due_s = time.monotonic()
        while len(seen_s) < len(files):
            now = time.monotonic()
            if len(sent_s) < len(files) and now >= due_s:
                path, case_id, gap_s = files[len(sent_s)], cases[len(sent_s)], gaps[len(sent_s)]
                sent_s[case_id] = time.monotonic()
                path.rename(daemon.incoming / path.name)
                due_s += gap_s
                continue
            for case_id in _names(results, due_s - now if len(sent_s) < len(files) else _LOOK_EACH_S):
                if case_id in sent_s and case_id not in seen_s:
                    seen_s[case_id] = time.monotonic()
                    on_result()
            daemon.require_alive()
            _require_in_time(sent_s, seen_s)
    return [Sent(case_id, sent_s[case_id], seen_s[case_id]) for case_id in cases]


def _names(results: INotify, wait_s: float) -> list[str]:
    """Cases whose result came within wait_s; returns at the first."""
    return [event.name.removesuffix(".json") for event in results.read(timeout=max(1, int(wait_s * 1000)))]


def _require_in_time(sent_s: Mapping[str, float], seen_s: Mapping[str, float]) -> None:
    """While results come, those that wait behind them are not overdue."""
    overdue_s = time.monotonic() - RESULT_WITHIN_S
    if max(seen_s.values(), default=0.0) < overdue_s and any(
        when_s < overdue_s for case_id, when_s in sent_s.items() if case_id not in seen_s
    ):
        raise EdgeError(f"a radiograph had no result within {RESULT_WITHIN_S:.0f} s. Run: edge-cxr doctor")


def infer_s(result: Path) -> float:
    told = json.loads(result.read_bytes())
    if told["status"] != "scored":
        raise EdgeError(f"a radiograph is not scored ({told['reason']}: {told['detail']}); name radiographs that are")
    return float(told["timings_s"]["infer"])
