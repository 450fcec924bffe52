"""Killed at random while radiographs keep arriving in every way."""

from benchmarks.durability.load import Load, kill_under_load


def test_random_kills_under_load() -> None:
    tally = kill_under_load(Load(10, longest_s=0.6))
    assert tally.found.lines == []
    assert tally.did["kills"] == 10
    assert tally.did["files"] > 10
