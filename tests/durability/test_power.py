"""After a power cut at any moment the box starts, and nothing is lost, twice or half."""

from pathlib import Path

import pytest

from benchmarks.durability import strace
from benchmarks.durability.bench import bench
from benchmarks.durability.power import Outage, disk_before, prove_power
from benchmarks.durability.radiographs import small_set
from benchmarks.durability.replay import Replay

pytestmark = pytest.mark.usefixtures("strace_here")


def test_a_power_cut_at_any_moment() -> None:
    tally = prove_power([Outage("archive", 1, 40), Outage("delete", 2, 25), Outage("keep", 3, 25)])
    assert tally.found.lines == []
    assert tally.did["states"] >= 60


def test_a_power_cut_after_a_run_that_was_killed() -> None:
    """What the killed run had not synced is for the next one to sync."""
    firsts = ("fsync:1", "fsync:3", "fsync:4", "fsync:6", "fdatasync:6", "rename:1", "link:1")
    tally = prove_power([Outage("delete", seed, 12, first) for seed, first in enumerate(firsts)])
    assert tally.found.lines == []
    assert tally.did["states"] >= 30


@pytest.mark.parametrize("after", ["archive", "delete", "keep"])
def test_the_replayed_disk_is_the_real_one(after: str) -> None:
    """With nothing cut off, the record of a run makes the very files that the run made."""
    with bench(small_set()) as place:
        place.fresh()
        disk, log = disk_before(place), place.root / "record"
        assert place.run_recorded(log, after=after).exit_code == 0
        replay = Replay(disk)
        assert sum(replay.apply(call) for call in strace.calls(log)) > 100
        replayed = {path: content for path, content in disk.seen().items() if not Path(path).is_relative_to(log)}
        real = {str(path): path.read_bytes() for folder in (place.incoming, place.state)
                for path in folder.rglob("*") if path.is_file()}  # fmt: skip
    assert replayed == real
