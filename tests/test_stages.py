"""Single stages, where the order of two radiographs decides and timing must not: Take and Write on their own."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from reports import BUNDLE, gated, scored, sha, sighting_of, source
from tiny_bundle import write_tiny_bundle

from edge.bundle import read_bundle
from edge.inbox import Inbox
from edge.metrics import Metrics
from edge.outputs.report_json import encode
from edge.pipeline import Pipeline
from edge.similarity import SimilarCases
from edge.snapshot import snapshot
from edge.stages import Take, Taken, Write
from edge.store import Ledger
from edge.values import FinishedCase, Report, Sighting


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    bundle = replace(read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")), id=BUNDLE)
    nobody: Any = None  # nothing is decoded here
    return Pipeline(bundle, FakeEngine(), nobody, SimilarCases.of_bundle(bundle))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", site_key=bytes(32)) as opened:
        yield opened


def seen(tmp_path: Path, name: str) -> Sighting:
    (tmp_path / name).write_bytes(name.encode())
    return sighting_of(tmp_path / name)


def writing(
    pipeline: Pipeline,
    ledger: Ledger,
    folder: Path,
    *,
    finished: Callable[[Report], None] = lambda report: None,
    put_away: Callable[[], None] = lambda: None,
    in_flight: set[str] | None = None,
) -> Write:
    return Write(
        pipeline,
        ledger,
        folder / "results",
        lambda sighting, case: put_away(),
        Metrics(),
        lambda sighting, report: finished(report),
        in_flight=set() if in_flight is None else in_flight,
    )


@pytest.mark.parametrize(("pixels", "reason"), [("one", "duplicate"), ("two", "conflict")])
def test_twins_that_were_scored_side_by_side_still_give_one_score(
    pipeline: Pipeline, ledger: Ledger, tmp_path: Path, pixels: str, reason: str
) -> None:
    """Score saw neither in the ledger; Write is the last to look, and keeps the second out of the index too."""
    finished: list[Report] = []
    write = writing(pipeline, ledger, tmp_path, finished=finished.append)
    for number, shown in ((1, "one"), (2, pixels)):
        report = scored(number, instance="i", pixels=shown)
        write(Taken(seen(tmp_path, f"{number}.dcm"), 0.0, report=report))
    assert [report.reason for report in finished] == [None, reason]
    written = [json.loads(path.read_bytes()) for path in sorted((tmp_path / "results").iterdir())]
    assert sorted(result["score"] is None for result in written) == [False, True]
    assert [case.case_id for case in ledger.earlier_cases(BUNDLE)] == [finished[0].case_id]


@pytest.mark.parametrize(("pixels", "reason"), [("one", "duplicate"), ("two", "conflict")])
def test_twins_that_a_gate_refused_side_by_side_are_known_as_twins(
    pipeline: Pipeline, ledger: Ledger, tmp_path: Path, pixels: str, reason: str
) -> None:
    finished: list[Report] = []
    write = writing(pipeline, ledger, tmp_path, finished=finished.append)
    for number, shown in ((1, "one"), (2, pixels)):
        report = replace(gated(number), source=source(number, instance="i", pixels=shown))
        write(Taken(seen(tmp_path, f"{number}.dcm"), 0.0, report=report))
    assert [report.reason for report in finished] == ["no_lungs", reason]


def test_a_digest_leaves_flight_only_after_its_input_is_put_away(
    pipeline: Pipeline, ledger: Ledger, tmp_path: Path
) -> None:
    """Otherwise a copy that arrives in between would be put away at the same time by another thread."""
    in_flight = {sha(1)}
    seen_in_flight: list[bool] = []

    def look() -> None:
        seen_in_flight.append(sha(1) in in_flight)

    write = writing(pipeline, ledger, tmp_path, put_away=look, in_flight=in_flight)
    write(Taken(seen(tmp_path, "1.dcm"), 0.0, report=scored(1)))
    assert seen_in_flight == [True]
    assert in_flight == set()


def test_bytes_in_flight_wait_even_when_the_ledger_has_just_got_them(
    pipeline: Pipeline, ledger: Ledger, tmp_path: Path
) -> None:
    """Write records first and takes the digest out of flight afterwards; in between nobody else may touch the copy."""
    copy = seen(tmp_path, "copy.dcm")
    with snapshot(copy.path) as frozen:
        digest = frozen.sha256
    report = replace(scored(1), sha256=digest)
    ledger.record(report, encode(report), None)
    put_away: list[FinishedCase] = []
    in_flight = {digest}
    (tmp_path / "incoming").mkdir()
    inbox = Inbox(tmp_path / "incoming", lambda _: False)
    take = Take(
        pipeline,
        ledger,
        inbox,
        lambda sighting, case: put_away.append(case),
        logging.Logger("quiet"),
        in_flight=in_flight,
        unfinished_after_s=60,
    )
    assert take(copy) is None
    assert put_away == []
    assert inbox.was_deferred(copy)
    in_flight.clear()
    assert take(copy) is None
    assert [case.case_id for case in put_away] == [digest[:16]]
