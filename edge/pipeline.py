"""One radiograph from file to report: the whole flow on one screen.

Path -> snapshot -> [decode worker: Radiograph -> ModelInput] -> Prediction -> gates and neighbours -> Report.
The daemon calls the steps from its stages; `Pipeline.report` runs them one after the other.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from edge import quality
from edge.bundle import Bundle
from edge.engines import Engine, predict
from edge.errors import NotFinite, RadiographError, TooLarge
from edge.imaging.decode_pool import Decodes
from edge.known_answer import known_answers
from edge.similarity import SimilarCases, disagree, knn_label_share, knn_score
from edge.site_calibration import SiteCalibration, decide
from edge.snapshot import MAX_FILE_BYTES, Snapshot, snapshot
from edge.temperature import rescaled
from edge.values import Decoded, Prediction, Reason, Report, Source, Warn

_NO_ANSWER = "the network gives no number for it, while all golden cases have their answers; read it without the box"


@dataclass(frozen=True)
class Answer:
    """infer_s: what its whole batch took."""

    prediction: Prediction
    infer_s: float


class Pipeline:
    """The steps of scoring with one bundle and one engine. same_patient: neighbours may be of the same patient."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        decoder: Decodes,
        similar: SimilarCases,
        *,
        k: int = 4,
        same_patient: bool = True,
        site: SiteCalibration | None = None,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.decoder = decoder
        self.similar = similar
        self.k = k
        self.same_patient = same_patient
        self.site = site

    @cached_property
    def gate(self) -> quality.Gate:
        return quality.Gate.of(self.bundle)

    def report(self, path: Path) -> Report:
        """The report of one file.

        Raises FileNotFoundError, Unopenable, and EngineError when the engine fails.
        """
        with snapshot(path) as frozen:
            try:
                decoded = self.decode(frozen)
            except RadiographError as refusal:
                return self.refuse(frozen.sha256, frozen.format, refusal)
            return self.score(decoded)

    def decode(self, frozen: Snapshot) -> Decoded:
        """Raises the RadiographError that the file earned."""
        if frozen.size_bytes > MAX_FILE_BYTES:
            raise TooLarge(f"the file has {frozen.size_bytes} bytes; at most {MAX_FILE_BYTES} are read")
        return self.decoder.decode(frozen)

    def ask(self, those: Sequence[Decoded]) -> list[Answer]:
        """The engine's answers to one batch, in order. Raises EngineError; NotFinite where one has no number."""
        started = time.perf_counter()
        predictions = predict(self.engine, [decoded.model_input for decoded in those])
        infer_s = time.perf_counter() - started
        return [Answer(prediction, infer_s) for prediction in predictions]

    def score(self, decoded: Decoded, answer: Answer | None = None) -> Report:
        """Engine, gates, neighbours: a report that carries a score only when every gate lets it.

        answer: what `ask` gave for it; None: the engine is asked.
        """
        try:
            answer = answer or self.ask([decoded])[0]
        except NotFinite:
            return self._without_answer(decoded.source)
        prediction, inferred = answer.prediction, time.perf_counter()
        report = self._judged(decoded, prediction)
        if report.scored:
            report = self._with_neighbours(report, prediction, decoded.source.patient_key)
        timings_s = {**decoded.timings_s, "infer": answer.infer_s, "retrieve": time.perf_counter() - inferred}
        return replace(report, timings_s={**timings_s, "total": sum(timings_s.values())})

    def _without_answer(self, source: Source) -> Report:
        """A radiograph must not stop the box at each start: where the engine still knows its golden cases, it is this
        one's fault. Raises KnownAnswerFailed where it does not.
        """
        known_answers(self.bundle, self.engine, self.decoder)
        return self.refuse_source(source, Reason.UNLIKE_REFERENCE, _NO_ANSWER)

    def _with_neighbours(self, report: Report, prediction: Prediction, patient_key: str | None) -> Report:
        self.similar.catch_up()
        # Asked before the search: an index that is made whole meanwhile may have been searched in part.
        warnings = (*report.warnings, Warn.NEIGHBOURS_PENDING) if self.similar.pending else report.warnings
        not_of = None if self.same_patient else patient_key
        neighbours = self.similar.nearest(prediction.embedding, self.k, without=report.case_id, not_of=not_of)
        labels = self.bundle.manifest.labels
        # The point that judged it, on the bundle's own scale, as are the neighbours' scores and this prediction's.
        point = report.operating_point
        if point is not None:
            temperature = self.bundle.manifest.temperatures.get(prediction.engine.precision)
            point = rescaled(point, of=report.decision.temperature, to=temperature)
        if disagree(prediction.score, neighbours, labels, point):
            warnings = (*warnings, Warn.NEIGHBOURS_DISAGREE)
        share = knn_label_share(neighbours, labels)
        mean = knn_score(neighbours)
        return replace(report, neighbours=neighbours, knn_score=mean, knn_label_share=share, warnings=warnings)

    def _judged(self, decoded: Decoded, prediction: Prediction) -> Report:
        findings = quality.assess(decoded, prediction, self.gate)
        fraction = next(finding.value for finding in findings if finding.check == "lung_fraction")
        for finding in findings:
            if finding.reason is not None:
                detail = quality.DETAILS[finding.reason]
                refused = self.refuse_source(decoded.source, finding.reason, detail)
                return replace(refused, engine=prediction.engine, lung_fraction=fraction, findings=findings)
        warnings = tuple(finding.warning for finding in findings if finding.warning is not None)
        prediction, positive, decision = decide(prediction, self.bundle.manifest, self.site)
        return Report(
            sha256=decoded.source.sha256,
            format=decoded.source.format,
            bundle_id=self.bundle.id,
            source=decoded.source,
            engine=prediction.engine,
            warnings=quality.source_warnings(decoded.source) + warnings,
            prediction=prediction,
            positive=positive,
            operating_point=decision.operating_point,
            decision=decision,
            findings=findings,
            lung_fraction=fraction,
        )

    def refuse(self, sha256: str, format: str | None, refusal: RadiographError) -> Report:
        """The report of a file that could not be read: why, and what to do."""
        return Report(sha256, format, self.bundle.id, None, self.engine.identity, refusal.reason, str(refusal))

    def refuse_source(self, source: Source, reason: Reason, detail: str) -> Report:
        """The report of a radiograph that was read and must not be scored. It carries no number."""
        return Report(source.sha256, source.format, self.bundle.id, source, self.engine.identity, reason, detail)
