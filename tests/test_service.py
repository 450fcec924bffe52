"""The daemon as systemd meets it: when it is ready, when it lives, and that a stuck stage is not called life."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from running_daemon import PATIENCE_S, Kept, Manager, running, wait_until
from tiny_bundle import write_tiny_bundle

from edge.config import Config
from edge.daemon import Daemon
from edge.engine_room import EngineRoom
from edge.engines import Engine, Outputs
from edge.imaging.decode_pool import Decodes
from edge.notify import Notifier
from edge.phantom import render
from edge.phantom_dicom import write_dicom


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(str(tmp_path / "notify"))
    yield listening
    listening.close()


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture
def config(bundle: Path, tmp_path: Path) -> Config:
    return Config(state=str(tmp_path / "state"), bundle=str(bundle), listen="", scan_s=0.5, backend="openvino")


class BlockingEngine(Engine):
    """Answers as another does, once the gate is open. asked: set by the first question."""

    def __init__(self, right: Engine, asked: threading.Event, gate: threading.Event) -> None:
        super().__init__(right.identity, members=right.members, preprocessing_digest=right.preprocessing_digest)
        self._right, self._asked, self._gate = right, asked, gate

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        self._asked.set()
        assert self._gate.wait(PATIENCE_S)
        return self._right.infer(batch)

    def close(self) -> None:
        self._right.close()


class BlockingRoom(EngineRoom):
    """opening: before the known answers. answering: each radiograph."""

    opening: ClassVar[threading.Event]
    asked: ClassVar[threading.Event]
    answering: ClassVar[threading.Event]

    def first(self, decoder: Decodes) -> Engine:
        assert self.opening.wait(PATIENCE_S)
        return BlockingEngine(super().first(decoder), self.asked, self.answering)


@pytest.fixture
def room() -> type[BlockingRoom]:
    BlockingRoom.opening, BlockingRoom.asked, BlockingRoom.answering = (threading.Event() for _ in range(3))
    return BlockingRoom


def test_ready_is_not_told_before_the_known_answers(
    config: Config, incoming: Path, manager: Manager, room: type[BlockingRoom]
) -> None:
    daemon = Daemon(
        config, incoming, once=False, logger=Kept().logger, notifier=Notifier(manager.address), open_room=room
    )
    with running(daemon, until_ready=False):
        wait_until(lambda: manager.told)
        time.sleep(0.5)
        assert manager.told == ["STATUS=starting: the known-answer test has not passed yet"]
        room.opening.set()
        wait_until(lambda: manager.states)
        assert manager.told[1].startswith("STATUS=scores with tiny ")
        assert manager.told[2] == "READY=1"
    assert manager.states == ["READY=1", "STOPPING=1"]


def test_pings_come_while_it_works_and_end_while_a_stage_is_stuck(
    config: Config, incoming: Path, manager: Manager, room: type[BlockingRoom]
) -> None:
    """An idle box is alive. One whose engine does not answer is not, and systemd restarts it."""
    room.opening.set()
    notifier = Notifier(manager.address, watchdog_s=2.0)
    daemon = Daemon(config, incoming, once=False, logger=Kept().logger, notifier=notifier, open_room=room)
    with running(daemon):
        before = manager.count("WATCHDOG=1")
        wait_until(lambda: manager.count("WATCHDOG=1") >= before + 3)
        write_dicom(render(1, "covid", longest_side=128), incoming / "a.dcm")
        wait_until(lambda: daemon._heartbeat.stalled_s() > 1.0)  # half of the patience
        stuck = manager.count("WATCHDOG=1")
        time.sleep(1.5)
        assert manager.count("WATCHDOG=1") == stuck
        room.answering.set()
        wait_until(lambda: manager.count("WATCHDOG=1") > stuck + 1)
    assert manager.count("WATCHDOG_USEC=2000000") == 1


def test_a_box_that_drains_slowly_is_alive(
    config: Config, incoming: Path, manager: Manager, room: type[BlockingRoom]
) -> None:
    """Told to stop, it finishes what is in hand: pings go on, as far as that makes progress."""
    room.opening.set()
    notifier = Notifier(manager.address, watchdog_s=2.0)
    daemon = Daemon(config, incoming, once=False, logger=Kept().logger, notifier=notifier, open_room=room)
    with running(daemon) as thread:
        write_dicom(render(1, "covid", longest_side=128), incoming / "a.dcm")
        assert room.asked.wait(PATIENCE_S)
        daemon.stop()
        stopped = manager.count("WATCHDOG=1")
        wait_until(lambda: manager.count("WATCHDOG=1") > stopped)
        wait_until(lambda: daemon._heartbeat.stalled_s() > 1.0)
        assert thread.is_alive()
        room.answering.set()


def test_the_signals_of_a_real_process(bundle: Path, incoming: Path, tmp_path: Path, manager: Manager) -> None:
    """`systemctl reload` and `stop`, as they reach `edge-cxr watch`."""
    settings = tmp_path / "edge-cxr.toml"
    told = f'state = "{tmp_path / "state"}"\nbundle = "{bundle}"\nlisten = ""\nbackend = "openvino"\n'
    settings.write_text(told)
    command = [sys.executable, "-m", "edge.cli", "watch", str(incoming), "--config", str(settings), "--json"]
    environment = {**os.environ, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as box:
        wait_until(lambda: manager.states or box.poll() is not None)
        assert manager.states == ["READY=1"]
        settings.write_text(told + "neighbors = 3\n")
        box.send_signal(signal.SIGHUP)
        wait_for_line(box, "did you mean neighbours?")
        settings.write_text(told + "neighbours = 3\n")
        box.send_signal(signal.SIGHUP)
        wait_until(lambda: len(manager.states) >= 3)
        assert manager.states == ["READY=1", "RELOADING=1", "READY=1"]
        write_dicom(render(1, "covid", longest_side=128), incoming / ".a.dcm")
        (incoming / ".a.dcm").rename(incoming / "a.dcm")
        report = box.stdout.readline() if box.stdout else ""
        assert report.count('"distance"') == 3
        box.send_signal(signal.SIGTERM)
        assert box.wait(PATIENCE_S) == 0
    assert manager.states[-1] == "STOPPING=1"
    assert manager.count("WATCHDOG=1") > 1


def wait_for_line(box: subprocess.Popen[str], text: str) -> None:
    assert box.stderr is not None
    assert any(text in line for line in iter(box.stderr.readline, ""))
