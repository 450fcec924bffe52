"""Who waits for a lock that another thread takes again and again gets it."""

import threading
import time

import pytest

from edge.turns import Turns


def test_who_waits_is_next() -> None:
    turns = Turns()
    taken, over = [], threading.Event()

    def busy() -> None:
        while not over.is_set():
            with turns:
                taken.append(len(taken))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        for _ in range(20):
            with turns:
                before = len(taken)
                assert before == len(taken)
    finally:
        over.set()
        thread.join()
    assert taken


def test_a_fault_gives_the_turn_back() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="x"), turns:
        raise ValueError("x")
    with turns:
        pass


def test_nobody_overtakes_who_waits() -> None:
    """The one that released it waits behind; with a plain lock it would have it again at once."""
    turns, order = Turns(), []
    waiting = threading.Event()

    def waiter() -> None:
        waiting.set()
        with turns:
            order.append("waiter")

    thread = threading.Thread(target=waiter)
    with turns:
        thread.start()
        assert waiting.wait(10)
        deadline = time.monotonic() + 10
        while turns._next.acquire(blocking=False):  # until it has taken its place in the queue
            turns._next.release()
            assert time.monotonic() < deadline, "who waits is not next"
    with turns:
        order.append("again")
    thread.join()
    assert order == ["waiter", "again"]
