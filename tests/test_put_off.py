"""Files taken back: soonest first, bounded, with a small memory of all."""

import time
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.looks import fingerprint_of
from edge.put_off import Cause, PutOff, Wait, Waits
from edge.values import Sighting

PRINTS = st.integers(0, (1 << 64) - 1)
WAITS = st.builds(Wait, st.floats(0, 1e9), st.sampled_from(Cause))


def sighting(number: int) -> Sighting:
    return Sighting(Path(f"/in/{number:06}"), 1, number, number)


def taken(put_off: PutOff) -> Sighting:
    candidate = put_off.take()
    assert candidate is not None
    return candidate.sighting


def due(*, in_s: float, cause: Cause = Cause.UNFINISHED) -> Wait:
    return Wait(time.monotonic() + in_s, cause)


@given(st.lists(st.tuples(PRINTS, WAITS), max_size=30), st.sets(st.integers(0, 30)), PRINTS)
def test_the_memory_holds_the_last_wait_of_each(put: list[tuple[int, Wait]], sorted_at: set[int], other: int) -> None:
    waits, expected = Waits(), dict(put)
    for number, (print_, wait) in enumerate(put):
        waits.set(print_, wait)
        if number in sorted_at:
            waits.count(Cause.LINKED)
    assert all(waits.get(print_) == wait for print_, wait in expected.items())
    assert waits.get(other) == expected.get(other)
    for cause in Cause:
        assert waits.count(cause) == sum(wait.cause is cause for wait in expected.values())


@given(st.dictionaries(PRINTS, WAITS, max_size=30))
def test_the_memory_forgets_what_is_gone(put: dict[int, Wait]) -> None:
    waits = Waits()
    for print_, wait in put.items():
        waits.set(print_, wait)
    present = list(put)[::2]
    waits.keep_only(np.array(present, np.uint64))
    assert {print_: waits.get(print_) for print_ in put} == {
        print_: wait if print_ in present else None for print_, wait in put.items()
    }


def test_they_come_when_it_is_time_and_the_soonest_first() -> None:
    put_off = PutOff()
    for number, in_s in enumerate((-1.0, -3.0, 600.0, -2.0)):
        put_off.put(sighting(number), due(in_s=in_s))
    assert [candidate.sighting.mtime_ns for candidate in iter(put_off.take, None)] == [1, 3, 0]
    assert len(put_off) == 1


def test_of_too_many_the_last_are_not_kept_and_their_time_is_known() -> None:
    put_off = PutOff(size=8)
    for number in range(20):
        put_off.put(sighting(number), due(in_s=number - 100.0))
    assert len(put_off) == 8
    assert put_off.overflowed
    assert not put_off.is_low()
    assert [candidate.sighting.mtime_ns for candidate in iter(put_off.take, None)] == list(range(8))
    assert put_off.is_low()
    wait = put_off.wait_of(fingerprint_of(sighting(19)))
    assert wait is not None
    put_off.keep(sighting(19), wait)  # found again
    assert taken(put_off) == sighting(19)


def test_a_later_one_gives_way_to_a_sooner_one() -> None:
    put_off = PutOff(size=2)
    for number, in_s in enumerate((600.0, 500.0, -1.0, 700.0)):
        put_off.put(sighting(number), due(in_s=in_s))
    assert taken(put_off) == sighting(2)
    assert sighting(1).path in put_off
    assert len(put_off) == 1


def test_a_path_waits_once_and_can_be_let_go() -> None:
    put_off = PutOff()
    put_off.put(sighting(1), due(in_s=600.0))
    put_off.put(sighting(1), due(in_s=-1.0))
    assert len(put_off) == 1
    put_off.discard(sighting(1).path)
    put_off.discard(sighting(1).path)
    assert put_off.take() is None


def test_the_unopenable_are_counted_until_they_are_tried_again_or_gone() -> None:
    put_off = PutOff()
    for number, cause in enumerate((Cause.UNOPENABLE, Cause.UNOPENABLE, Cause.LINKED, Cause.UNFINISHED)):
        put_off.put(sighting(number), due(in_s=1.0, cause=cause))
        put_off.put(sighting(number), due(in_s=2.0, cause=cause))
    assert put_off.unopenable == 2
    put_off.tried(fingerprint_of(sighting(0)))
    assert put_off.unopenable == 1
    wait = put_off.wait_of(fingerprint_of(sighting(0)))
    assert wait is not None  # it had its time
    assert wait.cause is Cause.UNFINISHED
    put_off.keep_only(np.empty(0, np.uint64))
    assert put_off.unopenable == 0
