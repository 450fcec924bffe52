"""A candidate bundle scores in the shadow of the active one: silently, on spare time, and only for the comparison.

Its word is in no result, and nothing waits for it: a radiograph that arrives meanwhile has at most one shadow scoring
beside it. Whatever fails here ends the shadow, says so and leaves the scoring alone.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial

from edge.beside import beside
from edge.box import Box
from edge.bundle import Bundle, open_bundle
from edge.config import Config
from edge.engines import Engine, open_engine
from edge.engines.plans import PlanStore
from edge.errors import RadiographError, Stopped, UsageError
from edge.imaging.decode_pool import open_decoder
from edge.imaging.decoder import Decoder
from edge.known_answer import lent_answers
from edge.log import FIELDS
from edge.pipeline import Pipeline
from edge.shadow_pairs import ShadowPair, Verdict
from edge.shadow_queue import Due, ShadowQueue
from edge.shelf import SHORT
from edge.shelf_list import find_place
from edge.similarity import SimilarCases
from edge.site_calibration import CalibrationStore
from edge.stages import Taken
from edge.values import Report, Sighting

_LOOK_S = 0.2
_PATIENCE_S = 5.0
Step = Callable[[Taken], Taken | None]


class Shadow:
    """Of one Scoring. Without the setting, and in a single run, it does nothing. patience_s: how long the end waits for
    an answer of the candidate's engine, which nothing can cut short.
    """

    def __init__(self, box: Box, config: Config, active: Bundle, *, patience_s: float = _PATIENCE_S) -> None:
        self._box, self._config, self._active, self._patience_s = box, config, active, patience_s
        self._is_busy = False
        self._queue = ShadowQueue()
        self._decoder: Decoder | None = None
        self.is_on = bool(config.shadow) and not box.once

    def around(self, decode: Step) -> Step:
        """The same step; meanwhile the bytes are held for the candidate."""
        if not self.is_on:
            return decode

        def step(taken: Taken) -> Taken | None:
            frozen = taken.frozen
            assert frozen is not None
            self._queue.hold(frozen)
            decoded = decode(taken)
            if decoded is None:
                self._queue.drop(frozen.sha256)
            return decoded

        return step

    def after(self, on_report: Callable[[Sighting, Report], None]) -> Callable[[Sighting, Report], None]:
        """The same call, after which the candidate may have the radiograph, where the engine was asked about it."""
        if not self.is_on:
            return on_report

        def told(sighting: Sighting, report: Report) -> None:
            on_report(sighting, report)
            if "infer" not in report.timings_s:
                self._queue.drop(report.sha256)
            elif not self._queue.judged(report):
                self._box.metrics.shadowed("skipped")

        return told

    @contextlib.contextmanager
    def beside(self, is_idle: Callable[[], bool]) -> Iterator[None]:
        """Meanwhile a thread scores what is due. is_idle: whether nothing is taken that has no result yet."""
        if not self.is_on:
            yield
            return
        self._is_busy = True
        work = partial(self._work, is_idle=is_idle)
        with self._queue, beside("shadow", work, self._ended, patience_s=self._patience_s):
            try:
                yield
            finally:
                if self._decoder is not None:  # or a file that takes long would hold up a stop
                    self._decoder.give_up()
        if self._is_busy:
            self._box.logger.warning(f"the shadow {self._config.shadow!r} has not come to its end and is left")

    def _ended(self, fault: BaseException) -> None:
        """From here on each radiograph counts as skipped."""
        if isinstance(fault, Stopped):
            return
        self._queue.close()
        self._box.logger.warning(f"the shadow {self._config.shadow!r} has ended, scoring goes on without it: {fault}")

    def _work(self, over: threading.Event, is_idle: Callable[[], bool]) -> None:
        try:
            self._compare(over, is_idle)
        finally:
            self._is_busy = False

    def _compare(self, over: threading.Event, is_idle: Callable[[], bool]) -> None:
        if not _waited(over, is_idle):
            return
        with self._opened(lambda: _waited(over, is_idle)) as pipeline:
            told = {"bundle": pipeline.bundle.manifest.name, "id": pipeline.bundle.id[:SHORT]}
            self._box.logger.info("a candidate scores in the shadow", extra={FIELDS: told})
            while _waited(over, lambda: len(self._queue) > 0 and is_idle()):
                due = self._queue.take()
                if due is not None:
                    with contextlib.closing(due):
                        self._score(due, pipeline, lambda: _waited(over, is_idle))

    @contextlib.contextmanager
    def _opened(self, has_time: Callable[[], bool]) -> Iterator[Pipeline]:
        """With decoder and engine of its own. has_time: waits until nothing is in flight; False when it is over.

        Raises an EdgeError when the candidate does not prove itself, Stopped when there is no more time for it.
        """
        box, config = self._box, self._config
        where = find_place(box.state.root, config.shadow)
        bundle = open_bundle(where, trusted_keys=config.trusted_keys)
        if bundle.id == self._active.id:
            raise UsageError("it is the bundle that scores, and there is nothing to compare; set shadow to another")
        told, scored = (" and not ".join(reversed(one.manifest.labels)) for one in (bundle, self._active))
        if told != scored:
            raise UsageError(
                f"its score is of {told}, that of the bundle that scores of {scored}; set shadow to another"
            )
        site = CalibrationStore(box.state.root, site_key=box.state.site_key).find(bundle)
        plans = PlanStore(box.state.plans, site_key=box.state.site_key, trusted_keys=config.trusted_keys)
        with contextlib.ExitStack() as opened:
            decoder = self._decoder = opened.enter_context(open_decoder(config, bundle, box.state.site_key))
            _check(has_time)
            engine = open_engine(
                bundle, backend=config.backend, precision=config.precision, plans=plans, find=box.gpu.find
            )
            opened.callback(engine.close)
            lent_answers(bundle, partial(_lent, engine, has_time), decoder)
            yield Pipeline(bundle, engine, decoder, SimilarCases.of_bundle(bundle), site=site)

    def _score(self, due: Due, pipeline: Pipeline, has_time: Callable[[], bool]) -> None:
        """has_time: waits until nothing is in flight; False when it is over."""
        try:
            decoded = pipeline.decode(due.frozen)
            if not has_time():
                return
            report = pipeline.score(decoded)
        except RadiographError as refusal:
            report = pipeline.refuse(due.frozen.sha256, due.frozen.format, refusal)
        active, candidate = Verdict.of(due.report), Verdict.of(report)
        pair = ShadowPair(report.sha256, due.report.bundle_id, report.bundle_id, active, candidate)
        if self._box.ledger.record_shadow(pair):  # not of a case that was forgotten meanwhile
            self._box.metrics.shadowed(pair.outcome, pair.difference, candidate.engine_s)


def _waited(over: threading.Event, until: Callable[[], bool]) -> bool:
    """False when it is over first."""
    while not over.is_set():
        if until():
            return True
        over.wait(_LOOK_S)
    return False


def _check(has_time: Callable[[], bool]) -> None:
    if not has_time():
        raise Stopped("the candidate was not opened to the end")


@contextlib.contextmanager
def _lent(engine: Engine, has_time: Callable[[], bool]) -> Iterator[Engine]:
    """For one golden case, so that no radiograph waits for all of them."""
    _check(has_time)
    yield engine
