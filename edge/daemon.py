"""Wires the parts and runs them: the only owner of threads, signals and the stop event.

main thread:  inbox -> Take -> [queue] -> threads: Decode -> [queue] -> thread: Score -> [queue] -> thread: Write
A GPU without a plan: the CPU scores, and one more thread has the plan built and then changes engines. Another runs the
known-answer test again and again, and one removes what has been kept long enough.
A radiograph's fault ends as its result. After a wrong known answer nothing more is scored, and the daemon stays to say
so; any other fault stops it, and systemd starts it anew.
"""

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from edge.beside import beside, serving, signals
from edge.building import PlanBuild
from edge.bundle import Bundle, open_bundle
from edge.case_index import EarlierCases
from edge.config import Config
from edge.drift_watch import DriftWatch
from edge.engine_room import EngineRoom, GpuRoute
from edge.engines import Engine
from edge.errors import Stopped
from edge.http import Health
from edge.imaging.decode_pool import DecodePool
from edge.intake import Intake, check_folders
from edge.known_answer import KnownAnswerFailed
from edge.ledger_reader import LedgerReader
from edge.line import Line, Stage
from edge.metrics import Metrics
from edge.pipeline import Pipeline
from edge.reembed import reembed_when_idle
from edge.retention import retain_regularly
from edge.similarity import SimilarCases
from edge.site_calibration import CalibrationStore
from edge.stages import Decode, PutAway, Score, Take, Taken, Write, log_report
from edge.standing import Standing
from edge.state import StateFolder, lock_state, open_state
from edge.store import Ledger
from edge.turns import Turns
from edge.values import Report, Sighting

_TIDY_EACH_S = 3600.0
_GPU = GpuRoute()
_Meanwhile = AbstractContextManager[None]


