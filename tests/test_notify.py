"""What leaves for the service manager, and when the watchdog is fed."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_daemon import Manager

from edge import heartbeat
from edge.heartbeat import Beating, Heartbeat
from edge.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.close()


class Clock:
    """In the place of `time` in the heartbeat."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(heartbeat, "time", clock)
    return clock


def test_each_message_is_what_sd_notify_asks_for(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    notifier.ready()
    notifier.status("scores with\nresearch  now")
    notifier.ping()
    notifier.stopping()
    notifier.wait_for(1.5)
    assert manager.told == [
        "READY=1",
        "STATUS=scores with research now",
        "WATCHDOG=1",
        "STOPPING=1",
        "WATCHDOG_USEC=1500000",
    ]
    notifier.reloading()
    assert manager.told[-2] == "RELOADING=1"
    assert manager.told[-1].removeprefix("MONOTONIC_USEC=").isdigit()


def test_an_abstract_socket_is_found() -> None:
    name = f"edge-cxr-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    Notifier(f"@{name}").ready()
    assert manager.told == ["READY=1"]
    manager.close()


def test_where_nobody_listens_nothing_is_waited_for(tmp_path: Path) -> None:
    for address in (None, str(tmp_path / "nobody")):
        Notifier(address).ready()


def test_a_manager_that_does_not_read_keeps_nobody_waiting(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    for _ in range(5000):
        notifier.ping()
    assert 0 < manager.count("WATCHDOG=1") < 5000


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "120000000"}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(os.getpid())}, 120.0),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_as_the_manager_tells_this_process(
    environment: dict[str, str], watchdog_s: float | None
) -> None:
    assert Notifier.of(environment).watchdog_s == watchdog_s


def test_a_ping_is_due_four_times_in_the_managers_patience(manager: Manager, clock: Clock) -> None:
    beating = Heartbeat(Notifier(manager.address, watchdog_s=120.0), lambda: "well")
    for _ in range(121):
        beating.beat()
        clock.now_s += 1
    assert manager.count("WATCHDOG=1") == 5


def test_no_ping_once_a_stage_is_stuck_and_pings_again_when_it_goes_on(manager: Manager, clock: Clock) -> None:
    stuck_s = [60.0]
    beating = Heartbeat(Notifier(manager.address, watchdog_s=120.0), lambda: "well")
    beating.stalled_s = lambda: stuck_s[0]
    beating.beat()
    assert manager.count("WATCHDOG=1") == 1
    stuck_s[0] = 60.1
    for _ in range(200):
        clock.now_s += 1
        beating.beat()
    assert manager.count("WATCHDOG=1") == 1
    stuck_s[0] = 0.0
    beating.beat()
    assert manager.count("WATCHDOG=1") == 2


def test_without_a_watchdog_there_are_no_pings_and_the_status_is_told_when_it_changes(
    manager: Manager, clock: Clock
) -> None:
    told = ["starting"]
    beating = Heartbeat(Notifier(manager.address), lambda: told[0])
    for second in range(40):
        beating.beat()
        clock.now_s += 1
        if second == 20:
            told[0] = "scores"
    beating.opening()
    beating.opened()
    assert manager.told == ["STATUS=starting", "STATUS=scores"]


def test_while_an_engine_opens_the_manager_waits_longer(manager: Manager, clock: Clock) -> None:
    beating = Heartbeat(Notifier(manager.address, watchdog_s=120.0), lambda: "well")
    beating.stalled_s = lambda: 1e6  # of a line that is no more
    beating.opening()
    beating.opened()
    assert manager.told == ["STATUS=well", "WATCHDOG_USEC=900000000", "WATCHDOG=1", "WATCHDOG_USEC=120000000",
                            "WATCHDOG=1"]  # fmt: skip
    clock.now_s += 31
    beating.beat()
    assert manager.count("WATCHDOG=1") == 3


def test_each_question_whether_it_is_over_is_a_sign_of_life(manager: Manager, clock: Clock) -> None:
    over = threading.Event()
    beating = Beating(over, Heartbeat(Notifier(manager.address, watchdog_s=4.0), lambda: "well"))
    for _ in range(3):
        assert not beating.is_set()
        clock.now_s += 1
    over.set()
    assert beating.is_set()
    assert manager.count("WATCHDOG=1") == 4
