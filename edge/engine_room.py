"""Which engine scores in the daemon: opened, proved by the golden cases again and again, and replaced by the GPU's.

While a GPU has no plan the CPU scores; the plan is built by a child process (building.py). Owns no thread.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from edge.building import PlanBuild, build_command
from edge.bundle import Bundle
from edge.config import Config
from edge.engines import Engine
from edge.engines.opening import GpuPlace, find_gpu, open_openvino, open_tensorrt
from edge.engines.plans import PlanStore
from edge.errors import BackendUnavailable, EngineError, PlanMissing, Stopped
from edge.imaging.decode_pool import DecodePool, Decodes, open_decoder
from edge.known_answer import KnownAnswerFailed, Lends, known_answers, lent_answers
from edge.log import FIELDS
from edge.metrics import Metrics
from edge.shelf import pinned
from edge.state import StateFolder


@dataclass(frozen=True)
class GpuRoute:
    """How the daemon comes by a GPU and a plan for it. Tests have neither, and hand in their own."""

    find: Callable[[], GpuPlace] = find_gpu
    command: Callable[[Config], Sequence[str]] = build_command


class EngineRoom:
    """`first` at the start; `built` later, in a thread of its own, where a plan was missing.

    passed_s: seconds of the epoch; when the engine that scores last gave its known answers.
    """

    def __init__(
        self,
        config: Config,
        bundle: Bundle,
        state: StateFolder,
        *,
        metrics: Metrics,
        logger: logging.Logger,
        gpu: GpuRoute,
    ) -> None:
        self._config, self._bundle, self._state = config, bundle, state
        self._metrics, self._logger, self._gpu = metrics, logger, gpu
        self._plans = PlanStore(state.plans, site_key=state.site_key, trusted_keys=config.trusted_keys)
        self.plan_missing = False  # a GPU waits for its plan
        self.passed_s: float | None = None

    def first(self, decoder: Decodes) -> Engine:
        """An engine that has given the known answers.

        Raises BackendUnavailable when a GPU was asked for by name and there is none, EngineError when the CPU fails.
        """
        if self._config.backend != "openvino":
            try:
                return self._first(self._open_gpu(), decoder)
            except BackendUnavailable:
                if self._config.backend == "tensorrt":
                    raise
            except EngineError as fault:
                self.plan_missing = isinstance(fault, PlanMissing)
                self._logger.warning(f"the CPU scores: {fault}")
        return self._first(open_openvino(self._bundle, self._config.precision), decoder)

    def decode_pool(self) -> DecodePool:
        """Workers that are not started yet."""
        opened = partial(open_decoder, self._config, self._bundle, self._state.site_key)
        return DecodePool(opened, workers=self._config.decode_workers, on_replaced=self._metrics.worker_replaced)

    def plan_build(self) -> PlanBuild:
        self._logger.info("the plan is being built")
        return PlanBuild(self._gpu.command(pinned(self._config, self._bundle)))

    def built(self, build: PlanBuild, decoder: Decodes) -> Engine | None:
        """Wait for the plan, and open and prove its engine. None when the CPU must go on; why is logged and counted."""
        outcome = "failed"
        try:
            build.run(self._metrics.build_progress.set)
            engine = self._open_gpu()
            outcome = "refused"
            self._prove(engine, decoder, serving=False)
        except Stopped:
            return None
        except Exception as fault:  # whatever it is: radiographs are being scored, and go on being scored
            self._metrics.engine_built(outcome)
            self._logger.warning(f"the CPU goes on scoring: {fault}")
            return None
        return engine

    def took_over(self, engine: Engine) -> None:
        self._metrics.serves(engine.identity)
        self._passed()
        self._metrics.engine_built("built")
        self._logger.info("the GPU scores from now on", extra={FIELDS: {"precision": engine.identity.precision}})

    def _open_gpu(self) -> Engine:
        return open_tensorrt(self._bundle, self._config.precision, self._plans, find=self._gpu.find)

    def _first(self, engine: Engine, decoder: Decodes) -> Engine:
        self._metrics.started(self._bundle, engine.identity)
        self._prove(engine, decoder, serving=True)
        return engine

    def keep_proving(self, lend: Lends, decoder: Decodes, over: threading.Event) -> None:
        """Work of a thread, until `over` is set: the known-answer test on the engine in use, every `known_answer_s`.

        Raises KnownAnswerFailed.
        """
        while not over.wait(self._config.known_answer_s):
            try:
                lent_answers(self._bundle, lend, decoder)
            except KnownAnswerFailed:
                self._metrics.known_answer(False)
                raise
            self._metrics.known_answer(True)
            self._passed()
            self._logger.info("known answers given")

    def _prove(self, engine: Engine, decoder: Decodes, *, serving: bool) -> None:
        """Close an engine that does not give the known answers. Raises EngineError."""
        try:
            known_answers(self._bundle, engine, decoder)
        except BaseException as fault:
            if isinstance(fault, KnownAnswerFailed):
                self._metrics.known_answer(False, serving=serving)
            engine.close()
            raise
        self._metrics.known_answer(True, serving=serving)
        if serving:
            self._passed()

    def _passed(self) -> None:
        self.passed_s = time.time()
        self._metrics.known_answer_last_pass.set(self.passed_s)
