"""What each stage of the daemon does with one radiograph: take, decode, score, write. Threads are in daemon.py."""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from edge.byte_budget import ByteBudget
from edge.errors import NotFinite, RadiographError, StillLinked, Unopenable
from edge.in_flight import InFlight
from edge.inbox import Inbox
from edge.instances import same_instance
from edge.log import FIELDS, RADIOGRAPH
from edge.mentions import named_in, without
from edge.metrics import Metrics
from edge.outputs.report_json import encode, write_result
from edge.pipeline import Answer, Pipeline
from edge.put_away import PERHAPS_UNFINISHED
from edge.put_off import Cause
from edge.snapshot import MAX_FILE_BYTES, Snapshot, snapshot
from edge.state import StateFolder, files_held
from edge.store import Ledger
from edge.values import Decoded, FinishedCase, Report, Sighting

# Of all files that are taken and not yet decoded: a queue of the largest would be 2.5 GB.
HELD_BYTES = 2 * MAX_FILE_BYTES

_LINKED_S = 1.0  # how long a file may have two names before somebody is told


@dataclass(frozen=True)
class Taken:
    """A file on its way: first its bytes, then what they decode to, then its report.

    complete_s: when the inbox held it to be complete (monotonic clock). close: gives the bytes' memory back; may be
    called again. may_grow: its writer may not be done. wait_s: from complete to the beginning of its decoding.
    answer: the engine's, where it was asked together with others.
    """

    sighting: Sighting
    complete_s: float
    frozen: Snapshot | None = None
    close: Callable[[], None] = lambda: None
    may_grow: bool = False
    wait_s: float = 0.0
    decoded: Decoded | None = None
    answer: Answer | None = None
    report: Report | None = None


