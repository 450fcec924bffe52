"""What the ledger holds, counted on from the last look; always what counting it all would give."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports import BUNDLE, refused, scored, sha

from edge.ledger_counts import LedgerCounts
from edge.ledger_reader import LedgerReader
from edge.outputs.report_json import encode
from edge.store import Ledger
from edge.upkeep import Upkeep
from edge.values import Report

KEY = bytes(range(32))
OTHER = "c" * 64


class Box:
    """A ledger that is written, and counted for the bundle BUNDLE."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.sqlite"
        self.ledger = Ledger(self.path, site_key=KEY)
        self.reader = LedgerReader(self.path)
        self.counts = self.counted_anew()

    def counted_anew(self) -> LedgerCounts:
        return LedgerCounts(self.path, self.reader, BUNDLE)

    def record(self, report: Report, bundle_id: str = BUNDLE) -> None:
        report = replace(report, bundle_id=bundle_id)
        self.ledger.record(report, encode(report), None)

    def looked(self) -> tuple[int, int]:
        seen = self.counts.look()
        return seen.cases, seen.of_others

    def close(self) -> None:
        self.reader.close()
        self.ledger.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.close()


def test_results_of_every_kind_are_counted(box: Box) -> None:
    assert box.looked() == (0, 0)
    box.record(scored(1))
    box.record(refused(2))
    assert box.looked() == (2, 0)
    assert box.counts.seen.size_bytes >= box.path.stat().st_size > 0


def test_cases_that_only_another_bundle_scored_are_those_no_search_finds(box: Box) -> None:
    box.record(scored(1), OTHER)
    box.record(refused(2), OTHER)  # no score, nothing to find
    assert box.looked() == (2, 1)
    box.record(scored(3), OTHER)  # as after a restore
    box.record(scored(3), "d" * 64)  # judged twice, and one case
    assert box.looked() == (4, 2)
    box.record(scored(1))  # embedded again
    assert box.looked() == (5, 1)


def test_what_is_asked_for_again_or_forgotten_is_counted_as_it_is(box: Box) -> None:
    for number in range(3):
        box.record(scored(number))
    box.record(scored(3), OTHER)
    assert box.looked() == (4, 1)
    with Upkeep(box.path, site_key=KEY) as upkeep:
        upkeep.ask_again([sha(1)])
    box.record(scored(1))  # gives way to this one, under another number
    box.record(scored(7))
    assert box.looked() == (5, 1)
    with Upkeep(box.path, site_key=KEY) as upkeep:
        found = upkeep.mentions(sha(3)[:16])
        upkeep.forget(found, lambda report: report, lambda document: None)
    assert box.looked() == (4, 0)


def test_a_ledger_that_cannot_be_read_is_told_as_it_was(box: Box) -> None:
    box.record(scored(1))
    assert box.looked() == (1, 0)
    box.reader.close()
    assert box.looked() == (1, 0)


def test_a_large_ledger_is_looked_through_a_few_at_a_time(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        box.record(scored(number), OTHER)
    monkeypatch.setattr("edge.ledger_counts._SLICE", 4)
    monkeypatch.setattr("edge.ledger_counts._MOST_S", -1.0)  # time for one slice
    assert [box.looked() for _ in range(4)] == [(10, 4), (10, 8), (10, 10), (10, 10)]
    box.record(scored(0))
    assert [box.looked() for _ in range(4)] == [(11, 10), (11, 10), (11, 9), (11, 9)]


STEPS = st.lists(st.tuples(st.sampled_from(["own", "other", "again", "look"]), st.integers(0, 4)), max_size=10)


@given(STEPS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counting_on_gives_what_counting_anew_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    box = Box(tmp_path_factory.mktemp("counts"))
    try:
        for step, number in steps:
            if step == "look":
                box.counts.look()
            elif step == "again":
                with Upkeep(box.path, site_key=KEY) as upkeep:
                    upkeep.ask_again([sha(number)])
            else:
                box.record(scored(number), BUNDLE if step == "own" else OTHER)
        box.counts.look()
        assert box.counts.look() == box.counted_anew().look()
    finally:
        box.close()


def test_the_newest_case_is_told_whether_scored_or_not(box: Box) -> None:
    assert (box.reader.newest_s(), box.reader.newest_s(scored=True)) == (0.0, 0.0)
    box.record(scored(1))
    scored_s = box.reader.newest_s()
    box.record(refused(2))
    assert box.reader.newest_s() > scored_s == box.reader.newest_s(scored=True) > 1.7e9
