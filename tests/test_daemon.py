"""The daemon as its users meet it: a folder, a state folder, and exactly one result for every file."""

import json
import logging
import os
import shutil
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest
from fake_engine import FakeEngine
from faulty import FaultyEngine, no_number, swapped
from file_locks import is_awaited
from running_daemon import running, wait_until
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.audit import Event
from edge.audit_log import AuditLog
from edge.box import Box
from edge.bundle import open_bundle
from edge.changes import Wanted
from edge.config import Config
from edge.daemon import Daemon
from edge.engine_room import EngineRoom
from edge.engines import Engine, Outputs
from edge.errors import EngineError, StateError, Stopped, UsageError
from edge.forget import forget
from edge.imaging.decode_pool import DecodePool, Decodes
from edge.imaging.decoder import Decoder
from edge.in_flight import InFlight
from edge.inbox import Inbox
from edge.index_file import load
from edge.known_answer import KnownAnswerFailed
from edge.log import FIELDS
from edge.metrics import Metrics
from edge.phantom import render
from edge.phantom_dicom import write_dicom, write_png
from edge.pipeline import Answer, Pipeline
from edge.put_off import Cause
from edge.reading_room import open_pipeline
from edge.scoring import Scoring
from edge.stages import Take, Taken
from edge.standing import Standing
from edge.state import files_held, open_state
from edge.upkeep import Upkeep
from edge.values import Report, Sighting, Warn

PATIENCE_S = 60


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It brings the reference of one signal for drift."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    write_manifest(folder, drift={"brightness": {"edges": [0.5], "shares": [0.5, 0.5], "count": 500}})
    return folder


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


@pytest.fixture
def config(bundle: Path, tmp_path: Path) -> Config:
    return Config(state=str(tmp_path / "state"), bundle=str(bundle), listen="", scan_s=0.5)


def quiet() -> logging.Logger:
    logger = logging.Logger("quiet")
    logger.addHandler(logging.NullHandler())
    return logger


def run_once(config: Config, incoming: Path) -> list[Report]:
    reports: list[Report] = []
    Daemon(config, incoming, once=True, logger=quiet(), on_report=lambda _, report: reports.append(report)).run()
    return reports


def results(config: Config) -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted(Path(config.state, "results").glob("*/*.json"))]


def phantom(path: Path, seed: int = 1, label: str = "covid", **kwargs: Any) -> Path:
    write_dicom(render(seed, label, longest_side=256), path, **kwargs)
    return path


@contextmanager
def watching(
    config: Config, incoming: Path, on_report: Callable[[Sighting, Report], None], **further: Any
) -> Iterator[Daemon]:
    """A daemon in a thread; what it raised is raised at the end."""
    daemon = Daemon(config, incoming, once=False, logger=quiet(), on_report=on_report, **further)
    with running(daemon):
        yield daemon


def test_one_result_for_every_file_and_nothing_the_second_time(config: Config, incoming: Path) -> None:
    phantom(incoming / "a.dcm")
    write_png(render(2, "other", longest_side=256), incoming / "b.png")
    (incoming / "c.txt").write_text("not a radiograph")
    (incoming / "unfinished.part").write_text("ignored")
    reports = run_once(config, incoming)
    assert sorted(report.reason or "scored" for report in reports) == ["scored", "scored", "unreadable"]
    written = results(config)
    assert {result["case_id"] for result in written} == {report.case_id for report in reports}
    assert {result["status"] for result in written if result["score"] is not None} == {"scored"}
    scored = next(result for result in written if result["status"] == "scored")
    assert len(scored["neighbours"]) == 4
    assert scored["timings_s"].keys() == {"decode", "preprocess", "infer", "retrieve", "total"}
    stamps = {path: path.stat().st_mtime_ns for path in Path(config.state, "results").rglob("*.json")}
    assert run_once(config, incoming) == []
    assert stamps == {path: path.stat().st_mtime_ns for path in Path(config.state, "results").rglob("*.json")}


def test_the_same_bytes_under_two_names_are_scored_once(config: Config, incoming: Path) -> None:
    phantom(incoming / "a.dcm")
    (incoming / "sub").mkdir()
    shutil.copy(incoming / "a.dcm", incoming / "sub" / "b.dcm")
    assert len(run_once(config, incoming)) == 1
    shutil.copy(incoming / "a.dcm", incoming / "later.dcm")
    assert run_once(config, incoming) == []
    assert len(results(config)) == 1