class Daemon:
    """Scores what reaches a folder. `run` returns when it was stopped, or with `once` when all is done."""

    def __init__(
        self,
        config: Config,
        incoming: Path,
        *,
        once: bool,
        logger: logging.Logger,
        on_report: Callable[[Sighting, Report], None] = lambda sighting, report: None,
        gpu: GpuRoute = _GPU,
        open_room: Callable[..., EngineRoom] = EngineRoom,
    ) -> None:
        self._config, self._incoming, self._once = config, incoming, once
        self._logger, self._on_report, self._gpu, self._open_room = logger, on_report, gpu, open_room
        self._stop = threading.Event()  # the process is to end
        self._over = threading.Event()  # nothing more is taken
        self._scoring = Turns()  # taken while an engine answers: engines change between two radiographs
        self._fault: BaseException | None = None
        self._standing = Standing(logger)
        self._metrics = Metrics()

    def stop(self) -> None:
        """Finish the radiograph in hand and leave the rest: it is still in the folder."""
        self._standing.not_ready = "stopping"
        self._over.set()
        self._stop.set()

    def run(self) -> None:
        """Raises the EdgeError that stopped it."""
        bundle = open_bundle(self._config.bundle, trusted_keys=self._config.trusted_keys)
        check_folders(Path(self._config.state), self._incoming)
        with contextlib.ExitStack() as opened:
            state = open_state(Path(self._config.state))
            opened.callback(os.close, lock_state(state))
            ledger = opened.enter_context(Ledger(state.ledger, site_key=state.site_key))
            intake = Intake(self._config, self._incoming, state, ledger, once=self._once, logger=self._logger)
            self._standing.hindrances = intake.hindrances
            self._metrics.pauses(intake.hindrances)
            opened.enter_context(serving(self._config.listen, self._metrics.exposition, self._health))
            opened.enter_context(signals(self.stop))
            room = self._open_room(
                self._config, bundle, state, metrics=self._metrics, logger=self._logger, gpu=self._gpu
            )
            try:
                self._score(room, bundle, state, ledger, intake)
            except KnownAnswerFailed as fault:
                self._fail(fault)
                self._standing.tell_withdrawn(fault, room.passed_s)
                if not self._once:
                    self._stop.wait()  # meanwhile /readyz and /metrics tell of it
                raise

    def _score(self, room: EngineRoom, bundle: Bundle, state: StateFolder, ledger: Ledger, intake: Intake) -> None:
        with contextlib.ExitStack() as opened:
            decoders = opened.enter_context(room.decode_pool())
            self._start(decoders)
            earlier = (
                opened.enter_context(self._indexing(bundle, state)) if self._config.include_earlier_cases else None
            )
            similar = SimilarCases.of_bundle(bundle, earlier)
            self._metrics.index_vectors.set_function(lambda: len(similar))
            self._metrics.index_pending.set_function(lambda: float(similar.pending))
            site = CalibrationStore(state.root, site_key=state.site_key).find(bundle)
            k, same_patient = self._config.neighbours, self._config.same_patient
            first = room.first(decoders)
            pipeline = Pipeline(bundle, first, decoders, similar, k=k, same_patient=same_patient, site=site)
            self._standing.tell_untried(pipeline.site, pipeline.engine)
            opened.callback(lambda: pipeline.engine.close())  # noqa: PLW0108 - whichever engine is in use by then
            if room.plan_missing and not self._once:
                opened.enter_context(self._building(room, pipeline))
            opened.enter_context(
                self._meanwhile("proof", partial(room.keep_proving, partial(self._lent, pipeline), decoders))
            )
            if not self._once:
                opened.enter_context(self._tidying(state, ledger))
            with self._standing.audited(
                ledger,
                bundle,
                self._config,
                pipeline.engine,
                ends_with="done" if self._once else "asked",
                passed_s=lambda: room.passed_s,
            ):
                drift = opened.enter_context(DriftWatch(bundle, state, self._metrics, self._logger))
                self._standing.not_ready = None
                self._work(pipeline, ledger, state, intake, drift, threads=decoders.threads)

    def _health(self) -> Health:
        return self._standing.health(alive=not self._stop.is_set())

    def _start(self, decoders: DecodePool) -> None:
        """Raises StateError when no worker starts, or none is confined as required."""
        decoders.start()
        self._metrics.confined(decoders.missing)
        self._standing.lacks(decoders.missing)

    def _meanwhile(self, name: str, work: Callable[[threading.Event], None]) -> _Meanwhile:
        return beside(name, work, self._fail)

    @contextlib.contextmanager
    def _lent(self, pipeline: Pipeline) -> Iterator[Engine]:
        """The engine in use, for one known answer. After a wrong one no radiograph has it any more."""
        with self._scoring:
            try:
                yield pipeline.engine
            except KnownAnswerFailed as fault:
                self._fail(fault)
                raise

    def _tidying(self, state: StateFolder, ledger: Ledger) -> _Meanwhile:
        settings: dict[str, Any] = {"logger": self._logger, "each_s": _TIDY_EACH_S, "note": ledger.note_retained}
        return self._meanwhile("tidy", partial(retain_regularly, state, self._config, **settings))

    def _reembedding(self, pipeline: Pipeline, state: StateFolder, is_idle: Callable[[], bool]) -> _Meanwhile:
        if self._once or not self._config.reembed:
            return contextlib.nullcontext()
        return self._meanwhile("reembed", partial(reembed_when_idle, state, pipeline.bundle.id, is_idle=is_idle))

    @contextlib.contextmanager
    def _indexing(self, bundle: Bundle, state: StateFolder) -> Iterator[EarlierCases]:
        """The earlier cases; a thread completes and saves their index, by a connection that keeps no writer waiting."""
        warn = self._logger.warning
        with LedgerReader(state.ledger) as reader:
            size = bundle.reference().embeddings.shape[1]
            earlier = EarlierCases.open(state.index, reader, bundle.id, size=size, warn=warn)
            with self._meanwhile("index", lambda over: earlier.keep(over, warn=warn)):
                yield earlier

    @contextlib.contextmanager
    def _building(self, room: EngineRoom, pipeline: Pipeline) -> Iterator[None]:
        """Meanwhile a thread waits for the GPU's plan, and then changes engines."""
        build = room.plan_build()
        with self._meanwhile("build", lambda over: self._change_engine(room, build, pipeline)):
            try:
                yield
            finally:
                build.stop()

    def _change_engine(self, room: EngineRoom, build: PlanBuild, pipeline: Pipeline) -> None:
        engine = room.built(build, pipeline.decoder)
        if engine is not None:
            with self._scoring:
                before, pipeline.engine = pipeline.engine, engine
            before.close()
            if self._fault is None:
                room.took_over(engine)
            self._standing.tell_untried(pipeline.site, pipeline.engine)

    def _work(
        self,
        pipeline: Pipeline,
        ledger: Ledger,
        state: StateFolder,
        intake: Intake,
        drift: DriftWatch,
        *,
        threads: int,
    ) -> None:
        config = self._config
        unfinished_after_s = 0.0 if self._once else config.unfinished_after_s
        put_away = PutAway(self._incoming, state, config, self._logger, once=self._once)
        in_flight: set[str] = set()
        take = Take(
            ledger,
            intake.inbox,
            state,
            put_away,
            self._logger,
            in_flight=in_flight,
            unfinished_after_s=unfinished_after_s,
            stays=config.after == "keep",
            is_over=self._over.is_set,
        )
        look_again = partial(intake.inbox.look_again, after_s=unfinished_after_s)
        line = Line(
            [
                Stage(
                    "decode",
                    self._unless_stopped(Decode(pipeline, look_again, in_flight=in_flight)),
                    threads=threads,
                    drop=lambda taken: taken.close(),
                ),
                Stage("score", self._unless_stopped(drift.around(self._scored(Score(pipeline, ledger))))),
                Stage(
                    "write",
                    Write(pipeline, ledger, state, put_away, self._metrics, self._finished, in_flight=in_flight),
                ),
            ],
            queue_size=config.queue_size,
            on_fault=self._fail,
            is_faulty=lambda: self._fault is not None,
        )
        for stage in line.stages:
            self._metrics.queue_depth.labels(stage.name).set_function(partial(line.depth, stage.name))
        self._metrics.unopenable_files.set_function(lambda: intake.inbox.unopenable)
        self._metrics.disk_free.set_function(lambda: shutil.disk_usage(state.root).free)
        line.start()
        with self._reembedding(pipeline, state, lambda: not in_flight and not any(intake.hindrances().values())):
            try:
                for sighting in intake.sightings(self._over):
                    taken = take(sighting)
                    if taken is not None and not line.put(taken, is_over=self._over.is_set):
                        break
            except BaseException as fault:
                self._fail(fault)
        line.finish()
        if self._fault is not None:
            raise self._fault
        if self._once and self._stop.is_set():
            raise Stopped("stopped before every radiograph had its result; the rest is in the folder: run it again")
        if self._once:
            intake.check_all_read(take.unopened)

    def _unless_stopped(self, step: Callable[[Taken], Taken | None]) -> Callable[[Taken], Taken | None]:
        """After a stop, what is taken and not yet scored is left: it is still in the folder."""

        def guarded(taken: Taken) -> Taken | None:
            if not self._stop.is_set():
                return step(taken)
            taken.close()
            return None

        return guarded

    def _scored(self, score: Score) -> Callable[[Taken], Taken | None]:
        def step(taken: Taken) -> Taken | None:
            with self._scoring:
                return None if self._fault is not None else score(taken)

        return step

    def _fail(self, fault: BaseException) -> None:
        """After a wrong known answer nothing more is scored or written, and what is under way stays in the folder."""
        if self._fault is None:
            self._fault = fault
        if isinstance(self._fault, KnownAnswerFailed):
            self._standing.not_ready = f"out of service: {self._fault}"
            self._over.set()
        else:
            self.stop()

    def _finished(self, sighting: Sighting, report: Report) -> None:
        log_report(self._logger, report)
        self._on_report(sighting, report)
