"""The soak in small: its own counting is right, and every radiograph has one end."""

from pathlib import Path

import pytest

from benchmarks.durability.soak import Sample, _trends, fill_ledger, soak
from edge.ledger_reader import LedgerReader


@pytest.mark.parametrize("after", ["archive", "keep"])
def test_each_radiograph_has_one_end(after: str) -> None:
    answer = soak(120, after=after)
    assert answer["wrong"] == []
    assert (answer["lost"], answer["duplicated"], answer["partial"]) == (0, 0, 0)


def test_a_slope_is_that_of_the_samples_after_the_warm_up() -> None:
    samples = [Sample(done, 10_000_000 if done < 200 else 20_000_000 + 50 * done, 9) for done in range(0, 1000, 10)]
    trends = _trends(samples, 1000)
    assert trends["memory_slope_bytes_per_10000"] == 500_000
    assert trends["descriptors_grown"] == 0


def test_a_made_ledger_is_one_that_opens(tmp_path: Path) -> None:
    fill_ledger(tmp_path / "state", 10)
    with LedgerReader(tmp_path / "state" / "ledger.sqlite") as reader:
        assert reader._one("SELECT count(*) FROM cases") == (10,)
        assert reader._one("SELECT count(*) FROM sightings") == (10,)
