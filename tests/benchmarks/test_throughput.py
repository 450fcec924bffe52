"""The engine alone: every call is counted once, over the wall clock, with as many in flight as there are engines."""

import threading

import numpy as np
import pytest
from fake_engine import FakeEngine
from numpy.typing import NDArray

from benchmarks.throughput import LEAST_CALLS, calls_for, measure_engine
from edge.engines import Outputs

INPUTS = np.zeros((3, 1, 1024, 1024), np.float32)
PATIENCE_S = 30


class Counting(FakeEngine):
    """Counts its answers; where it is given a barrier, each waits there for another engine's."""

    def __init__(self, barrier: threading.Barrier | None = None) -> None:
        super().__init__(score=0.5)
        self._barrier, self.sizes = barrier, list[int]()

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        self.sizes.append(len(batch))
        if self._barrier is not None:
            self._barrier.wait(PATIENCE_S)
        return super()._run(batch)


def test_one_in_flight_is_never_faster_than_its_calls() -> None:
    engine, told = Counting(), list[None]()
    row = measure_engine([engine], INPUTS, 2, runs=20, warm_up=4, on_call=lambda: told.append(None))
    assert (row.batch, row.requests, row.latency.count, len(told)) == (2, 1, 10, 10)
    assert set(engine.sizes) == {2}
    assert len(engine.sizes) >= 10 + 2  # warmed up before
    assert row.throughput_qps * row.latency.mean_s <= 1
    assert row.radiographs_per_s == pytest.approx(2 * row.throughput_qps)


def test_several_in_flight_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.throughput.WARM_UP_S", 0)  # both must warm up as often: they wait for each other
    barrier = threading.Barrier(2)
    engines = [Counting(barrier), Counting(barrier)]
    row = measure_engine(engines, INPUTS, 1, runs=12, warm_up=2)  # a lone call would wait in vain
    assert (row.requests, row.latency.count) == (2, 12)
    assert [len(engine.sizes) for engine in engines] == [8, 8]  # 2 each to warm up
    assert row.throughput_qps * row.latency.mean_s > 1


def test_about_as_many_radiographs_whatever_the_batch() -> None:
    assert [calls_for(40, batch) for batch in (1, 2, 3, 8)] == [40, 20, 14, LEAST_CALLS]
