"""Lives as long as the process: the lock on the state folder, the ledger, HTTP, signals, and who scores at present.

Another configuration (SIGHUP) or another active bundle: what is in flight is finished, and a new Scoring begins; when
it does not prove itself, the former goes on. A radiograph's fault ends as its result. After a wrong known answer in
service nothing more is scored, and the daemon stays to say so; any other fault stops it, and systemd starts it anew.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from edge.beside import beside, serving, signals
from edge.box import Box
from edge.changes import Changes, Wanted
from edge.config import Config
from edge.heartbeat import Beating, Heartbeat
from edge.http import Health
from edge.intake import check_folders
from edge.known_answer import KnownAnswerFailed
from edge.metrics import Metrics
from edge.notify import Notifier
from edge.scoring import Scoring
from edge.shelf import SHORT, open_configured
from edge.standing import Standing
from edge.state import lock_state, open_state
from edge.store import Ledger

_SILENT = Notifier()
_BEAT_EACH_S = 1.0


class Daemon:
    """Scores what reaches a folder. `run` returns when it was stopped, or with `once` when all is done.

    reread: resolves the configuration anew; without it the one that was given stays. further: on_report, gpu and
    open_room of a Box.
    """

    def __init__(
        self,
        config: Config,
        incoming: Path,
        *,
        once: bool,
        logger: logging.Logger,
        reread: Callable[[], Config] | None = None,
        notifier: Notifier = _SILENT,
        **further: Any,
    ) -> None:
        self._config, self._incoming, self._once, self._logger, self._further = config, incoming, once, logger, further
        self._stop = threading.Event()
        self._standing = Standing(logger)
        self._notifier, self._heartbeat = notifier, Heartbeat(notifier, self._standing.line)
        self._metrics = Metrics()
        self._changes = Changes(reread or (lambda: config), self._metrics, logger, on_settled=self._settled)
        self._scoring: Scoring | None = None
        self._former: Wanted | None = None  # until the next one has proved itself: it holds a bundle's bytes

    def stop(self) -> None:
        """Finish the radiograph in hand and leave the rest: it is still in the folder."""
        self._stop.set()
        self._standing.not_ready = "stopping"
        self._notifier.stopping()
        if self._scoring is not None:
            self._scoring.stop()

    def reload(self) -> None:
        """Read the configuration anew, and go on with it when it is sound."""
        self._changes.ask()

    def run(self) -> None:
        """Raises the EdgeError that stopped it."""
        first = [Wanted(self._config, open_configured(self._config))]
        check_folders(Path(self._config.state), self._incoming)
        with contextlib.ExitStack() as opened:
            state = open_state(Path(self._config.state))
            opened.callback(os.close, lock_state(state))
            ledger = opened.enter_context(Ledger(state.ledger, site_key=state.site_key))
            self._metrics.resumes(ledger.newest_s(), ledger.newest_s(scored=True))
            opened.enter_context(serving(self._config.listen, self._metrics.exposition, self._health))
            opened.enter_context(signals(self.stop, self.reload))
            box = Box(
                self._incoming,
                state,
                ledger,
                self._metrics,
                self._standing,
                self._heartbeat,
                self._logger,
                once=self._once,
                **self._further,
            )
            self._serve(box, first)

    def _serve(self, box: Box, following: list[Wanted]) -> None:
        """One Scoring after the other, until a stop. following: the first; taken out, for it holds a bundle's bytes."""
        while True:
            serving, following = following.pop(), []
            self._heartbeat.opening()
            scoring = self._scoring = Scoring(box, serving, on_proved=partial(self._proved, serving))
            if self._stop.is_set():
                scoring.stop()
            try:
                with self._looking_for_changes(serving, scoring, following):
                    scoring.run()
            except Exception as fault:  # whatever a new bundle or configuration ends in: the former one goes on
                if self._former is None:
                    self._end(fault, scoring)
                    raise
                self._refuse(serving, fault)
                if not following:  # else something else was wanted meanwhile
                    following, self._former = [self._former], None
            else:
                self._former = serving
            if not following or self._stop.is_set():
                return

    def _proved(self, serving: Wanted) -> None:
        if self._former is not None:
            self._changes.taken(serving)
            self._standing.former = self._former = None
        self._heartbeat.opened()
        if not self._stop.is_set():  # it came while the engine opened: nothing is taken any more
            self._notifier.ready()

    def _refuse(self, wanted: Wanted, fault: Exception) -> None:
        self._changes.refused(wanted, fault)
        self._standing.former = f"{wanted.bundle.manifest.name} {wanted.bundle.id[:SHORT]} was refused"

    def _settled(self) -> None:
        self._standing.former = None

    @contextlib.contextmanager
    def _looking_for_changes(self, serving: Wanted, scoring: Scoring, following: list[Wanted]) -> Iterator[None]:
        if self._once:
            yield
            return

        def take(wanted: Wanted) -> None:
            following.append(wanted)
            self._standing.not_ready = "changes to another configuration or bundle"
            self._notifier.reloading()
            scoring.finish()

        over = threading.Event()
        with beside("changes", lambda _: self._changes.watch(serving, take, over.is_set), scoring.fail):
            try:
                yield
            finally:
                over.set()
                self._changes.wake()

    def _end(self, fault: Exception, scoring: Scoring) -> None:
        """After a wrong known answer the box stays, and /readyz and /metrics tell of it, until it is stopped."""
        if not isinstance(fault, KnownAnswerFailed):
            return
        self._standing.out_of_service(fault)
        self._standing.tell_withdrawn(fault, scoring.room.passed_s)
        self._heartbeat.opened()
        over = Beating(self._stop, self._heartbeat)
        while not self._once and not over.is_set():
            self._stop.wait(_BEAT_EACH_S)

    def _health(self) -> Health:
        return self._standing.health(alive=not self._stop.is_set())