def test_same_instance_is_a_duplicate_and_with_other_pixels_a_conflict(config: Config, incoming: Path) -> None:
    reports = []
    for number, more in enumerate(({}, {"view_position": "PA"}, {"seed": 9})):  # side by side any may be the first
        phantom(incoming / f"{number}.dcm", sop_instance_uid="1.2.3", **more)
        reports += run_once(config, incoming)
    assert [report.reason for report in reports] == [None, "duplicate", "conflict"]
    assert reports[0].case_id in str(reports[1].detail)
    assert reports[0].case_id in str(reports[2].detail)
    assert [result["score"] for result in results(config) if result["status"] == "not_scored"] == [None, None]


@pytest.mark.parametrize("after", ["keep", "archive", "delete"])
def test_what_happens_to_inputs_afterwards(config: Config, incoming: Path, after: str) -> None:
    phantom(incoming / "good.dcm")
    (incoming / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM")
    os.utime(incoming / "bad.dcm", (1, 1))  # or its writer might go on
    reports = run_once(Config(**{**vars(config), "after": after}), incoming)
    good = next(report for report in reports if report.scored)
    bad = next(report for report in reports if not report.scored)
    state = Path(config.state)
    left = {path.name for path in incoming.iterdir()}
    assert left == ({"good.dcm", "bad.dcm"} if after == "keep" else set())
    assert (state / "archive" / f"{good.case_id}.dcm").exists() == (after == "archive")
    assert (state / "quarantine" / f"{bad.case_id}.dcm").exists() == (after != "keep")
    if after != "keep":
        reason = json.loads((state / "quarantine" / f"{bad.case_id}.reason.json").read_text())
        assert reason["reason"] == bad.reason


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_known_bytes_that_come_again_are_cleared_away_too(config: Config, incoming: Path, after: str) -> None:
    clearing = Config(**{**vars(config), "after": after})
    kept = phantom(incoming.parent / "kept.dcm")
    for name in ("first.dcm", "again.dcm"):
        shutil.copy(kept, incoming / name)
        run_once(clearing, incoming)
        assert list(incoming.iterdir()) == []
    assert len(results(config)) == 1


def test_a_gate_refuses_without_a_number(config: Config, incoming: Path, tmp_path: Path) -> None:
    strict = write_tiny_bundle(tmp_path / "strict", low=0.99)
    phantom(incoming / "a.dcm")
    (report,) = run_once(Config(**{**vars(config), "bundle": str(strict)}), incoming)
    assert report.reason == "no_lungs"
    (result,) = results(config)
    assert (result["score"], result["positive"], result["members"]) == (None, None, {})


def test_minors_are_outside_the_intended_use(config: Config, incoming: Path) -> None:
    phantom(incoming / "a.dcm", patient_age="017Y")
    (report,) = run_once(config, incoming)
    assert report.reason == "outside_intended_use"
    assert report.prediction is None


def test_a_failed_known_answer_stops_before_anything_is_scored(config: Config, incoming: Path, tmp_path: Path) -> None:
    wrong = wrong_bundle(tmp_path / "wrong")
    phantom(incoming / "a.dcm")
    with pytest.raises(EngineError, match="known-answer test failed"):
        run_once(Config(**{**vars(config), "bundle": str(wrong)}), incoming)
    assert results(config) == []


def wrong_bundle(folder: Path) -> Path:
    """Its network answers otherwise than its golden case says."""
    write_tiny_bundle(folder)
    expected = json.loads((folder / "golden/expected.json").read_text())
    expected["cases"][0]["precisions"]["fp32"]["score"] += 0.02
    (folder / "golden/expected.json").write_text(json.dumps(expected))
    write_manifest(folder)
    return folder


@contextmanager
def out_of_service(daemon: Daemon) -> Iterator[None]:
    """A daemon in a thread that ends with a wrong known answer, once it is stopped."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            daemon.run()
        except BaseException as fault:
            raised.append(fault)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        yield
        assert thread.is_alive()
    finally:
        daemon.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [type(fault) for fault in raised] == [KnownAnswerFailed]


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def ready_line(address: str) -> str:
    try:
        return urllib.request.urlopen(f"http://{address}/readyz").read().decode()
    except urllib.error.HTTPError as refused:
        assert refused.code == 503
        return refused.read().decode()


def test_after_wrong_answers_at_the_start_the_box_stays_and_says_so(
    config: Config, incoming: Path, tmp_path: Path
) -> None:
    address = free_address()
    wrong = Config(**{**vars(config), "bundle": str(wrong_bundle(tmp_path / "wrong")), "listen": address})
    phantom(incoming / "a.dcm")
    os.utime(incoming / "a.dcm", (1, 1))
    daemon = Daemon(wrong, incoming, once=False, logger=quiet())
    with out_of_service(daemon):
        wait_until(lambda: daemon._standing.not_ready != "starting: the known-answer test has not passed yet")
        assert ready_line(address).startswith("out of service: known-answer test failed: golden/a.dcm gives score")
        assert urllib.request.urlopen(f"http://{address}/livez").read() == b"ok\n"
        text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
        assert 'edge_cxr_known_answer_tests_total{outcome="failed"} 1.0' in text
        assert "edge_cxr_ready 0.0" in text
        assert "edge_cxr_known_answer_last_pass_timestamp_seconds 0.0" in text
    assert results(config) == []
    assert (incoming / "a.dcm").exists()


class TurningRoom(EngineRoom):
    """Its engine scores rightly until it is told to be wrong."""

    engine: FaultyEngine

    def first(self, decoder: Decodes) -> Engine:
        TurningRoom.engine = FaultyEngine(super().first(decoder), swapped, is_wrong=False)
        return self.engine


def test_wrong_answers_while_running_end_the_scoring_for_good(config: Config, incoming: Path) -> None:
    address = free_address()
    often = Config(**{**vars(config), "listen": address, "known_answer_s": 0.2, "after": "delete"})
    seen: list[Report] = []
    lines: list[tuple[str, dict[str, str]]] = []
    logger = quiet()
    logger.addFilter(lambda record: bool(lines.append((record.getMessage(), getattr(record, FIELDS, {})))) or True)
    daemon = Daemon(
        often, incoming, once=False, logger=logger, on_report=lambda _, report: seen.append(report),
        open_room=TurningRoom,
    )  # fmt: skip

    def metric(name: str) -> float:
        text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"edge_cxr_{name}"))

    with out_of_service(daemon):
        wait_until(lambda: daemon._standing.not_ready is None)
        time.sleep(0.2)
        phantom(incoming / "a.dcm")
        wait_until(lambda: len(seen) == 1)
        wait_until(lambda: metric('known_answer_tests_total{outcome="passed"}') >= 2)
        assert (metric("ready"), ready_line(address)) == (1, "ready\n")
        with files_held(open_state(Path(config.state))):
            phantom(incoming / "c.dcm", seed=3)
            wait_until(is_awaited)  # it is scored, and cannot be written
            TurningRoom.engine.is_wrong = True
            wait_until(lambda: ready_line(address).startswith("out of service: known-answer test failed"))
        last_pass_s = metric("known_answer_last_pass_timestamp_seconds")
        assert 0 <= time.time() - last_pass_s < PATIENCE_S
        assert (metric("ready"), metric('known_answer_tests_total{outcome="failed"}')) == (0, 1)
        TurningRoom.engine.is_wrong = False  # it stays out of service: nobody knows what it was
        phantom(incoming / "b.dcm", seed=2)
        time.sleep(1.0)
        assert ready_line(address).startswith("out of service")
        assert urllib.request.urlopen(f"http://{address}/livez").read() == b"ok\n"
        (told,) = [(text, fields) for text, fields in lines if text.startswith("out of service")]
        assert "judge it again" in told[0]
        assert told[1] == {"last_pass": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(last_pass_s))}
    assert sorted(path.name for path in incoming.iterdir()) == ["b.dcm", "c.dcm"]
    assert len(seen) == len(results(config)) == 1
    with AuditLog(Path(config.state, "ledger.sqlite"), site_key=open_state(Path(config.state)).site_key) as log:
        stopped = list(log.entries(event=Event.STOPPED))
    assert [entry.detail for entry in stopped] == [{"reason": "KnownAnswerFailed", **told[1]}]


class MuteRoom(EngineRoom):
    """Its engine gives no number for the first radiograph; and for good, where it is `broken`."""

    broken = False

    def first(self, decoder: Decodes) -> Engine:
        engine = FaultyEngine(super().first(decoder), lambda outputs: silent(outputs))  # noqa: PLW0108 - defined below

        def silent(outputs: Outputs) -> Outputs:
            engine.is_wrong = self.broken
            return no_number(outputs)

        return engine


class BrokenRoom(MuteRoom):
    broken = True


def test_a_radiograph_without_a_number_is_refused_where_the_golden_cases_have_theirs(
    config: Config, incoming: Path
) -> None:
    phantom(incoming / "a.dcm")
    phantom(incoming / "b.dcm", seed=2)
    reports: list[Report] = []
    Daemon(
        config, incoming, once=True, logger=quiet(), on_report=lambda _, report: reports.append(report),
        open_room=MuteRoom,
    ).run()  # fmt: skip
    assert sorted(report.reason or "scored" for report in reports) == ["scored", "unlike_reference"]
    (refused,) = [result for result in results(config) if result["reason"]]
    assert (refused["score"], refused["positive"], refused["neighbours"]) == (None, None, [])


def test_no_number_and_wrong_golden_cases_are_the_engines_fault(config: Config, incoming: Path) -> None:
    phantom(incoming / "a.dcm")
    with pytest.raises(KnownAnswerFailed, match="not finite"):
        Daemon(config, incoming, once=True, logger=quiet(), open_room=BrokenRoom).run()
    assert results(config) == []
    assert (incoming / "a.dcm").exists()


def idle_scoring(config: Config, incoming: Path) -> Scoring:
    """One that is not run: its steps are tried alone."""
    nothing: Any = None
    logger = quiet()
    box = Box(
        incoming,
        nothing,
        nothing,
        Metrics(),
        Standing(logger),
        nothing,
        logger,
        once=False,
        open_room=lambda *_, **__: nothing,
    )
    return Scoring(box, Wanted(config, open_bundle(config.bundle)), on_proved=lambda: None)


def test_after_a_stop_a_radiograph_that_has_its_answer_is_finished_and_others_are_left(
    config: Config, incoming: Path
) -> None:
    scoring = idle_scoring(config, incoming)
    nothing: Any = None
    finished: list[Taken] = []
    step = scoring._unless_stopped(finished.append)  # type: ignore[arg-type]
    asked = scoring._asked(lambda those: [replace(taken, answer=Answer(nothing, 0.1)) for taken in those])
    taken = Taken(Sighting(incoming / "a.dcm", 1, 1, 1), 0.0)
    (answered,) = asked([taken])
    scoring.stop()
    for one in (taken, answered, *asked([taken])):
        step(one)
    assert finished == [answered]


def test_what_is_under_way_when_an_answer_is_wrong_is_neither_scored_nor_written(
    config: Config, incoming: Path
) -> None:
    """One radiograph is between decoder and engine when the verdict falls, another waits to be written."""
    scoring = idle_scoring(config, incoming)
    nothing: Any = None
    pipeline = Pipeline(nothing, FakeEngine(), nothing, nothing)
    scored: list[Taken] = []
    step = scoring._scored(scored.append)  # type: ignore[arg-type]
    taken = Taken(Sighting(incoming / "a.dcm", 1, 1, 1), 0.0)
    begun = threading.Event()

    def score() -> None:
        begun.set()
        step(taken)

    with pytest.raises(KnownAnswerFailed), scoring._lent(pipeline):
        waiting = threading.Thread(target=score)
        waiting.start()
        assert begun.wait(PATIENCE_S)
        waiting.join(0.2)
        raise KnownAnswerFailed("known-answer test failed")
    waiting.join(PATIENCE_S)
    assert scored == []
    assert scoring._over.is_set()
    assert not scoring._stop.is_set()


def test_a_watching_daemon_scores_what_arrives_and_leaves_slow_writers_time(config: Config, incoming: Path) -> None:
    whole = phantom(incoming.parent / "whole.dcm").read_bytes()
    seen: dict[str, Report] = {}
    with watching(config, incoming, lambda sighting, report: seen.__setitem__(sighting.path.name, report)):
        phantom(incoming / "closed.dcm", seed=3)
        phantom(incoming / "moved.part", seed=4).rename(incoming / "moved.dcm")
        (incoming / "nested").mkdir()
        phantom(incoming / "nested" / "deep.dcm", seed=5)
        with (incoming / "slow.dcm").open("wb") as slow:
            slow.write(whole[: len(whole) // 2])
            slow.flush()
            wait_until(lambda: {"closed.dcm", "moved.dcm", "deep.dcm"} <= seen.keys())
            time.sleep(1.5)  # three looks: the half file stood still, and still it must not be judged
            slow.write(whole[len(whole) // 2 :])
        wait_until(lambda: "slow.dcm" in seen)
    assert all(report.scored for report in seen.values())
    assert len(seen) == 4


def test_a_file_that_stays_half_is_truncated_in_the_end(config: Config, incoming: Path) -> None:
    whole = phantom(incoming.parent / "whole.dcm").read_bytes()
    (incoming / "half.dcm").write_bytes(whole[: len(whole) // 2])
    seen: list[Report] = []
    impatient = Config(**{**vars(config), "unfinished_after_s": 1.0})
    with watching(impatient, incoming, lambda _, report: seen.append(report)):
        wait_until(lambda: bool(seen))
    assert [report.reason for report in seen] == ["truncated"]


def test_health_and_metrics_over_http(config: Config, incoming: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    seen: list[Report] = []
    with watching(Config(**{**vars(config), "listen": address}), incoming, lambda _, report: seen.append(report)):
        phantom(incoming / "a.dcm")
        wait_until(lambda: bool(seen))
        assert urllib.request.urlopen(f"http://{address}/livez").read() == b"ok\n"
        assert urllib.request.urlopen(f"http://{address}/readyz").read() == b"ready\n"
        text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://{address}/elsewhere")
    assert 'edge_cxr_studies_total{reason="none",status="scored"} 1.0' in text
    assert 'edge_cxr_known_answer_tests_total{outcome="passed"} 1.0' in text
    assert "edge_cxr_drift_radiographs 1.0" in text
    (drift,) = Path(config.state, "drift").iterdir()
    kept = json.loads(drift.read_bytes())
    assert [name for name, values in kept["first"].items() if len(values) != 1] == ["brightness"]  # the bundle's
    assert {len(values) for values in kept["window"].values()} == {1}
    for stage in ("decode", "preprocess", "infer", "retrieve", "write"):
        assert f'edge_cxr_stage_duration_seconds_count{{stage="{stage}"}} 1.0' in text


def test_a_second_daemon_on_the_same_state_is_refused(config: Config, incoming: Path) -> None:
    ready = threading.Event()
    with watching(config, incoming, lambda *_: ready.set()):
        phantom(incoming / "a.dcm")
        assert ready.wait(PATIENCE_S)
        with pytest.raises(StateError, match="another edge-cxr watches"):
            run_once(config, incoming)


def test_a_stopped_daemon_leaves_the_rest_for_the_next(config: Config, incoming: Path) -> None:
    for seed in range(12):
        phantom(incoming / f"{seed}.dcm", seed=seed)
    seen: list[str] = []
    daemon = Daemon(config, incoming, once=True, logger=quiet(), on_report=lambda _, report: stop_after(report))

    def stop_after(report: Report) -> None:
        seen.append(report.case_id)
        daemon.stop()

    with pytest.raises(Stopped, match="run it again"):
        daemon.run()
    assert 1 <= len(seen) < 12
    seen += [report.case_id for report in run_once(config, incoming)]
    assert len(seen) == len(set(seen)) == len(results(config)) == 12


def test_earlier_cases_can_be_neighbours(config: Config, incoming: Path) -> None:
    first = phantom(incoming / "1.dcm", seed=1)
    os.utime(first, ns=(1, 1))
    including = Config(**{**vars(config), "include_earlier_cases": True})
    (earlier,) = run_once(including, incoming)
    phantom(incoming / "2.dcm", seed=1, label="other")
    (report,) = run_once(including, incoming)
    assert report.neighbours[0].case_id == earlier.case_id
    assert report.neighbours[0].label is None
    assert Warn.NEIGHBOURS_PENDING not in report.warnings


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_an_index_that_cannot_be_used_is_built_anew(config: Config, incoming: Path, harm: str) -> None:
    including = Config(**{**vars(config), "include_earlier_cases": True})
    phantom(incoming / "1.dcm", seed=1)
    (earlier,) = run_once(including, incoming)
    (index,) = Path(config.state, "index").glob("*.usearch")
    if harm == "removed":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-1])
    phantom(incoming / "2.dcm", seed=1, label="other")
    (report,) = run_once(including, incoming)
    assert report.neighbours[0].case_id == earlier.case_id
    assert load(index, earlier.bundle_id) is not None


class NeverWhole:
    """Earlier cases of which some are always still to be read."""

    pending = True

    def __len__(self) -> int:
        return 0

    def catch_up(self) -> None:
        pass

    def nearest(self, embedding: object, k: int, **_: object) -> list[Any]:
        return []


def test_neighbours_that_may_lack_some_are_told_as_pending(bundle: Path, tmp_path: Path) -> None:
    with open_pipeline(Config(bundle=str(bundle))) as pipeline:
        path = phantom(tmp_path / "1.dcm")
        assert Warn.NEIGHBOURS_PENDING not in pipeline.report(path).warnings
        pipeline.similar.earlier = NeverWhole()
        report = pipeline.report(path)
        assert Warn.NEIGHBOURS_PENDING in report.warnings
        assert len(report.neighbours) == 4


def test_a_missing_folder_is_a_usage_error(config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist; create it"):
        run_once(config, tmp_path / "nowhere")


def test_a_link_in_place_of_a_seen_file_is_not_followed_and_not_forgotten(config: Config, incoming: Path) -> None:
    whole = phantom(incoming.parent / "whole.dcm")
    (incoming / "a.dcm").symlink_to(whole)
    put_back: list[float] = []

    class Recording(Inbox):
        def look_again(self, sighting: Sighting, *, after_s: float, cause: Cause = Cause.UNFINISHED) -> None:
            put_back.append(after_s)

    warnings: list[str] = []
    logger = logging.Logger("recording")
    logger.addHandler(logging.NullHandler())
    logger.addFilter(lambda record: bool(warnings.append(record.getMessage())) or True)
    inbox = Recording(incoming, lambda _: False)
    nothing: Any = None  # the ledger is not reached
    take = Take(nothing, inbox, nothing, nothing, logger, in_flight=InFlight(), unfinished_after_s=60)
    assert take(Sighting(incoming / "a.dcm", 1, 1, 1)) is None
    assert take.unopened == 1
    assert put_back == [60]
    assert "is not followed" in warnings[0]
    assert "a.dcm" not in warnings[0]


def test_an_input_that_will_not_move_stays_and_its_result_counts(config: Config, incoming: Path) -> None:
    phantom(incoming / "first.dcm")
    run_once(config, incoming)
    (Path(config.state) / "archive").write_text("a file where the folder must be")
    phantom(incoming / "second.dcm", seed=2)
    (report,) = run_once(Config(**{**vars(config), "after": "archive"}), incoming)
    assert report.scored
    assert {path.name for path in incoming.iterdir()} == {"first.dcm", "second.dcm"}
    (Path(config.state) / "archive").unlink()
    assert run_once(Config(**{**vars(config), "after": "archive"}), incoming) == []
    assert list(incoming.iterdir()) == []
    assert len(results(config)) == 2


class Closable(FakeEngine):
    closed = False

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True


def test_engines_change_between_two_radiographs_and_the_old_one_is_closed(config: Config, incoming: Path) -> None:
    """While one answers another one waits; nothing else can hold up a radiograph for so long that this shows."""
    changing = idle_scoring(config, incoming)
    before, after = Closable(), Closable()
    nothing: Any = None
    pipeline = Pipeline(nothing, before, nothing, nothing)
    scoring, built, go_on = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []

    def score(taken: Taken) -> Taken:
        scoring.set()
        assert go_on.wait(PATIENCE_S)
        seen.append(pipeline.engine is before and not before.closed)
        return taken

    class Room:
        def built(self, build: object, decoder: object) -> Closable:
            built.set()
            return after

        def took_over(self, engine: Closable) -> None:
            seen.append(pipeline.engine is after and before.closed)

    room: Any = Room()
    changing.room = room
    scored: Any = changing._scored(score)  # type: ignore[arg-type]
    threads = [
        threading.Thread(target=scored, args=(Taken(Sighting(incoming / "a.dcm", 1, 1, 1), 0.0),)),
        threading.Thread(target=changing._change_engine, args=(nothing, pipeline)),
    ]
    for thread, begun in zip(threads, (scoring, built), strict=True):
        thread.start()
        assert begun.wait(PATIENCE_S)
    threads[1].join(0.3)  # it would have changed them by now
    go_on.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert seen == [True, True]
    assert not after.closed


class StallingRoom(EngineRoom):
    """Its decode worker does what a file says; one may take a minute, and there are two tries."""

    def decode_pool(self) -> DecodePool:
        command = [sys.executable, str(Path(__file__).parent / "mad_worker.py"), str(self._state.root / "asked")]
        settings: dict[str, Any] = {"site_key": bytes(32), "limit_s": PATIENCE_S, "command": command}
        return DecodePool(lambda: Decoder(self._bundle.manifest.preprocessing, **settings), workers=1)


def test_a_stop_does_not_wait_for_a_file_that_will_not_decode(
    config: Config, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.scoring._DECODE_GRACE_S", 0.2)
    asked = Path(config.state, "asked")
    with watching(config, incoming, lambda *_: None, open_room=StallingRoom):
        (incoming / "bad.dcm").write_bytes(b"stall")
        wait_until(lambda: asked.exists() and "stall" in asked.read_text())
    assert asked.read_text().count("stall") == 1
    assert (incoming / "bad.dcm").exists()
    assert results(config) == []


def ask_again(config: Config, sha256: str) -> None:
    connection = apsw.Connection(str(Path(config.state, "ledger.sqlite")))
    connection.execute("INSERT INTO requeued VALUES (?, 1.0)", (sha256,))
    connection.close()


def test_a_new_bundle_scores_old_cases_only_on_request(config: Config, incoming: Path, tmp_path: Path) -> None:
    phantom(incoming / "a.dcm")
    phantom(incoming / "b.dcm", seed=2)
    before = {report.case_id: report for report in run_once(config, incoming)}
    newer = Config(**{**vars(config), "bundle": str(write_tiny_bundle(tmp_path / "newer", low=0.001))})
    assert run_once(newer, incoming) == []
    asked = min(before)
    ask_again(config, before[asked].sha256)
    (report,) = run_once(newer, incoming)
    assert report.case_id == asked
    assert report.bundle_id != before[asked].bundle_id
    assert sorted(result["case_id"] for result in results(config)) == sorted([*before, asked])
    assert run_once(newer, incoming) == []


def test_a_running_daemon_notices_what_is_asked_for_again(config: Config, incoming: Path) -> None:
    seen: list[Report] = []
    rarely = Config(**{**vars(config), "scan_s": 600.0})
    with watching(rarely, incoming, lambda _, report: seen.append(report)):
        phantom(incoming / "a.dcm")
        wait_until(lambda: len(seen) == 1)
        ask_again(config, seen[0].sha256)
        wait_until(lambda: len(seen) == 2)
    assert seen[0].case_id == seen[1].case_id
    assert len(results(config)) == 1


@pytest.mark.parametrize("after", ["keep", "archive"])
def test_what_is_put_into_requeued_is_scored_again_and_archived(config: Config, incoming: Path, after: str) -> None:
    archiving = Config(**{**vars(config), "after": "archive"})
    phantom(incoming / "a.dcm")
    (first,) = run_once(archiving, incoming)
    state = Path(config.state)
    ask_again(config, first.sha256)
    (state / "requeued").mkdir(exist_ok=True)
    (state / "archive" / f"{first.case_id}.dcm").rename(state / "requeued" / f"{first.case_id}.dcm")
    (second,) = run_once(Config(**{**vars(config), "after": after}), incoming)
    assert second.case_id == first.case_id
    assert list((state / "requeued").iterdir()) == []
    assert [path.name for path in (state / "archive").iterdir()] == [f"{first.case_id}.dcm"]


class Disk:
    """What shutil.disk_usage tells of a disk that the test fills and frees."""

    total, free = 10**9, 10**9

    def __call__(self, _: Path) -> "Disk":
        return self


def test_a_full_disk_stops_the_intake_and_room_starts_it_again(
    config: Config, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    monkeypatch.setattr(shutil, "disk_usage", disk)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    seen: list[Report] = []
    listening = Config(**{**vars(config), "listen": address})
    with watching(listening, incoming, lambda _, report: seen.append(report)):
        phantom(incoming / "a.dcm")
        wait_until(lambda: len(seen) == 1)
        disk.free = 10**7
        phantom(incoming / "b.dcm", seed=2)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{address}/readyz")
        assert b"is full: 10 MB are free, 50 MB are kept in reserve" in refused.value.read()
        text = urllib.request.urlopen(f"http://{address}/metrics").read().decode()
        assert 'edge_cxr_intake_paused{reason="disk_space"} 1.0' in text
        assert 'edge_cxr_intake_paused{reason="folder_absent"} 0.0' in text
        time.sleep(2.0)
        assert len(seen) == 1
        assert urllib.request.urlopen(f"http://{address}/livez").read() == b"ok\n"
        disk.free = 10**9
        wait_until(lambda: len(seen) == 2)
        assert urllib.request.urlopen(f"http://{address}/readyz").read() == b"ready\n"
    disk.free = 10**7
    phantom(incoming / "c.dcm", seed=3)
    with pytest.raises(StateError, match="is full: 10 MB are free, 50 MB are kept in reserve"):
        run_once(config, incoming)
    disk.free = 10**9
    assert len(run_once(config, incoming)) == 1


def test_an_incoming_folder_that_goes_away_is_waited_for(config: Config, incoming: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    seen: list[Report] = []
    listening = Config(**{**vars(config), "listen": address})

    def ready() -> bytes:
        try:
            return urllib.request.urlopen(f"http://{address}/readyz").read()
        except urllib.error.HTTPError as refused:
            return refused.read()

    with watching(listening, incoming, lambda _, report: seen.append(report)):
        phantom(incoming / "a.dcm")
        wait_until(lambda: len(seen) == 1)
        incoming.rename(tmp_path / "away")
        wait_until(lambda: b"is it mounted?" in ready())
        phantom(tmp_path / "away" / "b.dcm", seed=2)
        (tmp_path / "away").rename(incoming)
        wait_until(lambda: len(seen) == 2)
        wait_until(lambda: ready() == b"ready\n")


def test_what_has_been_kept_long_enough_goes_by_itself(
    config: Config, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.scoring._TIDY_EACH_S", 0.2)
    seen: list[Report] = []
    shortly = Config(**{**vars(config), "after": "archive", "keep_archive_days": 2 / 86_400})
    archive = Path(config.state, "archive")
    with watching(shortly, incoming, lambda _, report: seen.append(report)):
        phantom(incoming / "a.dcm")
        wait_until(lambda: len(seen) == 1)
        assert len(list(archive.iterdir())) == 1
        wait_until(lambda: not list(archive.iterdir()))
    assert len(results(config)) == 1  # those have no limit


def test_a_forgotten_file_that_was_kept_is_not_scored_again(config: Config, incoming: Path, tmp_path: Path) -> None:
    """Not even when the folder was copied or mounted anew, so that every inode is another."""
    phantom(incoming / "a.dcm")
    (report,) = run_once(config, incoming)
    state = open_state(Path(config.state))
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        forget([report.case_id], state, ledger)
    assert run_once(config, incoming) == []
    copied = shutil.copytree(incoming, tmp_path / "copied")
    assert run_once(config, copied) == []
    assert results(config) == []


def test_a_single_run_leaves_an_unfinished_file_to_its_writer(config: Config, incoming: Path) -> None:
    """It has its result at once, and its place until it is old; finished meanwhile, it is another file."""
    archiving = Config(**{**vars(config), "after": "archive"})
    whole = phantom(incoming.parent / "whole.dcm").read_bytes()
    path = incoming / "slow.dcm"
    path.write_bytes(whole[: len(whole) // 2])
    (report,) = run_once(archiving, incoming)
    assert report.reason == "truncated"
    assert path.exists()
    with path.open("ab") as opened:
        opened.write(whole[len(whole) // 2 :])
    (report,) = run_once(archiving, incoming)
    assert report.scored
    assert not path.exists()


@pytest.mark.parametrize("known", [b"", b"\0" * 128 + b"DICM"], ids=["empty", "preamble"])
def test_a_writer_that_begins_with_known_bytes_is_left_time(config: Config, incoming: Path, known: bytes) -> None:
    """Whoever touches a file first, or pauses after the preamble, leaves bytes that have their result already."""
    whole = phantom(incoming.parent / "whole.dcm", sop_instance_uid="1.2.3").read_bytes()
    (incoming / "before.dcm").write_bytes(known)
    os.utime(incoming / "before.dcm", (1, 1))
    deleting = Config(**{**vars(config), "after": "delete"})
    assert [report.scored for report in run_once(deleting, incoming)] == [False]
    seen: list[Report] = []
    path = incoming / "slow.dcm"
    with watching(deleting, incoming, lambda _, report: seen.append(report)):
        path.write_bytes(known)
        time.sleep(2.0)
        assert path.exists()
        path.write_bytes(whole)
        wait_until(lambda: len(seen) == 1)
    assert seen[0].scored


def test_known_bytes_that_stay_as_they_are_go_in_the_end(config: Config, incoming: Path) -> None:
    deleting = Config(**{**vars(config), "after": "delete", "unfinished_after_s": 1.0})
    (incoming / "before.dcm").write_bytes(b"")
    os.utime(incoming / "before.dcm", (1, 1))
    run_once(deleting, incoming)
    with watching(deleting, incoming, lambda *_: None):
        (incoming / "again.dcm").write_bytes(b"")
        wait_until(lambda: not (incoming / "again.dcm").exists())
    assert len(results(config)) == 1


@pytest.mark.parametrize("inside", ["incoming", "state"])
def test_folders_one_inside_the_other_are_refused(config: Config, incoming: Path, inside: str) -> None:
    if inside == "incoming":
        nested, watched = Config(**{**vars(config), "state": str(incoming / "state")}), incoming
    else:
        nested, watched = config, Path(config.state) / "archive"
        watched.mkdir(parents=True)
    with pytest.raises(UsageError, match="lies inside the"):
        run_once(nested, watched)
