"""Single stages, where the order of two radiographs decides and timing must not: Take, Decode, Write on their own."""

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from reports import BUNDLE, gated, scored, sha, sighting_of, source
from single_stages import decoding, pipeline_in, seen, taking, writing

from edge.config import Config
from edge.errors import Truncated, Unreadable
from edge.in_flight import InFlight
from edge.inbox import Inbox
from edge.log import FIELDS, RADIOGRAPH, make_logger
from edge.metrics import Metrics
from edge.outputs.report_json import encode
from edge.pipeline import Pipeline
from edge.put_away import PutAway
from edge.put_off import Cause
from edge.snapshot import snapshot
from edge.stages import Taken
from edge.state import StateFolder, open_state
from edge.store import Ledger
from edge.values import FinishedCase, Report, Sighting


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return pipeline_in(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


@pytest.fixture
def ledger(state: StateFolder) -> Iterator[Ledger]:
    with Ledger(state.ledger, site_key=state.site_key) as opened:
        yield opened


@pytest.mark.parametrize(("pixels", "reason"), [("one", "duplicate"), ("two", "conflict")])
def test_twins_that_were_scored_side_by_side_still_give_one_score(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path, pixels: str, reason: str
) -> None:
    """Score saw neither in the ledger; Write is the last to look, and keeps the second out of the index too."""
    finished: list[Report] = []
    write = writing(pipeline, ledger, state, finished=finished.append)
    for number, shown in ((1, "one"), (2, pixels)):
        report = scored(number, instance="i", pixels=shown)
        write(Taken(seen(tmp_path, f"{number}.dcm"), 0.0, report=report))
    assert [report.reason for report in finished] == [None, reason]
    written = [json.loads(path.read_bytes()) for path in sorted(state.results(BUNDLE).iterdir())]
    assert sorted(result["score"] is None for result in written) == [False, True]
    assert [case.case_id for case in ledger.earlier_cases(BUNDLE)] == [finished[0].case_id]


@pytest.mark.parametrize(("pixels", "reason"), [("one", "duplicate"), ("two", "conflict")])
def test_twins_that_a_gate_refused_side_by_side_are_known_as_twins(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path, pixels: str, reason: str
) -> None:
    finished: list[Report] = []
    write = writing(pipeline, ledger, state, finished=finished.append)
    for number, shown in ((1, "one"), (2, pixels)):
        report = replace(gated(number), source=source(number, instance="i", pixels=shown))
        write(Taken(seen(tmp_path, f"{number}.dcm"), 0.0, report=report))
    assert [report.reason for report in finished] == ["no_lungs", reason]


def test_a_digest_leaves_flight_only_after_its_input_is_put_away(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    """Otherwise a copy that arrives in between would be put away at the same time by another thread."""
    in_flight = InFlight()
    in_flight.add(sha(1))
    seen_in_flight: list[bool] = []

    def look(case: FinishedCase) -> None:
        seen_in_flight.append(sha(1) in in_flight)

    write = writing(pipeline, ledger, state, put_away=look, in_flight=in_flight)
    write(Taken(seen(tmp_path, "1.dcm"), 0.0, report=scored(1)))
    assert seen_in_flight == [True]
    assert len(in_flight) == 0


def test_bytes_in_flight_wait_even_when_the_ledger_has_just_got_them(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    """Write records first and takes the digest out of flight afterwards; in between nobody else may touch the copy."""
    copy = seen(tmp_path, "copy.dcm")
    with snapshot(copy.path) as frozen:
        digest = frozen.sha256
    report = replace(scored(1), sha256=digest)
    ledger.record(report, encode(report), None)
    put_away: list[FinishedCase] = []
    in_flight = InFlight()
    in_flight.add(digest)
    inbox = Inbox(tmp_path, lambda _: False)
    take = taking(ledger, state, inbox, put_away=put_away.append, in_flight=in_flight)
    assert take(copy) is None
    assert put_away == []
    assert not inbox.was_deferred(copy)  # it has not had its time to grow
    in_flight.discard(digest)
    assert take(copy) is None
    assert [case.case_id for case in put_away] == [digest[:16]]


class Recalled(Inbox):
    """Remembers what was taken back."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, lambda _: False)
        self.recalled: list[tuple[Sighting, float]] = []

    def look_again(self, sighting: Sighting, *, after_s: float, cause: Cause = Cause.UNFINISHED) -> None:
        self.recalled.append((sighting, after_s))
        super().look_again(sighting, after_s=after_s, cause=cause)


def test_a_file_that_changed_since_it_was_seen_is_looked_at_again(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    """What was read may be half of before and half of after."""
    (tmp_path / "incoming").mkdir()
    before = seen(tmp_path / "incoming", "a.dcm")
    inbox = Recalled(tmp_path / "incoming")
    before.path.write_bytes(b"written anew")
    assert taking(ledger, state, inbox)(before) is None
    assert inbox.recalled == [(before, 0)]


class Says:
    """A decoder that answers with an error."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def decode(self, frozen: object) -> None:
        raise self._fault


def test_a_program_that_is_missing_is_no_missing_file(
    ledger: Ledger, state: StateFolder, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = pipeline_in(tmp_path_factory.mktemp("bundle"), Says(FileNotFoundError("the interpreter")))
    taken = taking(ledger, state, Inbox(tmp_path, lambda _: False))(seen(tmp_path, "a.dcm"))
    assert taken is not None
    with pytest.raises(FileNotFoundError, match="interpreter"):
        decoding(pipeline)(taken)


@pytest.mark.parametrize("may_grow", [True, False])
def test_what_may_be_unfinished_is_looked_at_again_and_leaves_flight(
    ledger: Ledger, state: StateFolder, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, may_grow: bool
) -> None:
    pipeline = pipeline_in(tmp_path_factory.mktemp("bundle"), Says(Truncated("send it again")))
    in_flight = InFlight()
    recalled: list[Sighting] = []
    sighting = seen(tmp_path, "a.dcm")
    taken = taking(ledger, state, Inbox(tmp_path, lambda _: False), in_flight=in_flight)(sighting)
    assert taken is not None
    assert taken.may_grow
    assert len(in_flight) == 1
    decode = decoding(pipeline, look_again=recalled.append, in_flight=in_flight)
    refused = decode(replace(taken, may_grow=may_grow))
    assert recalled == ([sighting] if may_grow else [])
    if may_grow:
        assert refused is None
        assert len(in_flight) == 0
    else:
        assert refused is not None
        assert refused.report is not None
        assert refused.report.reason == "truncated"
        assert len(in_flight) == 1


@pytest.mark.parametrize("fault", [None, Unreadable("no"), Truncated("not yet"), OSError("the decoder is gone")])
def test_the_bytes_are_given_back_whatever_comes_of_them(
    ledger: Ledger, state: StateFolder, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, fault: Exception
) -> None:
    decoder = Says(fault) if fault else SimpleNamespace(decode=lambda frozen: None)
    pipeline = pipeline_in(tmp_path_factory.mktemp("bundle"), decoder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    taken = taking(ledger, state, Inbox(tmp_path, lambda _: False))(seen(tmp_path, "a.dcm"))
    assert taken is not None
    with contextlib.suppress(OSError):
        decoding(pipeline)(taken)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def linked(tmp_path: Path) -> tuple[Sighting, Recalled]:
    """A file of the incoming folder that has another name outside."""
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    sighting = seen(incoming, "a.dcm")
    (tmp_path / "other name").hardlink_to(sighting.path)
    return sighting, Recalled(incoming)


def test_a_file_with_two_names_is_looked_at_again_soon_and_told_of_later(
    ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    """To link a file into the folder and then remove its first name is a way to deliver it."""
    sighting, inbox = linked(tmp_path)
    take = taking(ledger, state, inbox)
    assert take(sighting) is None
    assert take.unopened == 0
    ((_, soon_s),) = inbox.recalled
    assert inbox.unopenable == 0
    assert take(sighting) is None
    assert take.unopened == 1
    assert inbox.recalled[1][1] > 10 * soon_s
    assert inbox.was_deferred(sighting)
    assert inbox.unopenable == 1
    (tmp_path / "other name").unlink()
    taken = take(sighting)
    assert taken is not None
    taken.close()


def test_an_unfinished_file_that_had_two_names_still_has_its_time(
    ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    """Linked into the folder, written in, and its first name removed: the wait for that is not the writer's."""
    sighting, inbox = linked(tmp_path)
    take = taking(ledger, state, inbox)
    assert take(sighting) is None
    (tmp_path / "other name").unlink()
    taken = take(sighting)
    assert taken is not None
    assert taken.may_grow
    taken.close()


def test_of_thousands_of_files_with_two_names_few_are_told_and_all_are_counted(
    ledger: Ledger, state: StateFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    sightings = [seen(incoming, "0")]
    for number in range(1, 200):
        (incoming / f"{number}").hardlink_to(incoming / "0")
        sightings.append(sighting_of(incoming / f"{number}"))
    inbox = Inbox(incoming, lambda _: False)
    take = taking(ledger, state, inbox, logger=make_logger(terminal=False))
    for _ in range(3):
        for sighting in sightings:
            assert take(sighting) is None
    inbox._take_back()
    assert inbox.unopenable == 200
    assert len(capsys.readouterr().err.splitlines()) == 20


def test_no_more_bytes_are_held_than_allowed_and_a_stop_waits_for_none(
    ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    sightings = []
    for name in "abc":
        (incoming / name).write_bytes(name.encode() * 60)
        sightings.append(sighting_of(incoming / name))
    over = threading.Event()
    take = taking(ledger, state, Inbox(incoming, lambda _: False), is_over=over.is_set, held_bytes=100)
    first = take(sightings[0])
    assert first is not None
    decoded = threading.Timer(0.1, first.close)
    decoded.start()
    second = take(sightings[1])
    assert second is not None
    assert decoded.finished.is_set()
    assert take._budget.held_bytes == 60
    threading.Timer(0.1, over.set).start()
    assert take(sightings[2]) is None
    second.close()
    second.close()
    assert take._budget.held_bytes == 0


def test_one_file_may_have_more_than_all_are_allowed(ledger: Ledger, state: StateFolder, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    sighting = seen(tmp_path / "incoming", "a.dcm")
    take = taking(ledger, state, Inbox(tmp_path / "incoming", lambda _: False), held_bytes=1)
    taken = take(sighting)
    assert taken is not None
    taken.close()


def test_what_waits_is_told_from_the_moment_it_was_complete(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    """The stage `wait` and end to end begin when the inbox found the file, however long the line was full."""
    (tmp_path / "incoming").mkdir()
    seen(tmp_path / "incoming", "a.dcm")
    inbox, over, in_flight = Inbox(tmp_path / "incoming", lambda _: False), threading.Event(), InFlight()
    arrived: list[bool] = []
    take = taking(ledger, state, inbox, in_flight=in_flight, arrived=lambda: arrived.append(True))
    sightings = inbox.settled(over)
    sighting = next(sightings)
    complete_s = inbox.oldest_complete_s()
    assert complete_s is not None
    assert inbox.waiting_files == 1  # in the hand of who takes it: it may be long until there is room
    taken = take(sighting)
    assert taken is not None
    assert taken.complete_s == complete_s == in_flight.oldest_complete_s()
    assert (inbox.waiting_files, inbox.oldest_complete_s(), len(in_flight), arrived) == (0, None, 1, [True])
    late = replace(taken, complete_s=complete_s - 60, may_grow=False)
    refused = decoding(pipeline_in(tmp_path, Says(Unreadable("no"))), in_flight=in_flight)(late)
    assert refused is not None
    assert 60 <= refused.wait_s < 120
    assert next(sightings, None) is None


def test_what_was_asked_for_again_is_no_arrival(ledger: Ledger, state: StateFolder, tmp_path: Path) -> None:
    """Or a night of judging earlier cases would hide that no sender reaches the box."""
    (tmp_path / "incoming").mkdir()
    state.requeued.mkdir()
    seen(state.requeued, "a.dcm")
    inbox = Inbox(tmp_path / "incoming", lambda _: False, further=[state.requeued])
    arrived: list[bool] = []
    take = taking(ledger, state, inbox, arrived=lambda: arrived.append(True))
    (taken,) = [take(sighting) for sighting in inbox.settled(threading.Event())]
    assert taken is not None
    taken.close()
    assert arrived == []


def test_a_result_is_counted_and_logged_with_all_its_times(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    lines: list[logging.LogRecord] = []
    logger, metrics = logging.Logger("heard"), Metrics()
    logger.addHandler(logging.NullHandler())
    logger.addFilter(lambda record: bool(lines.append(record)) or True)
    write = writing(pipeline, ledger, state, metrics=metrics, logger=logger)
    complete_s = time.monotonic() - 60
    write(Taken(seen(tmp_path, "1.dcm"), complete_s, wait_s=7.0, report=scored(1)))
    (line,) = lines
    told = getattr(line, FIELDS)
    assert line.getMessage() == RADIOGRAPH
    assert (told["case_id"], told["status"]) == (sha(1)[:16], "scored")
    assert (told["backend"], told["precision"]) == ("openvino", "int8")
    assert (told["wait_s"], told["decode_s"], told["total_s"]) == (7.0, 0.25, 0.5)
    assert 0 < told["write_s"] < told["end_to_end_s"]
    assert 60 < told["end_to_end_s"] < 120
    assert "reason" not in told
    text = metrics.exposition().decode()
    for stage in ("wait", "decode", "write"):
        assert f'edge_cxr_stage_duration_seconds_count{{stage="{stage}"}} 1.0' in text
    assert 'edge_cxr_stage_duration_seconds_sum{stage="wait"} 7.0' in text
    assert 'edge_cxr_end_to_end_seconds_bucket{le="30.0"} 0.0' in text


@pytest.mark.parametrize(("after", "reason", "count"), [("archive", "truncated", 1), ("archive", None, 0),
                                                        ("keep", "truncated", 0)])  # fmt: skip
def test_inputs_put_into_quarantine_are_counted(
    state: StateFolder, tmp_path: Path, after: str, reason: str | None, count: int
) -> None:
    (tmp_path / "incoming").mkdir()
    sighting = seen(tmp_path / "incoming", "a.dcm")
    case = FinishedCase(hashlib.sha256(b"a.dcm").hexdigest()[:16], "dicom", reason, None)
    counted: list[bool] = []
    logger = logging.Logger("quiet")
    put_away = PutAway(tmp_path / "incoming", state, Config(after=after), logger, once=False,
                       quarantined=lambda: counted.append(True))  # fmt: skip
    put_away(sighting, case)
    assert len(counted) == count
    put_away(sighting, case)  # it is gone
    assert len(counted) == count