class Take:
    """Sighting -> Taken with its bytes: snapshot, and what the ledger knows of them.

    in_flight: digests of what was taken and has no result yet; who ends a way takes them out again.
    put_away: called with the sighting of bytes that have their result already, such as a copy, or an input that a crash
    left behind. unfinished_after_s: how long a file that cannot be read must stand still before that is its result.
    stays: inputs are kept where they are, also those whose case was forgotten. is_over: nothing more is taken, so that
    no memory is waited for. arrived: called for each that is taken, unless the box had asked for it again.
    """

    def __init__(
        self,
        ledger: Ledger,
        inbox: Inbox,
        state: StateFolder,
        put_away: Callable[[Sighting, FinishedCase], None],
        logger: logging.Logger,
        *,
        in_flight: InFlight,
        unfinished_after_s: float,
        stays: bool = False,
        is_over: Callable[[], bool] = lambda: False,
        arrived: Callable[[], None] = lambda: None,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        self._ledger, self._inbox = ledger, inbox
        self._warn, self._arrived = logger.warning, arrived
        self._budget, self._is_over = ByteBudget(held_bytes), is_over
        self._state, self._put_away, self._in_flight = state, put_away, in_flight
        self._unfinished_after_s, self._stays = unfinished_after_s, stays
        self.unopened = 0  # files that could not be opened, in this run

    def __call__(self, sighting: Sighting) -> Taken | None:
        """None when there is nothing to decode: gone, known already, unfinished, or not to be opened.

        Waits until so many bytes may be held in memory.
        """
        with contextlib.ExitStack() as opened:
            size_bytes = min(sighting.size_bytes, MAX_FILE_BYTES)  # a file that has grown since is given back at once
            if not self._budget.take(size_bytes, is_over=self._is_over):
                return None
            opened.callback(self._budget.give_back, size_bytes)
            try:
                root = self._inbox.root_of(sighting.path)
                frozen = opened.enter_context(snapshot(sighting.path, root=root))
            except FileNotFoundError:
                return None
            except Unopenable as fault:
                self._put_off(sighting, fault)
                return None
            if not self._is_news(sighting, frozen):
                return None
            complete_s = self._inbox.accepted()
            self._in_flight.add(frozen.sha256, complete_s)
            if not sighting.path.is_relative_to(self._state.requeued):  # nobody has sent that
                self._arrived()
            return Taken(sighting, complete_s, frozen, opened.pop_all().close, self._may_still_grow(sighting))

    def _put_off(self, sighting: Sighting, fault: Unopenable) -> None:
        waits = self._unfinished_after_s > 0
        if waits and isinstance(fault, StillLinked) and not self._inbox.was_put_off(sighting):
            # Its sender will take the other name away. It may be unfinished all the same: that wait is another.
            self._inbox.look_again(sighting, after_s=_LINKED_S, cause=Cause.LINKED)
            return
        self.unopened += 1
        self._warn(str(fault))
        if waits:
            self._inbox.look_again(sighting, after_s=self._unfinished_after_s, cause=Cause.UNOPENABLE)

    def _is_news(self, sighting: Sighting, frozen: Snapshot) -> bool:
        if frozen.look != sighting.look:  # written in meanwhile: perhaps neither what was there nor what will be
            self._inbox.look_again(sighting, after_s=0)
            return False
        # In this order: Write takes a digest out of flight only after the ledger has it.
        if frozen.sha256 in self._in_flight:  # the same bytes under another name, a stage ahead
            self._inbox.look_again(sighting, after_s=0)
            return False
        finished = self._ledger.finished(frozen.sha256)  # whichever bundle judged it: another asks again on request
        if finished is not None and finished.reason in PERHAPS_UNFINISHED and self._may_still_grow(sighting):
            # Others may have begun, or ended, with the same bytes: of an empty file everybody knows them.
            self._inbox.look_again(sighting, after_s=self._unfinished_after_s)
            return False
        if finished is not None and self._was_put_away(sighting, frozen.sha256):
            return False
        return not (self._stays and self._ledger.remember_forgotten(sighting, frozen.sha256))

    def _was_put_away(self, sighting: Sighting, sha256: str) -> bool:
        """False when the case was forgotten or asked for again meanwhile."""
        with files_held(self._state):
            finished = self._ledger.finished(sha256)
            if finished is None:
                return False
            self._ledger.remember(sighting, sha256)
            self._put_away(sighting, finished)
            return True

    def _may_still_grow(self, sighting: Sighting) -> bool:
        return self._unfinished_after_s > 0 and not self._inbox.was_deferred(sighting)


class Decode:
    """Taken with bytes -> Taken that is decoded, or has the report of its refusal. Called by several threads."""

    def __init__(self, pipeline: Pipeline, look_again: Callable[[Sighting], None], *, in_flight: InFlight) -> None:
        self._pipeline, self._look_again, self._in_flight = pipeline, look_again, in_flight

    def __call__(self, taken: Taken) -> Taken | None:
        """None when the file may not be complete: it is looked at again."""
        frozen = taken.frozen
        assert frozen is not None
        taken = replace(taken, wait_s=time.monotonic() - taken.complete_s)
        with contextlib.closing(taken):
            try:
                return replace(taken, frozen=None, decoded=self._pipeline.decode(frozen))
            except RadiographError as refusal:
                if refusal.reason in PERHAPS_UNFINISHED and taken.may_grow:
                    self._in_flight.discard(frozen.sha256)
                    self._look_again(taken.sighting)
                    return None
                report = self._pipeline.refuse(frozen.sha256, frozen.format, refusal)
                return replace(taken, frozen=None, report=report)


class Ask:
    """Taken that wait together -> those with pixels have the engine's answer, when a batch gains by that."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def most(self) -> int:
        return self._pipeline.engine.gains_by

    def __call__(self, those: Sequence[Taken]) -> Sequence[Taken]:
        waiting = [taken.decoded for taken in those if taken.decoded is not None]
        if len(waiting) < 2:  # Score asks for a lone one
            return those
        try:
            answers = iter(self._pipeline.ask(waiting))
        except NotFinite:  # of one; Score asks for each, and finds which
            return those
        return [taken if taken.decoded is None else replace(taken, answer=next(answers)) for taken in those]


class Score:
    """Taken with pixels -> Taken with a report: identity, engine, gates, neighbours."""

    def __init__(self, pipeline: Pipeline, ledger: Ledger) -> None:
        self._pipeline, self._ledger = pipeline, ledger

    def __call__(self, taken: Taken) -> Taken:
        if taken.decoded is None:
            return taken
        report = same_instance(self._pipeline, self._ledger, taken.decoded.source)
        if report is None:
            report = self._pipeline.score(taken.decoded, taken.answer)
        return replace(taken, decoded=None, answer=None, report=report)


class Write:
    """Taken with a report -> a visible result: file, then ledger, and only then the input is touched.

    is_faulty: nothing more is written, though it was scored before, and its input stays.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        ledger: Ledger,
        state: StateFolder,
        put_away: Callable[[Sighting, FinishedCase], None],
        metrics: Metrics,
        logger: logging.Logger,
        on_report: Callable[[Sighting, Report], None],
        *,
        in_flight: InFlight,
        is_faulty: Callable[[], bool],
    ) -> None:
        self._is_faulty = is_faulty
        self._pipeline, self._ledger, self._state, self._metrics = pipeline, ledger, state, metrics
        self._put_away, self._logger, self._on_report = put_away, logger, on_report
        self._in_flight = in_flight

    def __call__(self, taken: Taken) -> None:
        assert taken.report is not None
        # An operator's command meets a case with its row and all its files, or with none of them.
        with files_held(self._state):
            if self._is_faulty():  # since it began to wait for a command
                return
            report = self._as_of_now(taken.report)
            started = time.monotonic()
            document = encode(report)
            write_result(self._state.results(report.bundle_id), report.case_id, document)
            self._ledger.record(report, document, taken.sighting)
            now = time.monotonic()
            self._put_away(taken.sighting, report.finished)
        self._in_flight.discard(report.sha256)  # only now: a copy would be put away at the same time
        spent_s = {"wait": taken.wait_s, **report.timings_s, "write": now - started}
        end_to_end_s = now - taken.complete_s
        self._metrics.finished(report, spent_s, end_to_end_s)
        _log(self._logger, report, {**spent_s, "end_to_end": end_to_end_s})
        self._on_report(taken.sighting, report)

    def _as_of_now(self, report: Report) -> Report:
        """Since it was scored, the same instance may have got its result, and a case that it names been forgotten."""
        if report.source is not None:
            report = same_instance(self._pipeline, self._ledger, report.source) or report
        for case_id in self._ledger.forgotten_among(named_in(report)):
            report = without(case_id, report)
        return report


def _log(logger: logging.Logger, report: Report, spent_s: Mapping[str, float]) -> None:
    """One line for each radiograph, by case id only."""
    fields: dict[str, str | float] = {"case_id": report.case_id, "status": "scored" if report.scored else "not_scored"}
    if report.reason is not None:
        fields["reason"] = report.reason
    fields |= {"backend": report.engine.backend, "precision": report.engine.precision}
    fields |= {f"{stage}_s": round(seconds, 4) for stage, seconds in spent_s.items()}
    logger.info(RADIOGRAPH, extra={FIELDS: fields})
