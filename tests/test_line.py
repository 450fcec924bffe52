"""Stages with threads of their own: all that is put in comes out once, or is dropped and said so."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from edge.line import Line, Stage

PATIENCE_S = 20


class Belt:
    """A line of numbers, and what became of them."""

    def __init__(self, *stages: Stage[int], queue_size: int = 2) -> None:
        self.faults: list[BaseException] = []
        self.line = Line(
            stages, queue_size=queue_size, on_fault=self.faults.append, is_faulty=lambda: bool(self.faults)
        )

    def run(self, numbers: range, *, is_over: Callable[[], bool] = lambda: False) -> list[bool]:
        self.line.start()
        put = [self.line.put(number, is_over=is_over) for number in numbers]
        self.line.finish()
        return put


def collected(into: list[int]) -> Callable[[int], int | None]:
    def step(number: int) -> None:
        into.append(number)

    return step


@pytest.mark.parametrize("threads", [1, 3])
def test_everything_passes_every_stage_once(threads: int) -> None:
    out: list[int] = []
    belt = Belt(Stage("double", lambda number: 2 * number, threads=threads), Stage("out", collected(out)))
    assert all(belt.run(range(200)))
    assert sorted(out) == list(range(0, 400, 2))
    assert threads > 1 or out == sorted(out)
    assert belt.faults == []


def test_none_ends_a_way() -> None:
    out: list[int] = []
    belt = Belt(Stage("odd", lambda number: number if number % 2 else None), Stage("out", collected(out)))
    belt.run(range(10))
    assert out == [1, 3, 5, 7, 9]


def test_the_threads_of_a_stage_work_side_by_side() -> None:
    """Each waits for the others: one thread alone would wait for ever."""
    meeting = threading.Barrier(3, timeout=PATIENCE_S)
    out: list[int] = []

    def meet(number: int) -> int:
        meeting.wait()
        return number

    belt = Belt(Stage("meet", meet, threads=3), Stage("out", collected(out)))
    belt.run(range(6))
    assert belt.faults == []
    assert sorted(out) == list(range(6))


def test_after_a_fault_the_rest_is_dropped_and_nobody_waits_for_a_place() -> None:
    dropped: list[int] = []
    out: list[int] = []

    def fail(number: int) -> int:
        if number == 3:
            raise OSError("disk")
        return number

    stages = (
        Stage("first", lambda number: number, drop=dropped.append),
        Stage("fail", fail, drop=dropped.append),
        Stage("out", collected(out), drop=dropped.append),
    )
    belt = Belt(*stages, queue_size=1)
    belt.run(range(50))
    assert [str(fault) for fault in belt.faults] == ["disk"]
    assert sorted([*dropped, *out, 3]) == list(range(50))
    assert out == sorted(out)
    assert set(out) <= {0, 1, 2}


def test_who_puts_waits_for_a_place_until_it_is_over() -> None:
    go_on = threading.Event()
    dropped: list[int] = []
    belt = Belt(Stage("stuck", lambda number: None if go_on.wait(PATIENCE_S) else 1, drop=dropped.append), queue_size=1)
    belt.line.start()
    started_s = time.monotonic()
    is_over = lambda: time.monotonic() > started_s + 0.5  # noqa: E731
    assert [belt.line.put(number, is_over=is_over) for number in range(3)] == [True, True, False]
    assert dropped == [2]
    assert belt.line.depth("stuck") == 1
    go_on.set()
    belt.line.finish()
    assert belt.line.depth("stuck") == 0


def test_how_long_the_slowest_step_is_under_way() -> None:
    go_on = {1: threading.Event(), 2: threading.Event()}
    begun = threading.Semaphore(0)

    def step(number: int) -> None:
        begun.release()
        assert go_on[number].wait(PATIENCE_S)

    belt = Belt(Stage("stuck", step, threads=2))
    belt.line.start()
    assert belt.line.stalled_s() == 0
    for number in (1, 2):
        belt.line.put(number, is_over=lambda: False)
        assert begun.acquire(timeout=PATIENCE_S)
        time.sleep(0.2)
    both_s = belt.line.stalled_s()
    assert both_s >= 0.4
    go_on[1].set()
    deadline = time.monotonic() + PATIENCE_S
    while belt.line.stalled_s() > both_s:  # the one that began first is done
        assert time.monotonic() < deadline
    assert belt.line.stalled_s() > 0
    go_on[2].set()
    belt.line.finish()
    assert belt.line.stalled_s() == 0


def test_a_step_that_fails_is_not_under_way_any_more() -> None:
    def fail(number: int) -> None:
        raise OSError("disk")

    belt = Belt(Stage("fail", fail))
    belt.run(range(3))
    assert belt.line.stalled_s() == 0
    assert len(belt.faults) == 1


def test_who_finishes_gives_signs_of_life_until_all_is_done() -> None:
    """Also where there is no place to say that nothing more comes."""
    go_on = threading.Event()
    out: list[int] = []
    signs: list[int] = []

    def slow(number: int) -> None:
        assert go_on.wait(PATIENCE_S)
        out.append(number)

    def meanwhile() -> None:
        signs.append(len(out))
        if len(signs) == 3:
            go_on.set()

    belt = Belt(Stage("slow", slow), queue_size=1)
    belt.line.start()
    for number in range(2):
        belt.line.put(number, is_over=lambda: False)
    belt.line.finish(meanwhile)
    assert out == [0, 1]
    assert signs[:3] == [0, 0, 0]


def test_what_a_step_may_take_by_right_is_no_stall() -> None:
    """The watchdog goes by it: a file that may be decoded for minutes must not end the box again and again."""
    go_on, begun = threading.Event(), threading.Event()

    def slow(number: int) -> None:
        begun.set()
        go_on.wait(PATIENCE_S)

    for allowed_s, stalls in ((0.0, True), (3600.0, False)):
        begun.clear()
        go_on.clear()
        belt = Belt(Stage("slow", slow, allowed_s=allowed_s))
        assert belt.line.stalled_s() == 0
        belt.line.start()
        belt.line.put(1, is_over=lambda: False)
        assert begun.wait(PATIENCE_S)
        time.sleep(0.01)
        assert (belt.line.stalled_s() > 0) == stalls
        go_on.set()
        belt.line.finish()
        assert belt.line.stalled_s() == 0


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [1, 3]), (5, [1, 4]), (10, [1, 4, 4, 1])])
def test_what_waits_goes_together_and_nobody_waits_for_another(count: int, sizes: list[int]) -> None:
    """The first one is done alone, for it came when nobody waited; the others wait behind it."""
    out: list[int] = []
    found: list[int] = []
    begun, go_on = threading.Event(), threading.Event()

    def step(number: int) -> int:
        begun.set()
        return number if go_on.wait(PATIENCE_S) else -1

    def together(those: Sequence[int]) -> Sequence[int]:
        found.append(len(those))
        return [10 * number for number in those]

    belt = Belt(
        Stage("score", step, together=together, most=lambda: 4), Stage("out", collected(out)), queue_size=2 * count + 1
    )
    belt.line.start()
    for number in range(count):
        belt.line.put(number, is_over=lambda: False)
        assert begun.wait(PATIENCE_S)
    go_on.set()
    belt.line.finish()
    assert out == [10 * number for number in range(count)]
    assert found == sizes
    assert belt.faults == []


def test_a_fault_of_all_together_drops_them_all() -> None:
    dropped: list[int] = []

    def together(those: Sequence[int]) -> Sequence[int]:
        raise OSError("engine")

    belt = Belt(Stage("score", lambda number: number, together=together, most=lambda: 4, drop=dropped.append))
    belt.run(range(7))
    assert {str(fault) for fault in belt.faults} == {"engine"}
    assert sorted(dropped) == list(range(7))
