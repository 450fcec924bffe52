"""Throughput of the running daemon when many radiographs wait, against what the engine alone reaches.

On a CPU all share the cores: radiographs should come at the engine's own rate, less what decoding, retrieval and
writing take. More is possible, for they also fill what the engine alone leaves idle.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemon_process import DaemonProcess
from benchmarks.reaction import infer_s, send
from benchmarks.throughput import EngineRow

FILLED = 10  # results until every queue is full: those before were decoded while nothing was scored


@dataclass(frozen=True)
class Backlog:
    """radiographs_per_s: to the last result from that of number FILLED. cpu_s: per radiograph, all processes together.

    engine_per_s, engine_cpu_s: of the engine alone, one after the other; on a GPU at the best batch size.
    reachable_per_s: on a CPU engine_per_s times the engine's share of the daemon's CPU time, on a GPU engine_per_s.
    share: what was reached of that.
    """

    radiographs: int
    radiographs_per_s: float
    cpu_s: float
    engine_per_s: float
    engine_cpu_s: float
    reachable_per_s: float
    share: float


def measure_backlog(
    daemon: DaemonProcess,
    files: Sequence[Path],
    alone: EngineRow,
    *,
    shares_cores: bool,
    on_result: Callable[[], None] = lambda: None,
) -> Backlog:
    """files: more than FILLED, all put into the folder at once. alone: the engine. shares_cores: it is a CPU's.

    Raises EdgeError when one is not scored, has no result in time, or the daemon ends.
    """
    before = daemon.usage()
    sent = send(daemon, files, math.inf, on_result)
    cpu_s = (daemon.usage().cpu_s - before.cpu_s) / len(sent)
    for one in sent:
        infer_s(daemon.results / f"{one.case_id}.json")  # a refusal would count as a fast answer
    seen_s = sorted(one.seen_s for one in sent)[FILLED - 1 :]
    rate = (len(seen_s) - 1) / (seen_s[-1] - seen_s[0])
    others_leave = min(1.0, alone.cpu_s / cpu_s) if shares_cores and cpu_s else 1.0
    reachable = alone.radiographs_per_s * others_leave
    return Backlog(len(sent), rate, cpu_s, alone.radiographs_per_s, alone.cpu_s, reachable, rate / reachable)
