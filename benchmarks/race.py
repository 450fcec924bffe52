"""Peers side by side: in turn, round by round, and the ratio of each one's time to the baseline's with its interval.

A round asks every peer once, each round from another one on, so that what disturbs the machine for longer than a turn
disturbs all alike. Ratios are taken within rounds: what slows a whole round changes none of them.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.child import CallFailed
from benchmarks.resident import Peer, Resident, Turn

REST_S = 0.1  # threads that a peer left spinning go to sleep before the next turn
LIMIT_S = 1800.0  # torch.compile takes minutes for a large network
FEWEST_ROUNDS = 5  # of an interval: five redraws of fewer say nothing
RESAMPLES = 2000


@dataclass(frozen=True)
class Race:
    """What is compared. peers: the first one is the baseline. cores: that each may use; None: all of the machine's.

    inputs: how many different ones are asked in turn. calls: of a turn, whose median is its figure.
    """

    name: str
    peers: tuple[Peer, ...]
    inputs: int
    calls: int
    cores: int | None = None


@dataclass(frozen=True)
class Ratio:
    """The median over rounds of a peer's time by the baseline's. low, high: its 95 % interval, None of few rounds."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One peer. rounds_s: its time in each round. cpu_s: of its process, in the median round; cores_used: that by
    wall seconds, well below the cores that it has when others take them.

    difference_max, difference_mean: of its answers to the baseline's, None where they are not comparable.
    failure: why there is no more.
    """

    peer: str
    note: str = ""
    failure: str = ""
    open_s: float | None = None
    median_s: float | None = None
    ratio: Ratio | None = None
    cpu_s: float | None = None
    cores_used: float | None = None
    memory_bytes: int | None = None
    difference_max: float | None = None
    difference_mean: float | None = None
    rounds_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """rows: in the order of the race's peers; ratios are to the first one, the baseline."""

    race: str
    cores: int | None
    calls: int
    rows: tuple[Row, ...]

    def row(self, peer: str) -> Row | None:
        return next((row for row in self.rows if row.peer == peer), None)


def run(race: Race, rounds: int, say: Callable[[str], None], *, limit_s: float = LIMIT_S) -> Outcome:
    """A row for every peer; one that cannot be opened, or fails on the way, has the reason in its row."""
    with contextlib.ExitStack() as stack:
        residents, rows = {}, {}
        for peer in race.peers:
            say(f"{race.name}: opening {peer.name}")
            rows[peer.name] = Row(peer.name, peer.note)
            try:
                one = Resident(peer, inputs=race.inputs, cores=race.cores, limit_s=limit_s)
                residents[peer.name] = stack.enter_context(one)
            except CallFailed as fault:
                rows[peer.name] = replace(rows[peer.name], failure=str(fault))
        turns = _take_turns(race, residents, rows, rounds, say)
        for name, resident in residents.items():
            rows[name] = _measured(rows[name], resident, turns[name])
    return _compared(race, rows, residents)


def _take_turns(
    race: Race, residents: dict[str, Resident], rows: dict[str, Row], rounds: int, say: Callable[[str], None]
) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {name: [] for name in residents}
    names = list(residents)
    for number in range(rounds):
        say(f"{race.name}: round {number + 1} of {rounds}")
        start = number % max(1, len(names))
        for name in (*names[start:], *names[:start]):
            if rows[name].failure:
                continue
            time.sleep(REST_S)
            try:
                turns[name].append(residents[name].turn(number * race.calls, race.calls))
            except CallFailed as fault:
                rows[name] = replace(rows[name], failure=f"in round {number + 1}: {fault}")
    return turns


def _measured(row: Row, resident: Resident, turns: Sequence[Turn]) -> Row:
    if row.failure:
        return row
    spent_s = tuple(turn.wall_s for turn in turns)
    used = [turn.cpu_s / turn.wall_s for turn in turns if turn.wall_s > 0]
    return replace(
        row,
        open_s=resident.open_s,
        rounds_s=spent_s,
        median_s=statistics.median(spent_s) if spent_s else None,
        cpu_s=statistics.median(turn.cpu_s for turn in turns) if turns else None,
        cores_used=statistics.median(used) if used else None,
        memory_bytes=resident.memory_bytes(),
    )


def _compared(race: Race, rows: dict[str, Row], residents: dict[str, Resident]) -> Outcome:
    first = race.peers[0].name
    ours = rows[first].rounds_s
    for peer in race.peers:
        row = rows[peer.name]
        if not (ours and row.rounds_s):
            continue
        row = replace(row, ratio=ratio_of(row.rounds_s, ours))
        if peer.comparable:
            row = _with_difference(row, residents[peer.name].answers, residents[first].answers)
        rows[peer.name] = row
    return Outcome(race.name, race.cores, race.calls, tuple(rows[peer.name] for peer in race.peers))


def _with_difference(row: Row, theirs: Sequence[NDArray[np.number]], ours: Sequence[NDArray[np.number]]) -> Row:
    if any(one.shape != other.shape for one, other in zip(theirs, ours, strict=True)):
        return replace(row, note=f"{row.note}; answers {theirs[0].shape}, the baseline {ours[0].shape}".lstrip("; "))
    apart = [np.abs(one.astype(np.float64) - other) for one, other in zip(theirs, ours, strict=True)]
    if not all(one.size for one in apart):
        return row
    return replace(
        row,
        difference_max=float(max(one.max() for one in apart)),
        difference_mean=float(np.mean([one.mean() for one in apart])),
    )


def ratio_of(theirs_s: Sequence[float], ours_s: Sequence[float]) -> Ratio:
    """theirs_s, ours_s: of the same rounds, in order. The interval is a bootstrap over rounds, the same each time."""
    ratios = np.array(theirs_s) / np.array(ours_s)
    if len(ratios) < FEWEST_ROUNDS:
        return Ratio(float(np.median(ratios)))
    redraws = np.random.default_rng(0).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[redraws], axis=1), (2.5, 97.5))
    return Ratio(float(np.median(ratios)), float(low), float(high))
