"""How long an engine takes from arrays on the host to arrays on the host: what a box waits for, whatever the backend.

An engine returns when its answers are in the caller's memory, so the wall clock around a call covers both copies, the
computation and their synchronisation.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_WARM_UP = 3  # calls


@dataclass(frozen=True)
class Timing:
    """Seconds of one call for a batch, and radiographs a second over all calls."""

    batch: int
    runs: int
    mean_s: float
    p50_s: float
    p90_s: float
    p95_s: float
    p99_s: float
    radiographs_per_s: float


def time_calls(
    call: Callable[[NDArray[np.float32]], object],
    radiographs: NDArray[np.float32],
    batch: int,
    *,
    runs: int,
    warm_up_s: float,
) -> Timing:
    """radiographs: float32 [n, 1, 1024, 1024], asked in turn so that no call repeats the last one's input.

    Warms up until the clocks have risen: warm_up_s, and at least three calls.
    """
    batches = batches_of(radiographs, batch)
    started, calls = time.perf_counter(), 0
    while calls < LEAST_WARM_UP or time.perf_counter() - started < warm_up_s:
        call(batches[calls % len(batches)])
        calls += 1
    spent = np.empty(runs)
    for run in range(runs):
        asked = time.perf_counter()
        call(batches[run % len(batches)])
        spent[run] = time.perf_counter() - asked
    return summarise(batch, spent)


def summarise(batch: int, spent_s: Sequence[float] | NDArray[np.float64]) -> Timing:
    p50, p90, p95, p99 = (float(quantile) for quantile in np.percentile(spent_s, (50, 90, 95, 99)))
    mean = float(np.mean(spent_s))
    return Timing(batch, len(spent_s), mean, p50, p90, p95, p99, radiographs_per_s=batch / mean)


def batches_of(radiographs: NDArray[np.float32], batch: int) -> list[NDArray[np.float32]]:
    """Batches that begin at every `batch`-th radiograph, going round; contiguous, so that no call pays for a copy."""
    count = len(radiographs)
    starts = range(0, max(count, batch), batch)
    return [np.ascontiguousarray(radiographs[np.arange(start, start + batch) % count]) for start in starts]
