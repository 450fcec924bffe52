"""Wires the parts and runs them: the only owner of threads, signals and the stop event.

main thread:  inbox -> Take -> [queue] -> thread: Score -> [queue] -> thread: Write
A GPU without a plan: the CPU scores, and a fourth thread has the plan built and then changes engines.
Once an hour another one removes what has been kept long enough.
A radiograph's fault ends as its result; any other fault stops the daemon, and systemd starts it anew.
"""

import contextlib
import logging
import os
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from edge.building import PlanBuild
from edge.bundle import Bundle, open_bundle
from edge.case_index import EarlierCases
from edge.config import Config
from edge.engine_room import EngineRoom, GpuRoute
from edge.errors import DiskFailed, StateError, Stopped
from edge.http import Health, open_server
from edge.intake import Intake, check_folders
from edge.metrics import Metrics
from edge.outputs.disposal import dispose
from edge.pipeline import Pipeline
from edge.retention import retain_regularly
from edge.similarity import SimilarCases
from edge.stages import PERHAPS_UNFINISHED, Score, Take, Taken, Write, log_report
from edge.state import StateFolder, lock_state, open_state
from edge.store import Ledger, LedgerReader
from edge.values import FinishedCase, Report, Sighting

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
            decoder = opened.enter_context(room.open_decoder())
            decoder.start()
            earlier = (
                opened.enter_context(self._indexing(bundle, state)) if self._config.include_earlier_cases else None
            )
            similar = SimilarCases.of_bundle(bundle, earlier)
            self._metrics.index_vectors.set_function(lambda: len(similar))
            self._metrics.index_pending.set_function(lambda: float(similar.pending))
            pipeline = Pipeline(bundle, room.first(decoder), decoder, similar, k=self._config.neighbours)
            opened.callback(lambda: pipeline.engine.close())  # noqa: PLW0108 - whichever engine is in use by then
            if room.plan_missing and not self._once:
                opened.enter_context(self._building(room, pipeline))
            if not self._once:
                tidy = partial(retain_regularly, state, self._config, logger=self._logger, each_s=_TIDY_EACH_S)
                opened.enter_context(self._beside("tidy", tidy))
            self._not_ready = None
            self._logger.info("ready", extra={"fields": {"bundle": bundle.manifest.name, "id": bundle.id[:12]}})
            self._work(pipeline, ledger, state, intake)

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
        engine = room.built(build)
        if engine is not None:
            with self._scoring:
                before, pipeline.engine = pipeline.engine, engine
            before.close()
            room.took_over(engine)

    def _work(self, pipeline: Pipeline, ledger: Ledger, state: StateFolder, intake: Intake) -> None:
        config = self._config
        unfinished_after_s = 0.0 if self._once else config.unfinished_after_s

        def put_away(sighting: Sighting, case: FinishedCase) -> None:
            if self._once and case.reason in PERHAPS_UNFINISHED and _is_young(sighting, config.unfinished_after_s):
                return  # its writer may go on: it has its result, and goes in a later run
            # The result is safe already: an input that will not move stays, and the next start tries again.
            try:
                dispose(sighting, case, state, after=config.after)
            except DiskFailed:
                raise
            except StateError as fault:
                self._logger.warning(str(fault))

        in_flight: set[str] = set()
        take = Take(
            pipeline,
            ledger,
            intake.inbox,
            state,
            put_away,
            self._logger,
            in_flight=in_flight,
            unfinished_after_s=unfinished_after_s,
            stays=config.after == "keep",
        )
        score = Score(pipeline, ledger)
        write = Write(pipeline, ledger, state, put_away, self._metrics, self._finished, in_flight=in_flight)
        to_score: queue.Queue[Taken | None] = queue.Queue(config.queue_size)
        to_write: queue.Queue[Taken | None] = queue.Queue(config.queue_size)
        self._metrics.queue_depth.labels("score").set_function(to_score.qsize)
        self._metrics.queue_depth.labels("write").set_function(to_write.qsize)
        self._metrics.disk_free.set_function(lambda: shutil.disk_usage(state.root).free)
        stages = [
            threading.Thread(target=self._stage, args=(self._scored(score), to_score, to_write), name="score"),
            threading.Thread(target=self._stage, args=(write, to_write, None), name="write"),
        ]
        for thread in stages:
            thread.start()
        try:
            self._take_in(intake, take, to_score)
        except BaseException as fault:
            self._fail(fault)
        self._put(to_score, None, always=True)
        for thread in stages:
            thread.join()
        if self._fault is not None:
            raise self._fault
        if self._once and self._stop.is_set():
            raise Stopped("stopped before every radiograph had its result; the rest is in the folder: run it again")
        if self._once:
            intake.check_all_read(take.unopened)

    def _take_in(self, intake: Intake, take: Take, to_score: "queue.Queue[Taken | None]") -> None:
        for sighting in intake.sightings(self._stop):
            taken = take(sighting)
            if taken is not None and not self._put(to_score, taken):
                return

    def _scored(self, score: Score) -> Callable[[Taken], Taken | None]:
        """After a stop, what is decoded and not yet scored is left: it is still in the folder."""

        def step(taken: Taken) -> Taken | None:
            if self._stop.is_set():
                return None
            with self._scoring:
                return score(taken)

        return step

    def _stage(
        self,
        step: Callable[[Taken], Taken | None],
        source: "queue.Queue[Taken | None]",
        target: "queue.Queue[Taken | None] | None",
    ) -> None:
        while (taken := source.get()) is not None:
            if self._fault is not None:
                continue  # drain, so that no one waits for a place in the queue
            try:
                done = step(taken)
                if target is not None and done is not None:
                    self._put(target, done, always=True)
            except BaseException as fault:
                self._fail(fault)
        if target is not None:
            self._put(target, None, always=True)

    def _put(self, target: "queue.Queue[Taken | None]", taken: Taken | None, *, always: bool = False) -> bool:
        """False when the daemon stopped before there was a place."""
        while always or not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                target.put(taken, timeout=_POLL_S)
                return True
        return False

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
        return Health(alive=not self._stop.is_set(), ready_reason=self._not_ready or hindrance)

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


def _is_young(sighting: Sighting, limit_s: float) -> bool:
    """By the clock: what is dated ahead of it is not young."""
    return 0 <= time.time() - sighting.mtime_ns / 1e9 < limit_s
