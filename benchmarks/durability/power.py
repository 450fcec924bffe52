"""Power cuts: record a run's system calls, rebuild what they may have left at any moment, start the box, and look."""

import contextlib
import hashlib
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.durability import strace
from benchmarks.durability.bench import Bench
from benchmarks.durability.crew import Tally, work_off
from benchmarks.durability.disk import Crashed, Disk, Folder
from benchmarks.durability.invariant import check
from benchmarks.durability.radiographs import small_set
from benchmarks.durability.replay import Replay

_OLD_S = 1_600_000_000  # as a file that came long ago
# Where a run is killed before the recorded one: counted thread by thread, so that the first to come there dies.
KILLED_FIRST = (
    *(f"fsync:{number}" for number in range(1, 13)),
    *(f"fdatasync:{number}" for number in range(1, 9)),
    *(f"{call}:{number}" for call in ("rename", "link", "unlink", "mkdir") for number in (1, 2, 3)),
)


@dataclass(frozen=True)
class Outage:
    """One recorded run, and how many states of it are tried.

    killed_first: a run before it was killed at this call, such as "fsync:1": what that one left unsynced still is, and
    a start that only looks whether a folder is there leaves it so.
    """

    after: str
    seed: int
    states: int
    killed_first: str | None = None
    mutant: str | None = None


def do_outage(place: Bench, outage: Outage) -> Tally:
    """One state after the other until all are tried or, with a mutant, one is bad."""
    tally = Tally()
    rng = random.Random(outage.seed)
    disk, logs = _record(place, outage)
    seen: set[bytes] = set()
    for crashed in _states(Replay(disk), logs, rng, outage.states):
        fingerprint = _fingerprint(crashed)
        if fingerprint in seen:
            tally.did["states_alike"] += 1
            continue
        seen.add(fingerprint)
        _rebuild(place, crashed)
        again = place.run(after=outage.after)
        tally.did["states"] += 1
        if again.exit_code != 0:
            tally.found.note("lost", f"the start after a power cut ended with {again.exit_code}: {again.log[-300:]}")
        tally.found += check(place.incoming, place.state, place.files, after=outage.after)
        if outage.mutant is not None and tally.found:
            break
    return tally


def prove_power(outages: Sequence[Outage], *, title: str = "") -> Tally:
    return work_off(outages, do_outage, small_set(), title=title)


def catch(mutant: str, *, states: int = 400, seed: int = 1) -> Tally:
    """Power cuts of a broken box until one is noticed."""
    outages = [Outage("archive", seed + number, states // 4, mutant=mutant) for number in range(4)]
    return work_off(outages, do_outage, small_set(), enough=lambda tally: bool(tally.found))


def disk_before(place: Bench) -> Disk:
    """Every input delivered, and safe; no state folder yet."""
    disk = Disk(str(place.root))
    disk.add(str(place.incoming), Folder())
    root = disk.find(str(place.root))
    assert isinstance(root, Folder)
    disk.sync_folder(root)
    shutil.rmtree(_aside(place), ignore_errors=True)
    _aside(place).mkdir()
    for file in place.files:
        disk.put(str(place.incoming / file.name), file.content)
    return disk


def _record(place: Bench, outage: Outage) -> tuple[Disk, list[list[strace.Call]]]:
    place.fresh()
    disk = disk_before(place)
    logs = []
    if outage.killed_first is not None:
        call, _, number = outage.killed_first.partition(":")
        logs.append(_recorded(place, outage, "first", f"{call}:signal=SIGKILL:when={number}"))
    logs.append(_recorded(place, outage, "record"))
    return disk, logs


def _recorded(place: Bench, outage: Outage, name: str, inject: str | None = None) -> list[strace.Call]:
    log = place.root / name
    place.run_recorded(log, after=outage.after, mutant=outage.mutant, inject=inject)
    return list(strace.calls(log))


def _states(replay: Replay, logs: list[list[strace.Call]], rng: random.Random, count: int) -> Iterator[Crashed]:
    """States at moments spread over the last run, each moment once before any comes twice."""
    for log in logs[:-1]:
        for call in log:
            replay.apply(call)
        replay.next_process()
    moments = [place for place, call in enumerate(logs[-1]) if call.writes and call.returned >= 0]
    times = [count // len(moments)] * len(moments)
    for place in rng.sample(range(len(moments)), count % len(moments)):
        times[place] += 1
    due = dict(zip(moments, times, strict=True))
    for place, call in enumerate(logs[-1]):
        replay.apply(call)
        for _ in range(due.get(place, 0)):
            yield replay.disk.after_power_cut(rng)


def _rebuild(place: Bench, crashed: Crashed) -> None:
    for file in place.files:  # those that are kept stay the very files: the ledger knows them by inode and times
        with contextlib.suppress(FileNotFoundError):
            (place.incoming / file.name).rename(_aside(place) / file.name)
    for folder in (place.incoming, place.state):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in crashed.folders:
        Path(folder).mkdir(exist_ok=True)
    for path, (content, delivered) in crashed.files.items():
        if delivered is None:
            Path(path).write_bytes(content)
        elif (_aside(place) / delivered).exists():
            (_aside(place) / delivered).rename(path)
        else:  # the box has moved or deleted it; it is old, as it was
            Path(path).write_bytes(content)
            os.utime(path, (_OLD_S, _OLD_S))


def _aside(place: Bench) -> Path:
    return place.root / "aside"


def _fingerprint(crashed: Crashed) -> bytes:
    digest = hashlib.sha256(repr(sorted(crashed.folders)).encode())
    for path, (content, delivered) in sorted(crashed.files.items()):
        digest.update(repr((path, len(content), delivered)).encode() + content)
    return digest.digest()
