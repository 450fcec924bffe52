"""Thousands of spoiled files through real decode workers do no harm, and broken workers are noticed."""

from pathlib import Path

import pytest

from benchmarks.fuzz.catch import catch_worker
from benchmarks.fuzz.lane import DECODED
from benchmarks.fuzz.mutants import WORKERS
from benchmarks.fuzz.tally import Tally, Violation
from benchmarks.fuzz.workers import CHUNK_FILES, Campaign, run_workers

FILES = 20_000


def test_no_file_harms_a_worker(tmp_path: Path) -> None:
    tally = run_workers(Campaign(FILES, seed=6, kept=tmp_path)).tally
    assert tally.violations == []
    assert tally.files == FILES
    assert tally.compared == FILES // CHUNK_FILES
    # A campaign whose files all end early, or all decode, tries nothing.
    assert 0.1 * FILES < tally.outcomes[DECODED] < 0.5 * FILES
    assert len(tally.outcomes) >= 8
    assert sum(tally.died.values()) < 0.002 * FILES


@pytest.mark.parametrize(("name", "kind"), WORKERS.items())
def test_broken_workers_are_caught(name: str, kind: str) -> None:
    assert kind in catch_worker(name)


def test_what_was_broken_off_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    part = run_workers(Campaign(CHUNK_FILES, lanes=1), state=state)
    again = run_workers(Campaign(2 * CHUNK_FILES, lanes=1), state=state)
    assert (part.done, again.done) == ({0}, {0, CHUNK_FILES})
    assert again.tally.files == 2 * CHUNK_FILES
    assert again.spent_s > part.spent_s
    with pytest.raises(ValueError, match="another corpus or seed"):
        run_workers(Campaign(CHUNK_FILES, seed=2), state=state)


def test_tallies_add_up_and_come_back() -> None:
    one, two = Tally(), Tally()
    one.note(1, "decoded", wall_s=0.5, cpu_s=0.25, peak_bytes=10)
    two.note(2, "bomb", wall_s=1.5, cpu_s=12.0, peak_bytes=20)
    two.violations.append(Violation("cpu", 2, "seed", ("flip_bits",), "12 s"))
    one += two
    assert Tally.of_json(one.as_json()) == one
    assert one.slowest == [(1.5, 2), (0.5, 1)]
    one.note(3, "decoded", wall_s=0.1, cpu_s=0.1, peak_bytes=20)
    assert one.largest == [(20, 2), (10, 1)]
    assert one.cpu_up_to_s == {"0.1": 1, "0.3": 1, "more": 1}
