"""Boxes broken on purpose are caught, each by the proof named for it: a proof that cannot fail proves nothing."""

import pytest

from benchmarks.durability import kills, power
from benchmarks.durability.in_place import read_beside
from benchmarks.durability.mutants import CAUGHT_BY

pytestmark = pytest.mark.usefixtures("strace_here")


@pytest.mark.parametrize("mutant", [mutant for mutant, by in CAUGHT_BY.items() if by == "power"])
def test_power_cuts_catch(mutant: str) -> None:
    found = power.catch(mutant).found
    assert found.lost + found.partial > 0


@pytest.mark.parametrize("mutant", [mutant for mutant, by in CAUGHT_BY.items() if by == "kills"])
def test_kills_catch(mutant: str) -> None:
    assert kills.catch(mutant).found.lost > 0


def test_a_reader_catches_results_that_are_written_in_place() -> None:
    assert read_beside(3000, mutant="result-written-in-place").found.partial > 0


def test_a_reader_meets_no_half_result_otherwise() -> None:
    tally = read_beside(100)
    assert tally.found.lines == []
    assert tally.did["results_read_at_once"] > 0
