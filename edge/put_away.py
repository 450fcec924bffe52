"""What happens to an input once its result is safe: it is moved, deleted or kept, as configured."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from edge.config import Config
from edge.errors import DiskFailed, StateError
from edge.outputs.disposal import dispose
from edge.state import StateFolder
from edge.values import FinishedCase, Reason, Sighting

# A file still being written can look like one of these.
PERHAPS_UNFINISHED = frozenset({Reason.TRUNCATED, Reason.UNREADABLE, Reason.NO_PIXELS})


class PutAway:
    """What happens to an input below `incoming` once its result is safe.

    once: its writer may go on after this run. quarantined: called for each input that was put into quarantine.
    """

    def __init__(
        self,
        incoming: Path,
        state: StateFolder,
        config: Config,
        logger: logging.Logger,
        *,
        once: bool,
        quarantined: Callable[[], None] = lambda: None,
    ) -> None:
        self._incoming, self._state, self._config = incoming.resolve(), state, config
        self._logger, self._once, self._quarantined = logger, once, quarantined

    def __call__(self, sighting: Sighting, case: FinishedCase) -> None:
        """Raises DiskFailed. An input that will not move stays: its result is safe, and the next start tries again."""
        if self._once and case.reason in PERHAPS_UNFINISHED and self._is_young(sighting):
            return  # it has its result, and goes in a later run
        try:
            if dispose(sighting, case, self._state, after=self._config.after, root=self._incoming):
                self._quarantined()
        except DiskFailed:
            raise
        except StateError as fault:
            self._logger.warning(str(fault))

    def _is_young(self, sighting: Sighting) -> bool:
        """By the clock: what is dated ahead of it is not young."""
        return 0 <= time.time() - sighting.mtime_ns / 1e9 < self._config.unfinished_after_s
