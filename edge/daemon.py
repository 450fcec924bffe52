"""Wires the parts and runs them: the only owner of threads, signals and the stop event.

main thread:  inbox -> Take -> [queue] -> threads: Decode -> [queue] -> thread: Score -> [queue] -> thread: Write
A GPU without a plan: the CPU scores, and one more thread has the plan built and then changes engines.
Once an hour another one removes what has been kept long enough.
A radiograph's fault ends as its result; any other fault stops the daemon, and systemd starts it anew.
"""

import contextlib
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from edge.building import PlanBuild
from edge.bundle import Bundle, open_bundle
from edge.case_index import EarlierCases
from edge.config import Config
from edge.engine_room import EngineRoom, GpuRoute
from edge.errors import StateError, Stopped
from edge.http import Health, open_server
from edge.imaging.decode_pool import DecodePool
from edge.intake import Intake, check_folders
from edge.ledger_reader import LedgerReader
from edge.line import Line, Stage
from edge.log import FIELDS
from edge.metrics import Metrics
from edge.pipeline import Pipeline
from edge.retention import retain_regularly
from edge.similarity import SimilarCases
from edge.stages import Decode, PutAway, Score, Take, Taken, Write, log_report
from edge.state import StateFolder, lock_state, open_state
from edge.store import Ledger
from edge.values import Report, Sighting

_POLL_S = 0.2
_TIDY_EACH_S = 3600.0
_GPU = GpuRoute()


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
        self._stop = threading.Event()
        self._scoring = threading.Lock()  # held while an engine answers: engines change between two radiographs
        self._fault: BaseException | None = None
        self._not_ready: str | None = "starting: the known-answer test has not passed yet"
        self._degraded: str | None = None
        self._hindrances: Callable[[], dict[str, str | None]] = dict
        self._metrics = Metrics()

    def stop(self) -> None:
        """Finish the radiograph in hand and leave the rest: it is still in the folder."""
        self._not_ready = "stopping"
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
            self._hindrances = intake.hindrances
            self._metrics.pauses(intake.hindrances)
            opened.enter_context(self._serving())
            opened.enter_context(self._signals())
            room = self._open_room(
                self._config, bundle, state, metrics=self._metrics, logger=self._logger, gpu=self._gpu
            )
            decoders = opened.enter_context(room.decode_pool())
            self._start(decoders)
            earlier = (
                opened.enter_context(self._indexing(bundle, state)) if self._config.include_earlier_cases else None
            )
            similar = SimilarCases.of_bundle(bundle, earlier)
            self._metrics.index_vectors.set_function(lambda: len(similar))
            self._metrics.index_pending.set_function(lambda: float(similar.pending))
            pipeline = Pipeline(bundle, room.first(decoders), decoders, similar, k=self._config.neighbours)
            opened.callback(lambda: pipeline.engine.close())  # noqa: PLW0108 - whichever engine is in use by then
            if room.plan_missing and not self._once:
                opened.enter_context(self._building(room, pipeline))
            if not self._once:
                tidy = partial(
                    retain_regularly,
                    state,
                    self._config,
                    logger=self._logger,
                    each_s=_TIDY_EACH_S,
                    note=ledger.note_retained,
                )
                opened.enter_context(self._beside("tidy", tidy))
            with self._audited(ledger, bundle, pipeline):
                self._not_ready = None
                self._work(pipeline, ledger, state, intake, threads=decoders.threads)

    @contextlib.contextmanager
    def _audited(self, ledger: Ledger, bundle: Bundle, pipeline: Pipeline) -> Iterator[None]:
        """The audit log tells of start and stop, and the box's own log of its head: who cuts one has both to cut."""
        ledger.note_start(asdict(self._config), bundle_name=bundle.manifest.name, engine=pipeline.engine.identity)
        told = {"bundle": bundle.manifest.name, "id": bundle.id[:12], "audit_head": str(ledger.audit_head())}
        self._logger.info("ready", extra={FIELDS: told})
        reason = "done" if self._once else "asked"
        try:
            yield
        except BaseException as fault:
            reason = type(fault).__name__
            raise
        finally:
            with contextlib.suppress(StateError):  # the ledger may be what failed
                ledger.note_stop(reason)
                self._logger.info("stopped", extra={FIELDS: {"audit_head": str(ledger.audit_head())}})

    def _start(self, decoders: DecodePool) -> None:
        """Raises StateError when no worker starts, or none is confined as required."""
        decoders.start()
        self._metrics.confined(decoders.missing)
        if decoders.missing:
            self._degraded = f"the kernel cannot confine decode workers: {', '.join(decoders.missing)} missing"
            self._logger.warning(f"{self._degraded}; run one with Landlock and seccomp")

    @contextlib.contextmanager
    def _beside(self, name: str, work: Callable[[threading.Event], None]) -> Iterator[None]:
        """Meanwhile a thread works, until its event is set. Its fault stops the daemon."""
        over = threading.Event()

        def guarded() -> None:
            try:
                work(over)
            except BaseException as fault:
                self._fail(fault)

        thread = threading.Thread(target=guarded, name=name)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextlib.contextmanager
    def _indexing(self, bundle: Bundle, state: StateFolder) -> Iterator[EarlierCases]:
        """The earlier cases; a thread completes and saves their index, by a connection that keeps no writer waiting."""
        warn = self._logger.warning
        with LedgerReader(state.ledger) as reader:
            size = bundle.reference().embeddings.shape[1]
            earlier = EarlierCases.open(state.index, reader, bundle.id, size=size, warn=warn)
            with self._beside("index", lambda over: earlier.keep(over, warn=warn)):
                yield earlier

    @contextlib.contextmanager
    def _building(self, room: EngineRoom, pipeline: Pipeline) -> Iterator[None]:
        """Meanwhile a thread waits for the GPU's plan, and then changes engines."""
        build = room.plan_build()
        with self._beside("build", lambda over: self._change_engine(room, build, pipeline)):
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
            room.took_over(engine)

    def _work(self, pipeline: Pipeline, ledger: Ledger, state: StateFolder, intake: Intake, *, threads: int) -> None:
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
        )
        look_again = partial(intake.inbox.look_again, after_s=unfinished_after_s)
        line = Line(
            [
                Stage(
                    "decode", self._unless_stopped(Decode(pipeline, look_again, in_flight=in_flight)), threads=threads
                ),
                Stage("score", self._unless_stopped(self._scored(Score(pipeline, ledger)))),
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
        self._metrics.disk_free.set_function(lambda: shutil.disk_usage(state.root).free)
        line.start()
        try:
            for sighting in intake.sightings(self._stop):
                taken = take(sighting)
                if taken is not None and not line.put(taken, is_over=self._stop.is_set):
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
                return score(taken)

        return step

    def _fail(self, fault: BaseException) -> None:
        if self._fault is None:
            self._fault = fault
        self.stop()

    def _finished(self, sighting: Sighting, report: Report) -> None:
        log_report(self._logger, report)
        self._on_report(sighting, report)

    @contextlib.contextmanager
    def _serving(self) -> Iterator[None]:
        if not self._config.listen:
            yield
            return
        server = open_server(self._config.listen, self._metrics.exposition, self._health)
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": _POLL_S}, name="http", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _health(self) -> Health:
        hindrance = next(filter(None, self._hindrances().values()), None)
        return Health(alive=not self._stop.is_set(), ready_reason=self._not_ready or hindrance, degraded=self._degraded)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop; only the main thread may say so (tests run the daemon elsewhere)."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
