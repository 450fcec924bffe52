"""Every metric family with its name, meaning, labels and buckets. What is counted when is in metrics.py.

Labels come from closed sets, and each of their values is there from the start where a rate is made of it: a counter
that appears with its first event hides that event from Prometheus.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.process_collector import ProcessCollector

from edge.values import Reason

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGES = ("wait", "decode", "preprocess", "infer", "retrieve", "write")
NO_REASON = "none"  # of what was scored
CHANGES = ("taken", "refused")  # of another configuration or bundle
SHADOWS = ("same", "flipped", "only_active", "only_candidate", "skipped")
_SCORE_STEPS = tuple(round(step * 0.05, 2) for step in range(1, 21))
_DIFFERENCE_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
Family = TypeVar("Family", Counter, Gauge, Histogram)


class _Registry(CollectorRegistry):
    """Without the time at which each series began: it would double the series of every counter."""

    def collect(self) -> Iterator[Metric]:
        for family in super().collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


class MetricFamilies:
    """All of them, in a registry of its own, with what the process itself takes (`process_*`)."""

    def __init__(self) -> None:
        self.registry = _Registry()
        ProcessCollector(registry=self.registry)
        self._of_radiographs()
        self._of_the_intake()
        self._of_the_ledger()
        self._of_the_engine()
        self._of_trust()
        self._of_changes()
        self._of_the_shadow()

    def _of_radiographs(self) -> None:
        self.studies = self._counter(
            "studies", "Radiographs with a result, by status and reason", status=(), reason=()
        )  # by pairs: what is scored has no reason
        for status, reason in (("scored", NO_REASON), *(("not_scored", str(reason)) for reason in Reason)):
            self.studies.labels(status, reason)
        self.stage = self._histogram("stage_duration_seconds", "Time a radiograph spent in a stage", stage=STAGES)
        self.end_to_end = self._histogram(
            "end_to_end_seconds", "From a file found complete to its result visible and recorded"
        )
        self.score = self._histogram("score", "COVID-19 scores given", steps=_SCORE_STEPS)
        self.quarantined = self._counter("quarantined", "Inputs put into quarantine")
        self.last_success = self._gauge("last_success_timestamp_seconds", "When a radiograph was last scored")

    def _of_the_intake(self) -> None:
        self.waiting_files = self._gauge("waiting_files", "Files seen that have no result yet")
        self.oldest_waiting = self._gauge(
            "oldest_waiting_seconds", "How long the first of the complete files that wait has been complete"
        )
        self.last_arrival = self._gauge("last_arrival_timestamp_seconds", "When a new radiograph was last taken")
        self.queue_depth = self._gauge(
            "queue_depth", "Radiographs between two stages", queue=("decode", "score", "write")
        )
        self.paused = self._gauge(
            "intake_paused",
            "1 while nothing is taken, by what is in the way",
            reason=("disk_space", "folder_absent"),
        )
        self.unopenable_files = self._gauge(
            "unopenable_files", "Files of the incoming folder that could not be opened when they were last tried"
        )
        self.disk_free = self._gauge("disk_free_bytes", "Free space where the state folder lies")
        self.disk_reserve = self._gauge("disk_reserve_bytes", "Free space that must stay: with less nothing is taken")

    def _of_the_ledger(self) -> None:
        self.ledger_bytes = self._gauge("ledger_bytes", "Size of the ledger on the disk, with its log")
        self.ledger_cases = self._gauge("ledger_cases", "Results in the ledger, one for each file and bundle")
        self.cases_of_other_bundles = self._gauge(
            "cases_of_other_bundles", "Scored cases that only another bundle judged, which no search of this one finds"
        )
        self.index_vectors = self._gauge("index_vectors", "Cases that can be found as similar")
        self.index_pending = self._gauge("index_pending", "1 while earlier cases are missing from the index")

    def _of_the_engine(self) -> None:
        self.ready = self._gauge("ready", "1 when the known-answer test passed and radiographs are scored")
        self.backend = self._gauge("backend_active", "1 for the engine in use", backend=(), precision=())
        self.gpu_expected = self._gauge("gpu_expected", "1 where a GPU was asked for, or this machine has one")
        self.build_progress = self._gauge("engine_build_progress_ratio", "How much of a TensorRT plan is built")
        self.builds = self._counter(
            "engine_builds",
            "TensorRT plans built by the daemon, by outcome",
            outcome=("built", "failed", "refused"),
        )
        self.known_answers = self._counter(
            "known_answer_tests", "Known-answer tests, by outcome", outcome=("passed", "failed")
        )
        self.known_answer_last_pass = self._gauge(
            "known_answer_last_pass_timestamp_seconds", "When the engine in use last gave its known answers"
        )
        self.build = self._gauge("build_info", "1; the program and the bundle", version=(), bundle=(), bundle_id=())

    def _of_trust(self) -> None:
        self.sandbox = self._gauge(
            "sandbox", "1 for each layer that confines the decode workers, 0 where the kernel lacks it", layer=()
        )
        self.workers_replaced = self._counter("decode_workers_replaced", "Decode workers that a file undid")
        self.drift_score = self._gauge(
            "drift_score", "How far the last radiographs lie from the reference, 0 to 1", signal=()
        )
        self.drift_limit = self._gauge("drift_limit", "What the drift score must not exceed", signal=())
        self.drift_alarm = self._gauge("drift_alarm", "1 while the drift score exceeds its limit", signal=())
        self.drift_radiographs = self._gauge("drift_radiographs", "Scored radiographs that drift is measured on")

    def _of_changes(self) -> None:
        self.reloads = self._counter("reloads", "Configurations read again, by outcome", outcome=CHANGES)
        self.last_reload_successful = self._gauge(
            "last_reload_successful", "1 unless the configuration read last was refused"
        )
        self.bundle_switches = self._counter(
            "bundle_switches", "Bundles activated while the daemon ran, by outcome", outcome=CHANGES
        )

    def _of_the_shadow(self) -> None:
        self.shadow_studies = self._counter(
            "shadow_studies",
            "Radiographs that a candidate bundle scored too, by outcome",
            outcome=SHADOWS,
        )
        self.shadow_difference = self._histogram(
            "shadow_score_difference", "Between both bundles' scores, absolute", steps=_DIFFERENCE_STEPS
        )
        self.shadow_infer = self._histogram("shadow_infer_seconds", "Time that the candidate's engine took")

    def _gauge(self, name: str, meaning: str, **labels: Sequence[str]) -> Gauge:
        """labels: their values; without any the family has only what is set later."""
        return _with_values(Gauge(f"edge_cxr_{name}", meaning, labels, registry=self.registry), labels)

    def _counter(self, name: str, meaning: str, **labels: Sequence[str]) -> Counter:
        """name: without `_total`."""
        return _with_values(Counter(f"edge_cxr_{name}", meaning, labels, registry=self.registry), labels)

    def _histogram(
        self, name: str, meaning: str, *, steps: Sequence[float] = BUCKETS_S, **labels: Sequence[str]
    ) -> Histogram:
        made = Histogram(f"edge_cxr_{name}", meaning, labels, buckets=steps, registry=self.registry)
        return _with_values(made, labels)


def _with_values(family: Family, labels: Mapping[str, Sequence[str]]) -> Family:
    if labels:
        for values in itertools.product(*labels.values()):
            family.labels(*values)
    return family
