"""What an engine does alone: latency of one call, and throughput by batch size and by infer requests in flight.

An engine answers one call at a time, so that every further request in flight is an engine of its own (trtexec's
infStreams, benchmark_app's nireq): its memory counts as well.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.spread import Spread, spread_of
from benchmarks.timing import batches_of
from edge.config import Config
from edge.engines import Engine, open_engine
from edge.pipeline import Pipeline
from edge.reading_room import kept_plans

LEAST_CALLS = 6  # fewer would tell nothing of how well the median is known
WARM_UP_S = 0.2  # as trtexec's: clocks rise

Span = tuple[float, float]  # of one call: asked and answered (time.perf_counter)


@dataclass(frozen=True)
class EngineRow:
    """An engine at one batch size, all calls from arrays on the host to arrays on the host.

    latency: of one call, which is a whole batch. throughput_qps: calls a second over the wall clock, as trtexec counts
    queries. radiographs_per_s: that times the batch. cpu_s: of this process for each radiograph.
    """

    batch: int
    requests: int
    latency: Spread
    throughput_qps: float
    radiographs_per_s: float
    cpu_s: float


@contextlib.contextmanager
def engines_in_flight(pipeline: Pipeline, config: Config, requests: int) -> Iterator[list[Engine]]:
    """The pipeline's own engine, and as many more of its kind as it takes."""
    with contextlib.ExitStack() as opened:
        identity, plans = pipeline.engine.identity, kept_plans(config)
        further = []
        for _ in range(requests - 1):
            engine = open_engine(pipeline.bundle, backend=identity.backend, precision=identity.precision, plans=plans)
            opened.callback(engine.close)
            further.append(engine)
        yield [pipeline.engine, *further]


def calls_for(runs: int, batch: int) -> int:
    """So many that about `runs` radiographs are answered."""
    return max(-(-runs // batch), LEAST_CALLS)


def measure_engine(
    engines: Sequence[Engine],
    radiographs: NDArray[np.float32],
    batch: int,
    *,
    runs: int,
    warm_up: int,
    on_call: Callable[[], None] = lambda: None,
) -> EngineRow:
    """radiographs: float32 [n, 1, 1024, 1024], in turn. runs, warm_up: how many of them to answer, about."""
    batches = batches_of(radiographs, batch)
    with ThreadPoolExecutor(len(engines)) as threads:
        list(threads.map(lambda engine: _warm(engine, batches, -(-warm_up // batch)), engines))
        worked_s = time.process_time()
        left = iter(range(calls_for(runs, batch)))  # next() of a range's iterator is one step: threads may share it
        spans = list(itertools.chain(*threads.map(lambda engine: _ask(engine, batches, left, on_call), engines)))
        worked_s = time.process_time() - worked_s
    wall_s = max(answered for _, answered in spans) - min(asked for asked, _ in spans)
    qps = len(spans) / wall_s
    latency = spread_of([answered - asked for asked, answered in spans])
    return EngineRow(batch, len(engines), latency, qps, qps * batch, worked_s / (len(spans) * batch))


def _warm(engine: Engine, batches: Sequence[NDArray[np.float32]], calls: int) -> None:
    started, done = time.perf_counter(), 0
    while done < calls or time.perf_counter() - started < WARM_UP_S:
        engine.infer(batches[done % len(batches)])
        done += 1


def _ask(
    engine: Engine, batches: Sequence[NDArray[np.float32]], left: Iterator[int], on_call: Callable[[], None]
) -> list[Span]:
    spans = []
    for number in left:
        asked = time.perf_counter()
        engine.infer(batches[number % len(batches)])
        spans.append((asked, time.perf_counter()))
        on_call()
    return spans
