"""Killed before any call that writes, the box loses nothing, makes nothing twice and shows nothing half."""

from collections.abc import Sequence

import pytest

from benchmarks.durability.kills import Kill, every_kill, prove_kills, sample
from benchmarks.durability.radiographs import small_set

pytestmark = pytest.mark.usefixtures("strace_here")
SEED = 20


@pytest.fixture(scope="module")
def kills(strace_here: None) -> dict[str, Sequence[Kill]]:
    return {after: every_kill(after, small_set()) for after in ("archive", "delete", "keep")}


@pytest.mark.parametrize(("after", "count"), [("archive", 45), ("delete", 30), ("keep", 30)])
def test_a_kill_at_any_call_that_writes(kills: dict[str, Sequence[Kill]], after: str, count: int) -> None:
    chosen = sample(kills[after], count, seed=SEED)
    tally = prove_kills(chosen)
    assert tally.found.lines == []
    assert tally.did["points"] >= 0.9 * len(chosen)  # now and then a run makes a call less
    assert tally.did["results_read_at_once"] > len(chosen)


def test_the_points_are_those_of_every_kind_and_thread(kills: dict[str, Sequence[Kill]]) -> None:
    for after, every in kills.items():
        assert {(kill.point.thread, kill.point.call) for kill in sample(every, 1, seed=SEED)} == {
            (kill.point.thread, kill.point.call) for kill in every
        }
        calls = {kill.point.call for kill in every}
        assert {"write", "pwrite64", "openat", "fsync", "fdatasync", "rename", "mkdir", "unlink"} <= calls, after
        assert {kill.point.thread for kill in every} >= {"main", "write"}
        assert len(every) > 100
