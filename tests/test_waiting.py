"""How many files wait, and since when the first of them is complete."""

import os
import time
from pathlib import Path

import pytest
from reports import sighting_of

from edge.put_off import Cause, Wait
from edge.values import Sighting
from edge.waiting import Waiting
from edge.window import Candidate, Window


def file_in(folder: Path, number: int) -> Sighting:
    path = folder / f"{number:06}"
    path.write_bytes(b"x")
    os.utime(path, (number + 1, number + 1))
    return sighting_of(path)


def test_files_wait_from_the_first_look_and_are_old_from_when_they_are_complete(tmp_path: Path) -> None:
    waiting = Waiting(still_s=0.0, newest_first=False)
    assert (waiting.files, waiting.oldest_complete_s()) == (0, None)
    waiting.found(file_in(tmp_path, 1))
    assert (waiting.files, waiting.oldest_complete_s()) == (1, None)
    waiting.look()
    first_s = waiting.oldest_complete_s()
    assert first_s is not None
    waiting.completed(file_in(tmp_path, 0))  # older by its time of change, complete later
    assert (waiting.files, waiting.oldest_complete_s()) == (2, first_s)


def test_what_is_in_hand_waits_until_it_is_accepted(tmp_path: Path) -> None:
    waiting = Waiting(still_s=0.0, newest_first=False)
    waiting.completed(file_in(tmp_path, 1))
    complete_s = waiting.oldest_complete_s()
    assert waiting.take() is not None
    assert (waiting.files, waiting.oldest_complete_s()) == (1, complete_s)
    waiting.completed(file_in(tmp_path, 2))
    assert (waiting.files, waiting.oldest_complete_s()) == (2, complete_s)
    assert waiting.accepted() == complete_s
    assert waiting.files == 1
    assert waiting.accepted() == pytest.approx(time.monotonic(), abs=60)  # nothing is in hand
    assert waiting.take() is not None
    assert waiting.take() is None
    assert waiting.files == 0  # it was let go without being accepted, as one that is known


def test_one_put_off_is_complete_when_its_time_has_come(tmp_path: Path) -> None:
    waiting = Waiting(still_s=0.0, newest_first=False)
    until_s = time.monotonic() - 5
    waiting.taken_back(file_in(tmp_path, 1), Wait(until_s, Cause.UNFINISHED))
    assert waiting.files == 1
    assert waiting.take() is not None
    assert waiting.accepted() == until_s


def test_what_cannot_be_opened_does_not_wait(tmp_path: Path) -> None:
    """It has a metric of its own: nothing that the box does will give it a result."""
    waiting = Waiting(still_s=0.0, newest_first=False)
    waiting.taken_back(file_in(tmp_path, 1), Wait(time.monotonic() + 60, Cause.UNOPENABLE))
    waiting.taken_back(file_in(tmp_path, 2), Wait(time.monotonic() + 60, Cause.UNFINISHED))
    assert waiting.files == 1


def test_what_fell_out_of_the_window_waits_too_also_while_it_is_searched_for() -> None:
    window = Window(size=10)

    def find(numbers: range) -> None:
        for number in numbers:
            window.put(Candidate(Sighting(Path(f"/in/{number:06}"), 1, number, number), float(number), complete=True))

    find(range(25))
    assert (len(window), window.beyond) == (10, 15)
    for _ in range(8):
        window.take()
    window.search_begins()
    assert (window.beyond, window.overflowed) == (15, False)
    find(range(5, 20))
    assert (len(window), window.beyond) == (10, 15)
    window.search_ends()
    assert (len(window), window.beyond) == (10, 7)
    assert window.overflowed
