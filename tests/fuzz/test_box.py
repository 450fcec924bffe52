"""Hundreds of spoiled files and traps through the real daemon: one result each and no name anywhere."""

from pathlib import Path

import pytest

from benchmarks.fuzz.box import BoxCampaign, memory_growth, run_box
from benchmarks.fuzz.catch import catch_box
from benchmarks.fuzz.mutants import BOXES

FILES = 300


def test_no_file_and_no_name_harms_the_daemon(folder: Path, bundle: str) -> None:
    first = run_box(BoxCampaign(folder, FILES // 3, bundle, wave_files=FILES // 3, race_s=0.3))
    seen = run_box(BoxCampaign(folder, FILES, bundle, wave_files=FILES // 3, race_s=0.3))  # goes on where that ended
    assert (first.waves, seen.waves, seen.found) == (1, 3, [])
    assert memory_growth(seen.memory) is not None
    assert seen.owed > 0.95 * FILES
    assert sum(seen.outcomes.values()) == seen.owed
    assert {"scored", "unreadable", "truncated", "conflict"} <= seen.outcomes.keys()
    assert seen.asked > 3


@pytest.mark.parametrize(("name", "kind"), BOXES.items())
def test_broken_daemons_are_caught(folder: Path, bundle: str, name: str, kind: str) -> None:
    assert kind in catch_box(name, folder, bundle)


def test_growth_is_that_after_the_warm_up() -> None:
    memory = [(100 * wave, 10_000_000 if wave < 3 else 50_000_000 + 1000 * wave) for wave in range(10)]
    assert memory_growth(memory) == {"per_10000": 100_000, "grown": 6000, "files": 600}
    assert memory_growth(memory[:1]) is None
