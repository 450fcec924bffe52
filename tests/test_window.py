"""Both ends of the queue: bounded, ordered, and neither end starves."""

from pathlib import Path

import pytest

from edge.values import Sighting
from edge.window import Candidate, Window


def candidate(number: int, *, complete: bool = True) -> Candidate:
    return Candidate(Sighting(Path(f"/in/{number:06}"), 1, number, number), 0.0, complete)


def filled(count: int, **options: object) -> Window:
    window = Window(**options)
    for number in range(count):
        window.put(candidate((number * 7919) % count))  # in no order
    return window


def drained(window: Window) -> list[int]:
    taken = []
    while (next_one := window.take()) is not None:
        taken.append(next_one.sighting.mtime_ns)
    return taken


@pytest.mark.parametrize("newest_first", [False, True])
def test_few_come_strictly_by_age(newest_first: bool) -> None:
    assert drained(filled(60, newest_first=newest_first)) == sorted(range(60), reverse=newest_first)


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_many_every_fourth_comes_from_the_other_end(newest_first: bool) -> None:
    window = filled(1000, newest_first=newest_first)
    taken = [window.take().sighting.mtime_ns for _ in range(400)]  # type: ignore[union-attr]
    first, other = [taken[place] for place in range(400) if place % 4 != 3], taken[3::4]
    assert first == (list(range(999, 699, -1)) if newest_first else list(range(300)))
    assert other == (list(range(100)) if newest_first else list(range(999, 899, -1)))
    assert sorted(taken + drained(window)) == list(range(1000))


def test_what_is_too_much_falls_out_of_the_middle_and_is_told() -> None:
    window = filled(300, size=100)
    assert len(window) == 100
    assert window.overflowed
    kept = sorted(drained(window))
    assert kept[:40] == list(range(40))
    assert kept[-40:] == list(range(260, 300))


def test_there_is_room_again_when_a_quarter_is_left() -> None:
    window = filled(101, size=100)
    assert not window.is_low()
    for _ in range(75):
        window.take()
    assert window.is_low()
    assert not filled(10, size=100).is_low()  # nothing fell out


def test_incomplete_ones_are_passed_over() -> None:
    window = Window()
    window.put(candidate(1, complete=False))
    window.put(candidate(2))
    assert [window.take().sighting.mtime_ns] == [2]  # type: ignore[union-attr]
    assert window.take() is None
    assert [waiting.sighting.mtime_ns for waiting in window.incomplete()] == [1]


def test_a_path_is_there_once() -> None:
    window, path = Window(), Path("/in/a")
    window.put(Candidate(Sighting(path, 1, 5, 1), 0.0, complete=True))
    window.put(Candidate(Sighting(path, 2, 9, 1), 0.0, complete=True))
    assert len(window) == 1
    assert path in window
    assert drained(window) == [9]
    assert path not in window
    window.discard(path)  # gone already
