"""The parts of the daemon that outlive a change of bundle or configuration, handed to whoever scores."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.engine_room import EngineRoom, GpuRoute
from edge.heartbeat import Heartbeat
from edge.metrics import Metrics
from edge.standing import Standing
from edge.state import StateFolder
from edge.store import Ledger
from edge.values import Report, Sighting

_GPU = GpuRoute()


@dataclass(frozen=True)
class Box:
    """once: ends when all that is in `incoming` has its result."""

    incoming: Path
    state: StateFolder
    ledger: Ledger
    metrics: Metrics
    standing: Standing
    heartbeat: Heartbeat
    logger: logging.Logger
    once: bool
    on_report: Callable[[Sighting, Report], None] = lambda sighting, report: None
    gpu: GpuRoute = _GPU
    open_room: Callable[..., EngineRoom] = EngineRoom
