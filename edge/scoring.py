"""One bundle and one configuration in service, from the engine's first known answers until it is told to end.

main thread:  inbox -> Take -> [queue] -> threads: Decode -> [queue] -> thread: Score -> [queue] -> thread: Write
A GPU without a plan: the CPU scores, and one more thread has the plan built and then changes engines. Another runs the
known-answer test again and again, one removes what has been kept long enough, and one may score with a candidate
(shadow.py). Owned by daemon.py.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from edge.beside import beside
from edge.box import Box
from edge.building import PlanBuild
from edge.case_index import EarlierCases
from edge.changes import Wanted
from edge.drift_watch import DriftWatch
from edge.engines import Engine
from edge.errors import Stopped
from edge.gpu_presence import gpu_expected
from edge.heartbeat import Beating
from edge.imaging.decode_pool import DecodePool
from edge.intake import Intake
from edge.known_answer import KnownAnswerFailed
from edge.ledger_reader import LedgerReader
from edge.pipeline import Pipeline
from edge.reembed import reembed_when_idle
from edge.retention import retain_regularly
from edge.score_line import ScoreLine, Step, Together
from edge.scrape import ledger_measured
from edge.shadow import Shadow
from edge.similarity import SimilarCases
from edge.site_calibration import CalibrationStore
from edge.stages import Taken
from edge.turns import Turns

_TIDY_EACH_S = 3600.0
_DECODE_GRACE_S = 5.0
_Meanwhile = AbstractContextManager[None]


class Scoring:
    """`run` returns when it was told to stop or to finish, or when a single run has done all.

    on_proved: called once the engine has given its known answers, before radiographs are taken. room: tells when it
    last gave them.
    """

    def __init__(self, box: Box, wanted: Wanted, *, on_proved: Callable[[], None]) -> None:
        self._box, self._config, self._bundle = box, wanted.config, wanted.bundle
        self._on_proved = on_proved
        self._metrics, self._standing, self._logger = box.metrics, box.standing, box.logger
        self._stop = threading.Event()  # what is taken and not scored is left
        self._over = threading.Event()  # nothing more is taken
        self._scoring = Turns()  # taken while an engine answers: engines change between two radiographs
        self._fault: BaseException | None = None
        self.room = box.open_room(
            wanted.config, wanted.bundle, box.state, metrics=box.metrics, logger=box.logger, gpu=box.gpu
        )

    def stop(self) -> None:
        """Finish the radiograph in hand and leave the rest: it is still in the folder."""
        self._stop.set()
        self._over.set()

    def finish(self) -> None:
        """Take nothing more, and finish all that was taken."""
        self._over.set()

    def run(self) -> None:
        """Raises the EdgeError that stopped it."""
        box, config, bundle, room = self._box, self._config, self._bundle, self.room
        intake = Intake(config, box.incoming, box.state, box.ledger, once=box.once, logger=self._logger)
        self._standing.hindrances = intake.hindrances
        self._metrics.pauses(intake.hindrances)
        with contextlib.ExitStack() as opened:
            box.metrics.gpu_expected.set(gpu_expected(config.backend))
            opened.enter_context(
                ledger_measured(box.metrics, box.state, bundle.id, searched=config.include_earlier_cases)
            )
            decoders = opened.enter_context(room.decode_pool())
            self._start(decoders)
            earlier = opened.enter_context(self._indexing()) if config.include_earlier_cases else None
            similar = SimilarCases.of_bundle(bundle, earlier)
            self._metrics.index_vectors.set_function(lambda: len(similar))
            self._metrics.index_pending.set_function(lambda: float(similar.pending))
            site = CalibrationStore(box.state.root, site_key=box.state.site_key).find(bundle)
            first = room.first(decoders)
            pipeline = Pipeline(
                bundle, first, decoders, similar, k=config.neighbours, same_patient=config.same_patient, site=site
            )
            self._standing.tell_untried(pipeline.site, pipeline.engine)
            opened.callback(lambda: pipeline.engine.close())  # noqa: PLW0108 - whichever engine is in use by then
            if room.plan_missing and not box.once:
                opened.enter_context(self._building(pipeline))
            lend = partial(self._lent, pipeline)
            opened.enter_context(self._meanwhile("proof", partial(room.keep_proving, lend, decoders)))
            if not box.once:
                opened.enter_context(self._tidying())
            opened.enter_context(
                self._standing.audited(
                    box.ledger,
                    bundle,
                    config,
                    pipeline.engine,
                    ends_with="done" if box.once else "asked",
                    passed_s=lambda: room.passed_s,
                )
            )
            drift = opened.enter_context(DriftWatch(bundle, box.state, self._metrics, self._logger))
            self._standing.serves(bundle, pipeline.engine)
            self._on_proved()
            self._work(pipeline, intake, drift, decoders)

    def _start(self, decoders: DecodePool) -> None:
        """Raises StateError when no worker starts, or none is confined as required."""
        decoders.start()
        self._metrics.confined(decoders.missing)
        self._standing.lacks(decoders.missing)

    def _meanwhile(self, name: str, work: Callable[[threading.Event], None]) -> _Meanwhile:
        return beside(name, work, self.fail)

    @contextlib.contextmanager
    def _lent(self, pipeline: Pipeline) -> Iterator[Engine]:
        """The engine in use, for one known answer. After a wrong one no radiograph has it any more."""
        with self._scoring:
            try:
                yield pipeline.engine
            except KnownAnswerFailed as fault:
                self.fail(fault)
                raise

    def _tidying(self) -> _Meanwhile:
        note = self._box.ledger.note_retained
        settings: dict[str, Any] = {"logger": self._logger, "each_s": _TIDY_EACH_S, "note": note}
        return self._meanwhile("tidy", partial(retain_regularly, self._box.state, self._config, **settings))

    def _reembedding(self, is_idle: Callable[[], bool]) -> _Meanwhile:
        if self._box.once or not self._config.reembed:
            return contextlib.nullcontext()
        again = partial(reembed_when_idle, self._box.state, self._bundle.id, is_idle=is_idle, warn=self._logger.warning)
        return self._meanwhile("reembed", again)

    @contextlib.contextmanager
    def _indexing(self) -> Iterator[EarlierCases]:
        """The earlier cases; a thread completes and saves their index, by a connection that keeps no writer waiting."""
        state, warn = self._box.state, self._logger.warning
        with LedgerReader(state.ledger) as reader:
            size = self._bundle.reference().embeddings.shape[1]
            earlier = EarlierCases.open(state.index, reader, self._bundle.id, size=size, warn=warn)
            with self._meanwhile("index", lambda over: earlier.keep(over, warn=warn)):
                yield earlier

    @contextlib.contextmanager
    def _building(self, pipeline: Pipeline) -> Iterator[None]:
        """Meanwhile a thread waits for the GPU's plan, and then changes engines."""
        build = self.room.plan_build()
        with self._meanwhile("build", lambda over: self._change_engine(build, pipeline)):
            try:
                yield
            finally:
                build.stop()

    def _change_engine(self, build: PlanBuild, pipeline: Pipeline) -> None:
        engine = self.room.built(build, pipeline.decoder)
        if engine is not None:
            with self._scoring:
                before, pipeline.engine = pipeline.engine, engine
            before.close()
            if self._fault is None:
                self.room.took_over(engine)
                self._standing.serves(self._bundle, engine)
            self._standing.tell_untried(pipeline.site, pipeline.engine)

    def _work(self, pipeline: Pipeline, intake: Intake, drift: DriftWatch, decoders: DecodePool) -> None:
        over = Beating(self._over, self._box.heartbeat)
        shadow = Shadow(self._box, self._config, self._bundle)
        box = replace(self._box, on_report=shadow.after(self._box.on_report))
        stages = ScoreLine(box, self._config, pipeline, intake, is_over=over.is_set)
        line = stages.line(
            threads=decoders.threads,
            unless_stopped=self._unless_stopped,
            around_decode=shadow.around,
            around_score=lambda score: drift.around(self._scored(score)),
            around_ask=self._asked,
            on_fault=self.fail,
            is_faulty=lambda: self._fault is not None,
        )
        self._box.heartbeat.stalled_s = line.stalled_s
        line.start()
        idle = self._reembedding(lambda: not stages.in_flight and not any(intake.hindrances().values()))
        with idle, shadow.beside(lambda: not stages.in_flight):
            try:
                for sighting in intake.sightings(over):
                    taken = stages.take(sighting)
                    if taken is not None and not line.put(taken, is_over=over.is_set):
                        break
            except BaseException as fault:
                self.fail(fault)
        line.finish(self._patience(decoders))
        if self._fault is not None:
            raise self._fault
        if self._box.once and self._stop.is_set():
            raise Stopped("stopped before every radiograph had its result; the rest is in the folder: run it again")
        if self._box.once:
            intake.check_all_read(stages.take.unopened)

    def _patience(self, decoders: DecodePool) -> Callable[[], None]:
        """What the main thread does while it waits for the end: after a stop, files that will not decode are left."""
        since_s = time.monotonic()

        def wait() -> None:
            self._box.heartbeat.beat()
            if self._stop.is_set() and time.monotonic() - since_s > _DECODE_GRACE_S:
                decoders.give_up()

        return wait

    def _unless_stopped(self, step: Step) -> Step:
        """After a stop, what is taken and has no answer yet is left: it is still in the folder."""

        def guarded(taken: Taken) -> Taken | None:
            if taken.answer is not None or not self._stop.is_set():
                with contextlib.suppress(Stopped):
                    return step(taken)
            taken.close()
            return None

        return guarded

    def _scored(self, score: Step) -> Step:
        def step(taken: Taken) -> Taken | None:
            with self._scoring:
                return None if self._fault is not None else score(taken)

        return step

    def _asked(self, ask: Together) -> Together:
        def together(those: Sequence[Taken]) -> Sequence[Taken]:
            with self._scoring:
                return those if self._fault is not None or self._stop.is_set() else ask(those)

        return together

    def fail(self, fault: BaseException) -> None:
        """After a wrong known answer nothing more is scored or written, and what is under way stays in the folder."""
        if isinstance(fault, Stopped) and self._stop.is_set():
            return  # a golden case that was being decoded
        if self._fault is None:
            self._fault = fault
        if isinstance(self._fault, KnownAnswerFailed):
            self._standing.out_of_service(self._fault)
            self._metrics.ready.set(0)
            self._over.set()
        else:
            self.stop()
