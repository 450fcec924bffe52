"""Throughput of the running daemon when many radiographs wait, against what the machine's cores allow.

All share the cores of a CPU: at best radiographs come at the engine's own rate, less what decoding, retrieval and
writing take of the same cores.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemon_process import DaemonProcess
from benchmarks.reaction import send
from benchmarks.throughput import EngineRow


@dataclass(frozen=True)
class Backlog:
    """radiographs_per_s: from the first result to the last. cpu_s: per radiograph, all processes together.

    engine_per_s, engine_cpu_s: of the engine alone, one after the other. reachable_per_s: engine_per_s times the
    engine's share of the daemon's CPU time. share: of that, what was reached.
    """

    radiographs: int
    radiographs_per_s: float
    cpu_s: float
    engine_per_s: float
    engine_cpu_s: float
    reachable_per_s: float
    share: float


def measure_backlog(
    daemon: DaemonProcess, files: Sequence[Path], alone: EngineRow, *, on_result: Callable[[], None] = lambda: None
) -> Backlog:
    """files: at least two, all put into the folder at once. alone: the engine at batch 1.

    Raises EdgeError when one has no result in time, or the daemon ends.
    """
    before = daemon.usage()
    sent = send(daemon, files, math.inf, on_result)
    cpu_s = (daemon.usage().cpu_s - before.cpu_s) / len(sent)
    seen_s = sorted(one.seen_s for one in sent)
    rate = (len(sent) - 1) / (seen_s[-1] - seen_s[0])
    reachable = alone.radiographs_per_s * (min(1.0, alone.cpu_s / cpu_s) if cpu_s else 1.0)
    return Backlog(len(sent), rate, cpu_s, alone.radiographs_per_s, alone.cpu_s, reachable, rate / reachable)
