"""A daemon in a thread, and a service manager that listens to what it is told."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge.daemon import Daemon

PATIENCE_S = 60


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


class Kept(logging.Handler):
    """A logger's lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.logger = logging.Logger("kept")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def running(daemon: Daemon, *, until_ready: bool = True) -> Iterator[threading.Thread]:
    """What it raised is raised at the end."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            daemon.run()
        except BaseException as fault:
            raised.append(fault)

    thread = threading.Thread(target=target)
    thread.start()
    try:
        if until_ready:
            wait_until(lambda: daemon._standing.not_ready is None or not thread.is_alive())
            time.sleep(0.2)  # files that come from here on are announced; those before must stand still for 5 s
        yield thread
    finally:
        daemon.stop()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


class Manager:
    """The end of NOTIFY_SOCKET that systemd has."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        self._told: list[str] = []

    def close(self) -> None:
        self._socket.close()

    @property
    def told(self) -> list[str]:
        """Every line so far."""
        while True:
            try:
                self._told += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self._told

    def count(self, line: str) -> int:
        return self.told.count(line)

    @property
    def states(self) -> list[str]:
        """In order, without pings, times and texts."""
        return [line for line in self.told if line in ("READY=1", "RELOADING=1", "STOPPING=1")]
