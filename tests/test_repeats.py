"""Of what repeats so many lines a minute are let through, and how many more there were is told with the next line."""

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.repeats import Repeats

EACH_S = 60.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Heard:
    """What gets through, and what is told of the rest."""

    def __init__(self, *, most: int = 3) -> None:
        self.clock = Clock()
        self.lines: list[str] = []
        self.more: list[tuple[str, int]] = []
        self.repeats = Repeats(
            lambda last, count: self.more.append((last.getMessage(), count)),
            never_held_back={"radiograph"},
            most=most,
            each_s=EACH_S,
            clock=self.clock,
        )

    def say(self, event: str, level: int = logging.WARNING) -> None:
        if self.repeats.filter(logging.LogRecord("edge-cxr", level, "", 0, event, (), None)):
            self.lines.append(event)


def test_so_many_are_written_and_then_how_many_more_there_were() -> None:
    heard = Heard()
    for _ in range(10):
        heard.say("the disk is full")
    assert heard.lines == ["the disk is full"] * 3
    assert heard.more == []
    heard.clock.now_s = EACH_S
    heard.say("there is room again")
    assert heard.more == [("the disk is full", 7)]
    assert heard.lines[3:] == ["there is room again"]


def test_after_the_minute_they_are_written_again() -> None:
    heard = Heard()
    for minute in range(3):
        heard.clock.now_s = minute * EACH_S
        for _ in range(4):
            heard.say("again")
    assert len(heard.lines) == 9
    assert heard.more == [("again", 1)] * 2


def test_numbers_and_case_ids_make_no_other_event() -> None:
    heard = Heard()
    for number in range(100):
        heard.say(f"{number} MB are free, case {number:016x} waits")
    assert len(heard.lines) == 3


def test_another_event_or_level_has_a_count_of_its_own() -> None:
    heard = Heard()
    for _ in range(5):
        heard.say("one")
        heard.say("two")
        heard.say("one", logging.INFO)
    assert sorted(heard.lines) == ["one"] * 6 + ["two"] * 3


def test_radiographs_and_errors_are_never_held_back() -> None:
    heard = Heard()
    for _ in range(50):
        heard.say("radiograph", logging.INFO)
        heard.say("it failed", logging.ERROR)
    assert len(heard.lines) == 100
    heard.clock.now_s = EACH_S
    heard.say("else")
    assert heard.more == []


def test_memory_is_bounded_and_what_gives_way_is_told() -> None:
    heard = Heard(most=1)
    heard.say("first")
    heard.say("first")
    for place in range(5000):
        heard.say("other " + "".join(chr(ord("g") + int(digit)) for digit in str(place)))
    assert len(heard.repeats._spells) <= 257
    assert heard.more == [("first", 1)]


@given(st.lists(st.tuples(st.sampled_from("gh"), st.floats(0, 50)), max_size=80))
def test_every_line_is_written_or_counted(said: list[tuple[str, float]]) -> None:
    heard = Heard()
    for event, pause_s in said:
        heard.clock.now_s += pause_s
        heard.say(event)
    heard.clock.now_s += EACH_S
    heard.say("the end")
    for event in "gh":
        counted = sum(count for told, count in heard.more if told == event)
        assert heard.lines.count(event) + counted == [one for one, _ in said].count(event)


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """They take turns after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("busy_threads")
def test_several_threads_may_speak_at_once() -> None:
    heard = Heard(most=50)
    ended: list[str] = []

    def speak(name: str) -> None:
        for place in range(400):
            heard.say("same")
            heard.say(f"{name} says " + "x" * (place % 150))
        ended.append(name)

    threads = [threading.Thread(target=speak, args=(name,)) for name in "ghij"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["g", "h", "i", "j"]
    heard.clock.now_s = EACH_S
    heard.say("else")
    assert heard.lines.count("same") + sum(count for event, count in heard.more if event == "same") == 1600
