"""The real daemon as a process, and what can be seen of it from outside: is it alive, what it says, how large it is."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_READY_WITHIN_S = 60.0
_END_WITHIN_S = 60.0
_ASK_EACH_S = 0.5
_SETTINGS = {
    "UNFINISHED_AFTER_S": "0.3",
    "SCAN_S": "0.5",
    "SANDBOX": "required",
    "RESERVE_BYTES": "0",
    "RESERVE_PERCENT": "0",
}
WATCH = (sys.executable, "-P", "-m", "edge.cli", "watch")


class Watched:
    """One daemon, from its start until its end; a thread asks it all along whether it lives."""

    def __init__(self, incoming: Path, state: Path, log: Path, *, bundle: str, command: Sequence[str] = WATCH) -> None:
        self._port = _free_port()
        options = [
            "--state",
            str(state),
            "--bundle",
            bundle,
            "--after",
            "archive",
            "--listen",
            f"127.0.0.1:{self._port}",
        ]
        environment = os.environ | {f"EDGE_CXR_{name}": value for name, value in _SETTINGS.items()}
        with log.open("ab") as opened:
            self._process = subprocess.Popen(
                [*command, str(incoming), *options],
                stdin=subprocess.DEVNULL,
                stdout=opened,
                stderr=opened,
                env=environment,
            )
        self.deaf = 0  # times that it did not say that it lives
        self.asked = 0
        self._over = threading.Event()
        self._asker = threading.Thread(target=self._ask_all_along)

    def __enter__(self) -> Self:
        deadline_s = time.monotonic() + _READY_WITHIN_S
        while self.ask("/readyz") is None:
            if not self.alive or time.monotonic() > deadline_s:
                self._process.kill()
                self._process.wait()
                raise RuntimeError("the daemon does not become ready; look at its log")
            time.sleep(0.1)
        self._asker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._asker.join()
        self.end()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Its exit code, after SIGTERM."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def ask(self, path: str) -> bytes | None:
        """What it answers, None when that is no 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return None

    def memory_bytes(self) -> int:
        """Resident, of the daemon itself; its workers have their own limit."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii", errors="replace")
        return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024

    def _ask_all_along(self) -> None:
        while not self._over.wait(_ASK_EACH_S):
            self.asked += 1
            self.deaf += self.ask("/livez") is None


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])
