"""A disk that is full or fails at any call: one clear line or work that goes on, and nothing lost afterwards.

A failed fsync may have dropped what it was to keep: no later fsync of the same file may count as success.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.durability.bench import LOGGED, Bench, Point, bench
from benchmarks.durability.crew import Tally, work_off
from benchmarks.durability.invariant import check
from benchmarks.durability.radiographs import small_set

_WRITES = ("write", "pwrite64", "mkdir", "openat", "rename", "link", "ftruncate")
ERRORS = {"ENOSPC": _WRITES, "EIO": (*_WRITES, "fsync", "fdatasync", "unlink")}
_SYNCED = re.compile(r"^(\d+\.\d+) f(?:data)?sync\(\d+<(.*)>\) += (-?\d+)(.*)$")


@dataclass(frozen=True)
class Fault:
    """onwards: every such call of the thread from this one on, as on a disk that stays full."""

    point: Point
    error: str
    after: str
    onwards: bool = False


def every_fault(after: str) -> list[Fault]:
    with bench(small_set()) as place:
        points = place.points(after=after)
    return [
        Fault(point, error, after, onwards)
        for error, calls in ERRORS.items()
        for point in points
        if point.call in calls
        for onwards in ((False, True) if error == "ENOSPC" and point.call == "pwrite64" else (False,))
    ]


def sample(faults: Sequence[Fault], count: int, *, seed: int) -> list[Fault]:
    """One of every error at every call of every thread, and others by chance."""
    shuffled = random.Random(seed).sample(faults, len(faults))
    first = {(fault.error, fault.point.thread, fault.point.call): fault for fault in reversed(shuffled)}
    rest = [fault for fault in shuffled if fault not in first.values()]
    return [*first.values(), *rest[: max(0, count - len(first))]]


def do_fault(place: Bench, fault: Fault) -> Tally:
    """One failing call, and the start after it."""
    tally = Tally()
    tally.did["faults"] += 1
    what = f"{fault.error} at {fault.point}, {fault.after}"
    place.fresh()
    point = fault.point
    broken = place.run_failing(point, fault.error, after=fault.after, onwards=fault.onwards)
    tally.did["stopped" if broken.exit_code else "went_on"] += 1
    if not broken.told_clearly:
        tally.found.note(
            "partial", f"{what}: ended with {broken.exit_code} and no one clear line: {broken.log[-1500:]}"
        )
    if broken.log_lines_lost:
        tally.noted["a line of the log could not be written"] += 1
    if point.call in LOGGED:
        _look_at_syncs(place, tally, what, stopped=broken.exit_code != 0)
    again = place.run(after=fault.after)
    if again.exit_code != 0:
        tally.found.note("lost", f"{what}: the next start ended with {again.exit_code}: {again.log[-1500:]}")
    found = check(place.incoming, place.state, place.files, after=fault.after)
    found.lines = [f"{what}: {line}" for line in found.lines]
    tally.found += found
    return tally


def prove_faults(faults: Sequence[Fault], *, title: str = "") -> Tally:
    return work_off(faults, do_fault, small_set(), title=title)


def _look_at_syncs(place: Bench, tally: Tally, what: str, *, stopped: bool) -> None:
    """Was a file whose fsync failed synced again, with success, by any thread?"""
    syncs = []
    for log in place.traces():
        syncs += [match.groups() for line in log.read_text().splitlines() if (match := _SYNCED.match(line))]
    syncs.sort()
    for place_in_time, (_, path, _, rest) in enumerate(syncs):
        if "(INJECTED)" not in rest:
            continue
        tally.did["fsyncs_failed"] += 1
        name = _without_case(path.removeprefix(str(place.root)))
        if not stopped:
            tally.noted[f"went on after a failed fsync of {name}"] += 1
        if any(later == path and returned == "0" for _, later, returned, _ in syncs[place_in_time + 1 :]):
            tally.did["fsyncs_retried"] += 1
            tally.noted[f"a failed fsync of {name} was followed by one that succeeded"] += 1


def _without_case(path: str) -> str:
    return re.sub(r"[0-9a-f]{12,}", "*", path)
