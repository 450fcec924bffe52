"""What the box counts, and when; Prometheus scrapes it. Handed in wherever something is counted, never global.

The families are in metric_families.py, their meanings in docs/metrics.md.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from prometheus_client import generate_latest

import edge
from edge.bundle import Bundle
from edge.drift import DriftLook
from edge.drift_signals import NAMES
from edge.imaging.sandbox import Layer
from edge.metric_families import NO_REASON, STAGES, MetricFamilies
from edge.values import EngineIdentity, Report


class Metrics(MetricFamilies):
    """Everything that the box counts."""

    def __init__(self) -> None:
        super().__init__()
        self.last_reload_successful.set(1)

    def resumes(self, newest_s: float, newest_scored_s: float) -> None:
        """When the newest case of the ledger was judged, and the newest scored one: a restart is no silence.

        Seconds of the epoch; 0 when there is none.
        """
        self.last_arrival.set(newest_s)
        self.last_success.set(newest_scored_s)

    def started(self, bundle: Bundle, engine: EngineIdentity) -> None:
        """Name what runs; there is one."""
        self.build.clear()
        self.build.labels(edge.__version__, bundle.manifest.name, bundle.id[:12]).set(1)
        self.serves(engine)

    def pauses(self, hindrances: Callable[[], Mapping[str, str | None]]) -> None:
        """hindrances: asked at each scrape; what is in the way, by reason."""
        for reason in hindrances():
            self.paused.labels(reason).set_function(partial(_is_hindered, hindrances, reason))

    def waits(self, files: Callable[[], int], since_s: Callable[[], float | None]) -> None:
        """files: how many have no result yet. since_s: when the first of the complete ones was (monotonic clock)."""
        self.waiting_files.set_function(files)
        self.oldest_waiting.set_function(partial(_elapsed_s, since_s))

    def arrived(self) -> None:
        """A new radiograph was taken."""
        self.last_arrival.set_to_current_time()

    def was_quarantined(self) -> None:
        self.quarantined.inc()

    def confined(self, missing: Collection[str]) -> None:
        """missing: layers of the decode workers' sandbox that this kernel lacks."""
        for layer in Layer:
            self.sandbox.labels(layer).set(layer not in missing)

    def worker_replaced(self) -> None:
        self.workers_replaced.inc()

    def drifts(self, looks: Iterable[DriftLook], radiographs: int) -> None:
        """radiographs: how many scored ones are in the window. A signal without a look has no metric: another bundle's
        alarm does not outlive it.
        """
        self.drift_radiographs.set(radiographs)
        by_signal = {look.signal: look for look in looks}
        for name in NAMES:
            if name not in by_signal:
                for family in (self.drift_score, self.drift_limit, self.drift_alarm):
                    family.remove(name)
        for look in by_signal.values():
            self.drift_score.labels(look.signal).set(look.distance)
            self.drift_limit.labels(look.signal).set(look.limit)
            self.drift_alarm.labels(look.signal).set(look.alarm)

    def serves(self, engine: EngineIdentity) -> None:
        """Name the engine in use; there is one."""
        self.backend.clear()
        self.backend.labels(engine.backend, engine.precision).set(1)

    def engine_built(self, outcome: str) -> None:
        """built: it serves. failed: no plan. refused: its answers to the golden cases are wrong."""
        self.builds.labels(outcome).inc()

    def known_answer(self, passed: bool, *, serving: bool = True) -> None:
        """serving: whether radiographs wait for this engine; another may be serving meanwhile."""
        self.known_answers.labels("passed" if passed else "failed").inc()
        if serving:
            self.ready.set(1 if passed else 0)

    def finished(self, report: Report, spent_s: Mapping[str, float], end_to_end_s: float) -> None:
        """Count a result whose file is visible. spent_s: by stage, for the stages that it went through."""
        self.studies.labels("scored" if report.scored else "not_scored", report.reason or NO_REASON).inc()
        self.end_to_end.observe(end_to_end_s)
        for stage in STAGES:
            if stage in spent_s:
                self.stage.labels(stage).observe(spent_s[stage])
        if report.prediction is not None:
            self.score.observe(report.prediction.score)
            self.last_success.set_to_current_time()

    def reloaded(self, outcome: str) -> None:
        """taken: another configuration is in use. refused: the former goes on."""
        self.reloads.labels(outcome).inc()
        self.last_reload_successful.set(outcome == "taken")

    def switched(self, outcome: str) -> None:
        """taken: the bundle that was activated is in use. refused: the former goes on."""
        self.bundle_switches.labels(outcome).inc()

    def shadowed(self, outcome: str, difference: float | None = None, spent_s: float | None = None) -> None:
        """A candidate bundle has scored a radiograph silently, or not come to it.

        outcome: same or flipped where both gave a score; only_active, only_candidate; skipped for want of time.
        difference: between both scores, where both gave one. spent_s: by the candidate's engine, where it answered.
        """
        self.shadow_studies.labels(outcome).inc()
        if difference is not None:
            self.shadow_difference.observe(abs(difference))
        if spent_s is not None:
            self.shadow_infer.observe(spent_s)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


def _is_hindered(hindrances: Callable[[], Mapping[str, str | None]], reason: str) -> float:
    return float(hindrances()[reason] is not None)


def _elapsed_s(since_s: Callable[[], float | None]) -> float:
    since = since_s()
    return 0.0 if since is None else max(0.0, time.monotonic() - since)
