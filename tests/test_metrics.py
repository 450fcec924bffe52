"""What the box counts, as Prometheus reads it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from reports import ENGINE, gated, refused, scored
from tiny_bundle import write_tiny_bundle

import edge
from edge.bundle import Bundle, read_bundle
from edge.drift import DriftLook
from edge.drift_signals import NAMES
from edge.metric_families import CHANGES, SHADOWS, STAGES
from edge.metrics import Metrics
from edge.values import Reason

SERIES = 267  # with every value of every label in use
DOCS = Path(__file__).parent.parent / "docs"


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(sample.name, frozenset(sample.labels.items())): sample.value for one in families for sample in one.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return read(metrics).get((f"edge_cxr_{name}", frozenset(labels.items())))


def series(metrics: Metrics, name: str) -> list[dict[str, str]]:
    return [dict(labels) for found, labels in read(metrics) if found == f"edge_cxr_{name}"]


def test_results_are_counted_by_status_and_reason() -> None:
    metrics = Metrics()
    for report in (scored(1), scored(2), refused(3), refused(4, Reason.CONFLICT), gated(5)):
        metrics.finished(report, {}, 0.2)
    assert value(metrics, "studies_total", status="scored", reason="none") == 2
    for reason in ("truncated", "conflict", "no_lungs"):
        assert value(metrics, "studies_total", status="not_scored", reason=reason) == 1
    assert value(metrics, "end_to_end_seconds_count") == 5
    assert value(metrics, "end_to_end_seconds_bucket", le="0.25") == 5
    assert value(metrics, "end_to_end_seconds_bucket", le="0.1") == 0


def test_only_scores_given_are_in_the_score_histogram() -> None:
    metrics = Metrics()
    metrics.finished(refused(1), {}, 0.1)
    metrics.finished(gated(2), {}, 0.1)
    assert value(metrics, "score_count") == 0
    assert value(metrics, "last_success_timestamp_seconds") == 0
    metrics.finished(scored(3, score=0.72), {}, 0.1)
    assert (value(metrics, "score_count"), value(metrics, "score_sum")) == (1, 0.72)
    assert (value(metrics, "score_bucket", le="0.7"), value(metrics, "score_bucket", le="0.75")) == (0, 1)
    assert (value(metrics, "last_success_timestamp_seconds") or 0) > 1.7e9


def test_stages_are_observed_once_each() -> None:
    metrics = Metrics()
    metrics.finished(scored(1), {"wait": 2.0, "decode": 0.25, "write": 0.004, "total": 0.5}, 2.5)
    assert value(metrics, "stage_duration_seconds_sum", stage="wait") == 2
    assert value(metrics, "stage_duration_seconds_sum", stage="decode") == 0.25
    assert value(metrics, "stage_duration_seconds_count", stage="write") == 1
    assert value(metrics, "stage_duration_seconds_count", stage="infer") == 0
    assert value(metrics, "stage_duration_seconds_count", stage="total") is None


def test_the_known_answer_test_sets_ready() -> None:
    metrics = Metrics()
    assert value(metrics, "ready") == 0
    metrics.known_answer(True)
    assert (value(metrics, "ready"), value(metrics, "known_answer_tests_total", outcome="passed")) == (1, 1)
    metrics.known_answer(False)
    assert (value(metrics, "ready"), value(metrics, "known_answer_tests_total", outcome="failed")) == (0, 1)


def test_an_engine_that_does_not_serve_leaves_ready_as_it_is() -> None:
    metrics = Metrics()
    metrics.known_answer(True)
    metrics.known_answer(False, serving=False)
    assert (value(metrics, "ready"), value(metrics, "known_answer_tests_total", outcome="failed")) == (1, 1)


def test_drift_is_shown_by_signal_once_there_is_a_reference() -> None:
    metrics = Metrics()
    metrics.drifts((), 20)
    assert value(metrics, "drift_radiographs") == 20
    assert value(metrics, "drift_score", signal="score") is None
    metrics.drifts((DriftLook("score", 0.1, 0.25), DriftLook("brightness", 0.4, 0.25)), 200)
    assert (value(metrics, "drift_score", signal="score"), value(metrics, "drift_alarm", signal="score")) == (0.1, 0)
    assert value(metrics, "drift_limit", signal="brightness") == 0.25
    assert value(metrics, "drift_alarm", signal="brightness") == 1


def test_an_alarm_of_one_bundle_ends_with_it() -> None:
    """The next one begins without a reference, in the same process."""
    metrics = Metrics()
    metrics.drifts((DriftLook("score", 0.4, 0.25), DriftLook("brightness", 0.4, 0.25)), 200)
    metrics.drifts((DriftLook("brightness", 0.1, 0.25),), 60)
    assert value(metrics, "drift_alarm", signal="brightness") == 0
    for name in ("drift_score", "drift_limit", "drift_alarm"):
        assert value(metrics, name, signal="score") is None
    metrics.drifts((), 0)
    assert value(metrics, "drift_alarm", signal="brightness") is None


def test_one_engine_is_in_use() -> None:
    metrics = Metrics()
    metrics.serves(ENGINE)
    metrics.serves(replace(ENGINE, backend="tensorrt", precision="fp16"))
    assert value(metrics, "backend_active", backend="openvino", precision="int8") is None
    assert value(metrics, "backend_active", backend="tensorrt", precision="fp16") == 1


def test_what_runs_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    metrics = Metrics()
    bundle = read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("metrics") / "tiny"))
    metrics.started(bundle, ENGINE)
    named = {"version": edge.__version__, "bundle": "tiny", "bundle_id": bundle.id[:12]}
    assert value(metrics, "build_info", **named) == 1
    assert value(metrics, "backend_active", backend="openvino", precision="int8") == 1


def test_two_boxes_in_one_process_do_not_share_counts() -> None:
    one, other = Metrics(), Metrics()
    one.finished(scored(1), {}, 0.1)
    assert value(other, "end_to_end_seconds_count") == 0


def test_a_bundle_that_took_over_is_the_only_one_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    metrics = Metrics()
    bundle = read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("metrics") / "tiny"))
    metrics.started(bundle, ENGINE)
    metrics.started(replace(bundle, id="c" * 64), ENGINE)
    assert [labels["bundle_id"] for labels in series(metrics, "build_info")] == ["c" * 12]


def test_a_restart_is_no_silence() -> None:
    metrics = Metrics()
    metrics.resumes(2_000_000.0, 1_000_000.0)
    assert value(metrics, "last_arrival_timestamp_seconds") == 2_000_000
    assert value(metrics, "last_success_timestamp_seconds") == 1_000_000
    metrics.arrived()
    assert (value(metrics, "last_arrival_timestamp_seconds") or 0) > 1.7e9
    assert value(metrics, "last_success_timestamp_seconds") == 1_000_000


def test_how_long_the_oldest_has_waited_is_asked_at_each_scrape() -> None:
    metrics, waiting = Metrics(), [time.monotonic() - 60]
    metrics.waits(lambda: len(waiting), lambda: min(waiting, default=None))
    assert value(metrics, "waiting_files") == 1
    assert 60 <= (value(metrics, "oldest_waiting_seconds") or 0) < 120
    waiting.clear()
    assert (value(metrics, "waiting_files"), value(metrics, "oldest_waiting_seconds")) == (0, 0)


def test_what_was_changed_while_running_is_counted() -> None:
    metrics = Metrics()
    assert value(metrics, "last_reload_successful") == 1
    metrics.reloaded("refused")
    metrics.switched("taken")
    assert value(metrics, "last_reload_successful") == 0
    assert value(metrics, "reloads_total", outcome="refused") == 1
    assert value(metrics, "bundle_switches_total", outcome="taken") == 1
    metrics.reloaded("taken")
    assert value(metrics, "last_reload_successful") == 1


def test_what_a_candidate_made_of_radiographs() -> None:
    metrics = Metrics()
    metrics.shadowed("flipped", -0.3, 0.2)
    metrics.shadowed("only_active", spent_s=0.2)
    metrics.shadowed("skipped")
    for outcome, count in (("same", 0), ("flipped", 1), ("only_active", 1), ("only_candidate", 0), ("skipped", 1)):
        assert value(metrics, "shadow_studies_total", outcome=outcome) == count
    assert value(metrics, "shadow_score_difference_sum") == 0.3
    assert value(metrics, "shadow_score_difference_bucket", le="0.2") == 0
    assert value(metrics, "shadow_infer_seconds_count") == 2


def test_the_process_is_in_the_same_registry() -> None:
    names = {name for name, _ in read(Metrics())}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= names


def busy(bundle: Bundle) -> Metrics:
    """With every value of every label in use."""
    metrics = Metrics()
    metrics.started(bundle, ENGINE)
    metrics.pauses(lambda: {"disk_space": None, "folder_absent": "it is not there"})
    metrics.confined(())
    metrics.drifts([DriftLook(name, 0.1, 0.2) for name in NAMES], 200)
    for report in (scored(1), *(refused(2, reason) for reason in Reason)):
        metrics.finished(report, dict.fromkeys(STAGES, 0.1), 0.5)
    for passed in (True, False):
        metrics.known_answer(passed)
    for outcome in ("built", "failed", "refused"):
        metrics.engine_built(outcome)
    for outcome in CHANGES:
        metrics.reloaded(outcome)
        metrics.switched(outcome)
    for outcome in SHADOWS:
        metrics.shadowed(outcome, 0.1, 0.2)
    return metrics


def test_there_are_at_most_300_series(tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("metrics") / "tiny"))
    count = len(read(busy(bundle)))
    assert count == SERIES <= 300
    assert f"there are {SERIES} series" in (DOCS / "metrics.md").read_text(encoding="utf-8")


def test_what_a_rate_is_made_of_begins_at_0(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A counter that appears with its first event hides that event: increase() of one sample is 0."""
    bundle = read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("metrics") / "tiny"))
    rates = ("_total", "_bucket", "_count", "_sum")
    new, used = read(Metrics()), read(busy(bundle))
    assert {key for key in used if key[0].endswith(rates)} == {key for key in new if key[0].endswith(rates)}
    assert all(new[key] == 0 for key in new if key[0].endswith(rates) and key[0].startswith("edge_cxr_"))
