"""Scans in pieces: one after the other, and none that was asked for is forgotten."""

from collections.abc import Generator

import pytest

from edge.errors import Unopenable
from edge.scans import Pace, Scans

RARELY = Pace(scan_s=600.0, poll_s=600.0)


def walk(steps: int, done: list[int]) -> Generator[None, None, None]:
    for number in range(steps):
        done.append(number)
        yield


@pytest.fixture
def in_single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.scans._PIECE_S", 0.0)


@pytest.mark.usefixtures("in_single_steps")
def test_it_goes_on_where_it_was() -> None:
    scans, done = Scans(RARELY, lambda text: None), []
    assert scans.is_due()
    scans.begin(walk(3, done))
    for expected in ([0], [0, 1], [0, 1, 2]):
        assert not scans.is_due()
        scans.go_on()
        assert done == expected
    assert scans.is_running
    scans.go_on()
    assert not scans.is_running
    assert not scans.is_due()
    scans.go_on()  # nothing to go on with


@pytest.mark.usefixtures("in_single_steps")
def test_what_is_asked_for_while_one_runs_comes_after_it() -> None:
    scans = Scans(RARELY, lambda text: None)
    scans.begin(walk(1, []))
    scans.go_on()
    scans.ask()
    assert not scans.is_due()
    scans.go_on()
    assert scans.is_due()


def test_a_folder_that_cannot_be_read_is_told_once_and_when_it_can_be_again() -> None:
    said: list[str] = []
    scans = Scans(RARELY, said.append)

    def failing() -> Generator[None, None, None]:
        yield
        raise Unopenable("is it mounted?")

    for _ in range(2):
        scans.begin(failing())
        scans.go_on()
        assert scans.absent == "is it mounted?"
        assert not scans.is_running
    scans.begin(walk(3, []))
    scans.go_on()
    assert scans.absent is None
    assert said == ["is it mounted?", "the incoming folder can be read again"]


@pytest.mark.usefixtures("in_single_steps")
def test_who_leaves_closes_what_was_open() -> None:
    closed: list[bool] = []

    def with_a_folder_open() -> Generator[None, None, None]:
        try:
            yield
        finally:
            closed.append(True)

    scans, opened = Scans(RARELY, lambda text: None), with_a_folder_open()
    scans.begin(opened)
    scans.go_on()
    scans.leave()
    assert closed == [True]
    assert scans.is_due()
