"""Kill the box before every system call that writes, start it again, and look."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.durability.bench import Bench, Point, bench
from benchmarks.durability.crew import Tally, work_off
from benchmarks.durability.forks import KILLED
from benchmarks.durability.invariant import check, check_at_once
from benchmarks.durability.radiographs import Sent, small_set


@dataclass(frozen=True)
class Kill:
    point: Point
    after: str
    mutant: str | None = None


def every_kill(after: str, files: Sequence[Sent], *, mutant: str | None = None) -> list[Kill]:
    with bench(files) as place:
        return [Kill(point, after, mutant) for point in place.points(after=after)]


def sample(kills: Sequence[Kill], count: int, *, seed: int) -> list[Kill]:
    """One of every call of every thread, and others by chance."""
    shuffled = random.Random(seed).sample(kills, len(kills))
    first = {(kill.after, kill.point.thread, kill.point.call): kill for kill in reversed(shuffled)}
    rest = [kill for kill in shuffled if kill not in first.values()]
    return [*first.values(), *rest[: max(0, count - len(first))]]


def do_kill(place: Bench, kill: Kill) -> Tally:
    """One kill and the start after it."""
    tally = Tally()
    place.fresh()
    outcome = place.run_broken(kill.point, "signal=SIGKILL", after=kill.after, mutant=kill.mutant)
    tally.did["points" if outcome.exit_code == KILLED else "not_reached"] += 1
    tally.found += check_at_once(place.incoming, place.state, place.files, after=kill.after)
    again = place.run(after=kill.after, mutant=kill.mutant)
    if again.exit_code != 0:
        tally.found.note("lost", f"killed at {kill.point}: the next start ended with {again.exit_code}: {again.log}")
    found = check(place.incoming, place.state, place.files, after=kill.after)
    found.lines = [f"killed at {kill.point}, {kill.after}: {line}" for line in found.lines]
    tally.found += found
    return tally


def prove_kills(kills: Sequence[Kill], *, title: str = "") -> Tally:
    return work_off(kills, do_kill, small_set(), title=title, read=True)


def catch(mutant: str, *, limit: int = 400) -> Tally:
    """Kills of a broken box until one is noticed."""
    kills = _last_calls_first(every_kill("archive", small_set(), mutant=mutant))
    return work_off(kills[:limit], do_kill, small_set(), enough=lambda tally: bool(tally.found))


def _last_calls_first(kills: Sequence[Kill]) -> list[Kill]:
    """Renames and syncs of the writing thread are where an order shows."""
    telling = ("rename", "fsync", "fdatasync", "unlink")
    return sorted(kills, key=lambda kill: (kill.point.thread != "write", kill.point.call not in telling, kill.point.n))
