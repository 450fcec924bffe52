"""Notices that another configuration or another bundle is wanted, while the present one scores. Owns no thread."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edge.bundle import Bundle
from edge.config import NEEDS_RESTART, Config
from edge.errors import BundleError, EdgeError
from edge.metrics import Metrics
from edge.shelf import ACTIVE, SHORT, active_id, mark_version, open_configured

_LOOK_EACH_S = 2.0


@dataclass(frozen=True)
class Wanted:
    """A configuration whose bundle has been opened and verified. is_switch: it was the bundle that changed."""

    config: Config
    bundle: Bundle
    is_switch: bool = False


class Changes:
    """read: resolves the configuration anew. on_settled: the bundle that scores was made the active one again."""

    def __init__(
        self,
        read: Callable[[], Config],
        metrics: Metrics,
        logger: logging.Logger,
        *,
        on_settled: Callable[[], None] = lambda: None,
    ) -> None:
        self._read, self._metrics, self._logger, self._on_settled = read, metrics, logger, on_settled
        self._asked = False
        self._wake = threading.Event()
        self._tried: object = None  # active.json as it was when the active bundle was last tried: once is enough

    def ask(self) -> None:
        """Read the configuration again; any thread may call this."""
        self._asked = True
        self._wake.set()

    def watch(self, serving: Wanted, take: Callable[[Wanted], None], is_over: Callable[[], bool]) -> None:
        """Until it is over (`wake` then). `take` is called once with what is wanted and sound; what is not is logged
        and counted.
        """
        while not is_over():
            self._wake.wait(_LOOK_EACH_S)
            self._wake.clear()
            if is_over():
                return
            asked, self._asked = self._asked, False
            wanted = self._reloaded(serving) if asked else self._switched(serving)
            if wanted is not None:
                take(wanted)
                return

    def wake(self) -> None:
        self._wake.set()

    def refused(self, wanted: Wanted, fault: Exception) -> None:
        """What was wanted did not prove itself; the former goes on."""
        self._count(wanted.is_switch, "refused")
        self._logger.error(f"the former configuration and bundle go on: {fault}")

    def taken(self, wanted: Wanted) -> None:
        self._count(wanted.is_switch, "taken")

    def _reloaded(self, serving: Wanted) -> Wanted | None:
        try:
            config = self._read()
            for key in NEEDS_RESTART:
                if getattr(config, key) != getattr(serving.config, key):
                    self._logger.warning(f"{key} has changed in the configuration; it counts after a restart")
                    config = replace(config, **{key: getattr(serving.config, key)})
            self._tried = mark_version(Path(config.state))
            return Wanted(config, open_configured(config))
        except EdgeError as fault:
            self._metrics.reloaded("refused")
            self._logger.error(f"not reloaded, what was read before stays: {fault}")
            return None

    def _switched(self, serving: Wanted) -> Wanted | None:
        if serving.config.bundle != ACTIVE:
            return None
        state = Path(serving.config.state)
        version = mark_version(state)
        if version is None or version == self._tried:  # a mark that is gone asks for nothing
            return None
        self._tried = version
        try:
            if active_id(state) == serving.bundle.id[:SHORT]:
                self._on_settled()
                return None
            return Wanted(serving.config, open_configured(serving.config), is_switch=True)
        except BundleError as fault:
            self._metrics.switched("refused")
            self._logger.error(f"the bundle is not changed: {fault}")
            return None

    def _count(self, is_switch: bool, outcome: str) -> None:
        (self._metrics.switched if is_switch else self._metrics.reloaded)(outcome)
