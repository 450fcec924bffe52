"""Shows each radiograph that is scored to drift.py, and what that makes of it to the metrics and the log."""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from edge.bundle import Bundle
from edge.drift import FOLDER, Drift
from edge.drift_signals import observe
from edge.metrics import Metrics
from edge.stages import Taken
from edge.state import StateFolder


class DriftWatch:
    """In a `with`, whose end saves what was seen. One thread scores."""

    def __init__(self, bundle: Bundle, state: StateFolder, metrics: Metrics, logger: logging.Logger) -> None:
        self._reference = bundle.reference().embeddings
        self._drift = Drift(state.root / FOLDER, bundle.id, bundle.manifest.drift, logger.warning)
        self._metrics = metrics
        metrics.drifts(self._drift.looks, len(self._drift))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._drift.save()

    def around(self, score: Callable[[Taken], Taken | None]) -> Callable[[Taken], Taken | None]:
        """The same step, watched."""

        def watched(taken: Taken) -> Taken | None:
            scored = score(taken)
            if taken.decoded is not None and scored is not None and scored.report is not None:
                signals = observe(taken.decoded, scored.report, self._reference)
                if signals is not None:
                    self._drift.see(signals)
                    self._metrics.drifts(self._drift.looks, len(self._drift))
            return scored

        return watched
