"""Prometheus metrics: names, labels and buckets. Handed in wherever they are counted, never global. docs/metrics.md."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

import edge
from edge.bundle import Bundle
from edge.drift import DriftLook
from edge.imaging.sandbox import Layer
from edge.values import EngineIdentity, Report

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGES = ("decode", "preprocess", "infer", "retrieve", "write")
_SCORE_STEPS = tuple(round(step * 0.05, 2) for step in range(1, 21))


class Metrics:
    """Everything that the box counts, in a registry of its own. Labels come from closed sets only."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._studies = Counter(
            "edge_cxr_studies",
            "Radiographs with a result, by status and reason",
            ["status", "reason"],
            registry=registry,
        )
        self._stage = Histogram(
            "edge_cxr_stage_duration_seconds",
            "Time a radiograph spent in a stage",
            ["stage"],
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._end_to_end = Histogram(
            "edge_cxr_end_to_end_seconds",
            "From a complete file taken up to its result written and recorded",
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._score = Histogram("edge_cxr_score", "COVID-19 scores given", buckets=_SCORE_STEPS, registry=registry)
        self.queue_depth = Gauge("edge_cxr_queue_depth", "Radiographs between two stages", ["queue"], registry=registry)
        self.last_success = Gauge(
            "edge_cxr_last_success_timestamp_seconds", "When a radiograph was last scored", registry=registry
        )
        self.ready = Gauge(
            "edge_cxr_ready", "1 when the known-answer test passed and radiographs are scored", registry=registry
        )
        self.disk_free = Gauge("edge_cxr_disk_free_bytes", "Free space where the state folder lies", registry=registry)
        self._paused = Gauge(
            "edge_cxr_intake_paused", "1 while nothing is taken, by what is in the way", ["reason"], registry=registry
        )
        self.unopenable_files = Gauge(
            "edge_cxr_unopenable_files",
            "Files of the incoming folder that could not be opened when they were last tried",
            registry=registry,
        )
        self.index_vectors = Gauge("edge_cxr_index_vectors", "Cases that can be found as similar", registry=registry)
        self.index_pending = Gauge(
            "edge_cxr_index_pending", "1 while earlier cases are missing from the index", registry=registry
        )
        self._backend = Gauge(
            "edge_cxr_backend_active", "1 for the engine in use", ["backend", "precision"], registry=registry
        )
        self._known_answer = Counter(
            "edge_cxr_known_answer_tests", "Known-answer tests, by outcome", ["outcome"], registry=registry
        )
        self.known_answer_last_pass = Gauge(
            "edge_cxr_known_answer_last_pass_timestamp_seconds",
            "When the engine in use last gave its known answers",
            registry=registry,
        )
        self._sandbox = Gauge(
            "edge_cxr_sandbox",
            "1 for each layer that confines the decode workers, 0 where the kernel lacks it",
            ["layer"],
            registry=registry,
        )
        self._workers_replaced = Counter(
            "edge_cxr_decode_workers_replaced", "Decode workers that a file undid", registry=registry
        )
        self._drift_score = Gauge(
            "edge_cxr_drift_score",
            "How far the last radiographs lie from the reference, 0 to 1",
            ["signal"],
            registry=registry,
        )
        self._drift_limit = Gauge(
            "edge_cxr_drift_limit", "What the drift score must not exceed", ["signal"], registry=registry
        )
        self._drift_alarm = Gauge(
            "edge_cxr_drift_alarm", "1 while the drift score exceeds its limit", ["signal"], registry=registry
        )
        self._drift_radiographs = Gauge(
            "edge_cxr_drift_radiographs", "Scored radiographs that drift is measured on", registry=registry
        )
        self.build_progress = Gauge(
            "edge_cxr_engine_build_progress_ratio",
            "How much of a TensorRT plan is built",
            registry=registry,
        )
        self._builds = Counter(
            "edge_cxr_engine_builds", "TensorRT plans built by the daemon, by outcome", ["outcome"], registry=registry
        )
        self._build = Gauge(
            "edge_cxr_build_info",
            "1; the program and the bundle",
            ["version", "bundle", "bundle_id"],
            registry=registry,
        )

    def started(self, bundle: Bundle, engine: EngineIdentity) -> None:
        """Name what runs."""
        self._build.labels(edge.__version__, bundle.manifest.name, bundle.id[:12]).set(1)
        self.serves(engine)

    def pauses(self, hindrances: Callable[[], Mapping[str, str | None]]) -> None:
        """hindrances: asked at each scrape; what is in the way, by reason."""
        for reason in hindrances():
            self._paused.labels(reason).set_function(partial(_is_hindered, hindrances, reason))

    def confined(self, missing: Collection[str]) -> None:
        """missing: layers of the decode workers' sandbox that this kernel lacks."""
        for layer in Layer:
            self._sandbox.labels(layer).set(layer not in missing)

    def worker_replaced(self) -> None:
        self._workers_replaced.inc()

    def drifts(self, looks: Iterable[DriftLook], radiographs: int) -> None:
        """radiographs: how many scored ones are in the window."""
        self._drift_radiographs.set(radiographs)
        for look in looks:
            self._drift_score.labels(look.signal).set(look.distance)
            self._drift_limit.labels(look.signal).set(look.limit)
            self._drift_alarm.labels(look.signal).set(look.alarm)

    def serves(self, engine: EngineIdentity) -> None:
        """Name the engine in use; there is one."""
        self._backend.clear()
        self._backend.labels(engine.backend, engine.precision).set(1)

    def engine_built(self, outcome: str) -> None:
        """built: it serves. failed: no plan. refused: its answers to the golden cases are wrong."""
        self._builds.labels(outcome).inc()

    def known_answer(self, passed: bool, *, serving: bool = True) -> None:
        """serving: whether radiographs wait for this engine; another may be serving meanwhile."""
        self._known_answer.labels("passed" if passed else "failed").inc()
        if serving:
            self.ready.set(1 if passed else 0)

    def finished(self, report: Report, end_to_end_s: float) -> None:
        """Count a result whose file is visible."""
        self._studies.labels("scored" if report.scored else "not_scored", report.reason or "none").inc()
        self._end_to_end.observe(end_to_end_s)
        for stage in STAGES:
            if stage in report.timings_s:
                self._stage.labels(stage).observe(report.timings_s[stage])
        if report.prediction is not None:
            self._score.observe(report.prediction.score)
            self.last_success.set_to_current_time()

    def wrote(self, spent_s: float) -> None:
        self._stage.labels("write").observe(spent_s)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


def _is_hindered(hindrances: Callable[[], Mapping[str, str | None]], reason: str) -> float:
    return float(hindrances()[reason] is not None)
