"""What the box says of itself: on /readyz, in its log, and of its start and stop in the audit log. Owns no thread."""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict

from edge.audit import Event
from edge.bundle import Bundle
from edge.config import Config
from edge.engines import Engine
from edge.errors import StateError
from edge.http import Health
from edge.known_answer import KnownAnswerFailed
from edge.log import FIELDS
from edge.site_calibration import SiteCalibration, untried
from edge.store import Ledger


class Standing:
    """not_ready: why nothing is scored, None while it is. hindrances: asked each time; what keeps files from being
    taken, by reason. former: why what was wanted was refused, and the former bundle or configuration goes on.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.not_ready: str | None = "starting: the known-answer test has not passed yet"
        self.hindrances: Callable[[], Mapping[str, str | None]] = dict
        self._degraded: str | None = None
        self._serving = ""
        self.former: str | None = None

    def serves(self, bundle: Bundle, engine: Engine) -> None:
        """Radiographs are scored from now on."""
        identity = engine.identity
        self._serving = f"{bundle.manifest.name} {bundle.id[:12]} on {identity.backend} {identity.precision}"
        self.not_ready = None

    def out_of_service(self, fault: KnownAnswerFailed) -> None:
        self.not_ready = f"out of service: {fault}"

    def line(self) -> str:
        """All of it in one line, for the service manager."""
        health = self.health(alive=True)
        told = health.ready_reason or f"scores with {self._serving}"
        return "; ".join(filter(None, (told, self.former, health.degraded)))

    def health(self, *, alive: bool) -> Health:
        hindrance = next(filter(None, self.hindrances().values()), None)
        return Health(alive=alive, ready_reason=self.not_ready or hindrance, degraded=self._degraded)

    def lacks(self, layers: Collection[str]) -> None:
        """layers: of the decode workers' sandbox, that this kernel does not have."""
        if layers:
            self._degraded = f"the kernel cannot confine decode workers: {', '.join(layers)} missing"
            self._logger.warning(f"{self._degraded}; run one with Landlock and seccomp")

    def tell_untried(self, site: SiteCalibration | None, engine: Engine) -> None:
        """Warn of a precision that the site's calibration does not cover."""
        told = untried(site, engine.identity.precision)
        if told is not None:
            self._logger.warning(told)

    def tell_withdrawn(self, fault: KnownAnswerFailed, passed_s: float | None) -> None:
        """passed_s: when the test last passed, if it did in this run."""
        self._logger.error(
            f"out of service until restarted: {fault}. What was scored since the last pass may be wrong: "
            "judge it again, see docs/trust.md",
            extra={FIELDS: {"last_pass": told_time(passed_s)}},
        )

    @contextlib.contextmanager
    def audited(
        self,
        ledger: Ledger,
        bundle: Bundle,
        config: Config,
        engine: Engine,
        *,
        ends_with: str,
        passed_s: Callable[[], float | None],
    ) -> Iterator[None]:
        """The audit log tells of start and stop, and the box's own log of its head: who cuts one has both to cut.

        ends_with: the reason of a stop without a fault. passed_s: asked after a failed known-answer test.
        """
        ledger.note_start(asdict(config), bundle_name=bundle.manifest.name, engine=engine.identity)
        told = {"bundle": bundle.manifest.name, "id": bundle.id[:12], "audit_head": str(ledger.audit_head())}
        self._logger.info("ready", extra={FIELDS: told})
        stopped = {"reason": ends_with}
        try:
            yield
        except BaseException as fault:
            stopped["reason"] = type(fault).__name__
            if isinstance(fault, KnownAnswerFailed):
                stopped["last_pass"] = told_time(passed_s())
            raise
        finally:
            with contextlib.suppress(StateError):  # the ledger may be what failed
                ledger.note(Event.STOPPED, stopped)
                self._logger.info("stopped", extra={FIELDS: {"audit_head": str(ledger.audit_head())}})


def told_time(at_s: float | None) -> str:
    """In UTC, as `edge-cxr audit show --since` takes it."""
    return "not in this run" if at_s is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))
