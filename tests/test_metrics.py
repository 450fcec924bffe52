"""What the box counts, as Prometheus reads it."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from reports import ENGINE, gated, refused, scored
from tiny_bundle import write_tiny_bundle

import edge
from edge.bundle import read_bundle
from edge.drift import DriftLook
from edge.metrics import Metrics
from edge.values import Reason


def read(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(sample.name, frozenset(sample.labels.items())): sample.value for one in families for sample in one.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return read(metrics).get((f"edge_cxr_{name}", frozenset(labels.items())))


def test_results_are_counted_by_status_and_reason() -> None:
    metrics = Metrics()
    for report in (scored(1), scored(2), refused(3), refused(4, Reason.CONFLICT), gated(5)):
        metrics.finished(report, 0.2)
    assert value(metrics, "studies_total", status="scored", reason="none") == 2
    for reason in ("truncated", "conflict", "no_lungs"):
        assert value(metrics, "studies_total", status="not_scored", reason=reason) == 1
    assert value(metrics, "end_to_end_seconds_count") == 5
    assert value(metrics, "end_to_end_seconds_bucket", le="0.25") == 5
    assert value(metrics, "end_to_end_seconds_bucket", le="0.1") == 0


def test_only_scores_given_are_in_the_score_histogram() -> None:
    metrics = Metrics()
    metrics.finished(refused(1), 0.1)
    metrics.finished(gated(2), 0.1)
    assert value(metrics, "score_count") == 0
    assert value(metrics, "last_success_timestamp_seconds") == 0
    metrics.finished(scored(3, score=0.72), 0.1)
    assert (value(metrics, "score_count"), value(metrics, "score_sum")) == (1, 0.72)
    assert (value(metrics, "score_bucket", le="0.7"), value(metrics, "score_bucket", le="0.75")) == (0, 1)
    assert (value(metrics, "last_success_timestamp_seconds") or 0) > 1.7e9


def test_stages_are_observed_once_each() -> None:
    metrics = Metrics()
    metrics.finished(scored(1), 0.1)  # decode and total
    metrics.wrote(0.004)
    assert value(metrics, "stage_duration_seconds_sum", stage="decode") == 0.25
    assert value(metrics, "stage_duration_seconds_count", stage="write") == 1
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
    one.finished(scored(1), 0.1)
    assert value(other, "end_to_end_seconds_count") == 0
