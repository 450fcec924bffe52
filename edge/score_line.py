"""The stages of scoring joined into one line: what is taken, decoded, scored and written, and what is on its way."""

from collections.abc import Callable, Sequence
from functools import partial

from edge.box import Box
from edge.config import Config
from edge.imaging.decoder import TRIES
from edge.in_flight import InFlight
from edge.intake import Intake
from edge.line import Line, Stage
from edge.pipeline import Pipeline
from edge.put_away import PutAway
from edge.scrape import measure_disk, measure_intake
from edge.stages import Ask, Decode, Score, Take, Taken, Write

Step = Callable[[Taken], Taken | None]
Together = Callable[[Sequence[Taken]], Sequence[Taken]]


class ScoreLine:
    """take: makes a sighting one of the line. in_flight: digests of what was taken and has no result yet.

    is_over: nothing more is taken. Its threads run from `line.start` to `line.finish`.
    """

    def __init__(
        self, box: Box, config: Config, pipeline: Pipeline, intake: Intake, *, is_over: Callable[[], bool]
    ) -> None:
        self._box, self._config, self._pipeline, self._intake = box, config, pipeline, intake
        self._unfinished_after_s = 0.0 if box.once else config.unfinished_after_s
        self._put_away = PutAway(
            box.incoming, box.state, config, box.logger, once=box.once, quarantined=box.metrics.was_quarantined
        )
        self.in_flight = InFlight()
        self.take = Take(
            box.ledger,
            intake.inbox,
            box.state,
            self._put_away,
            box.logger,
            in_flight=self.in_flight,
            unfinished_after_s=self._unfinished_after_s,
            stays=config.after == "keep",
            is_over=is_over,
            arrived=box.metrics.arrived,
        )

    def line(
        self,
        *,
        threads: int,
        unless_stopped: Callable[[Step], Step],
        around_decode: Callable[[Step], Step],
        around_score: Callable[[Step], Step],
        around_ask: Callable[[Together], Together],
        on_fault: Callable[[BaseException], None],
        is_faulty: Callable[[], bool],
    ) -> Line[Taken]:
        """threads: how many decode. unless_stopped, around_*: what else is done at a step."""
        box, in_flight = self._box, self.in_flight
        look_again = partial(self._intake.inbox.look_again, after_s=self._unfinished_after_s)
        decode = Decode(self._pipeline, look_again, in_flight=in_flight)
        ask = Ask(self._pipeline)
        score = Score(self._pipeline, box.ledger)
        write = Write(
            self._pipeline,
            box.ledger,
            box.state,
            self._put_away,
            box.metrics,
            box.logger,
            box.on_report,
            in_flight=in_flight,
            is_faulty=is_faulty,
        )
        line = Line(
            [
                Stage(
                    "decode",
                    unless_stopped(around_decode(decode)),
                    threads=threads,
                    drop=lambda taken: taken.close(),
                    allowed_s=TRIES * self._config.decode_limit_s,
                ),
                Stage("score", unless_stopped(around_score(score)), together=around_ask(ask), most=ask.most),
                Stage("write", write),
            ],
            queue_size=max(self._config.queue_size, ask.most()),  # of fewer that wait no whole batch is made
            on_fault=on_fault,
            is_faulty=is_faulty,
        )
        measure_intake(box.metrics, self._intake, line, in_flight)
        measure_disk(box.metrics, self._intake, box.state)
        return line
