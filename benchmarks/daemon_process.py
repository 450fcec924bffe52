"""The real daemon, `edge-cxr watch`, as a process on a scratch folder: started, ready, looked at, stopped."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.process_tree import Usage, usage_of
from edge.config import ENVIRONMENT_PREFIX, Config
from edge.errors import EdgeError
from edge.shelf import name_or_folder
from edge.state import PLANS, SITE_KEY

READY_WITHIN_S = 900.0  # of which an engine may take minutes
_STOP_WITHIN_S = 60.0
_ASK_EACH_S = 0.2
_ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True)
class DaemonProcess:
    """One that is ready. start_s: from its command to the moment at which it told systemd that it is ready."""

    process: subprocess.Popen[bytes]
    incoming: Path
    results: Path
    log: Path
    start_s: float
    listen: str = ""

    def usage(self) -> Usage:
        """Raises EdgeError when it has ended."""
        self.require_alive()
        return usage_of(self.process.pid)

    def waiting_files(self) -> int:
        """Files that it has seen and that have no result yet, as its metrics tell."""
        with urllib.request.urlopen(f"http://{self.listen}/metrics", timeout=_ANSWER_WITHIN_S) as told:
            lines = told.read().decode("ascii", "replace").splitlines()
        return int(next(float(line.split()[1]) for line in lines if line.startswith("edge_cxr_waiting_files ")))

    def require_alive(self) -> None:
        if self.process.poll() is not None:
            raise EdgeError(_ended(self.process.returncode, self.log))


@contextlib.contextmanager
def running(
    config: Config, bundle_id: str, incoming: Path, scratch: Path, environment: Mapping[str, str]
) -> Iterator[DaemonProcess]:
    """With every setting of `config` but its state folder, its port, and what happens to inputs: they are kept.

    Its plans are those of the configured state folder. Raises EdgeError with what it said when it does not get ready.
    """
    state, log = scratch / "state", scratch / "log"
    _carry_plans(Path(config.state), state)
    named, listen = name_or_folder(config), f"127.0.0.1:{_free_port()}"
    settings = replace(config, state=str(state), bundle=named, after="keep", listen=listen)
    file = scratch / "edge-cxr.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in asdict(settings).items()))
    told = {name: value for name, value in environment.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    command = [sys.executable, "-m", "edge.cli", "watch", str(incoming), "--config", str(file)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, log.open("wb") as sink:
        manager.bind("")  # Linux chooses an abstract name
        manager.settimeout(_ASK_EACH_S)
        told["NOTIFY_SOCKET"] = "@" + manager.getsockname()[1:].decode("ascii")
        started = time.monotonic()
        process = subprocess.Popen(command, env=told, stdout=subprocess.DEVNULL, stderr=sink)
        try:
            _wait_until_ready(process, manager, log)
            results = state / "results" / bundle_id[:12]
            results.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield DaemonProcess(process, incoming, results, log, time.monotonic() - started, listen)
        finally:
            _stop(process)


def _carry_plans(source: Path, state: Path) -> None:
    """A fresh box would serve on the CPU until it had built its own. The plans are sealed with the box's key."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        shutil.copytree(source / PLANS, state / PLANS)
        shutil.copy2(source / SITE_KEY, state / SITE_KEY)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(process: subprocess.Popen[bytes], manager: socket.socket, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            if b"READY=1" in manager.recv(4096).splitlines():
                return
        if process.poll() is not None:
            raise EdgeError(_ended(process.returncode, log))
    raise EdgeError(f"the daemon was not ready within {READY_WITHIN_S:.0f} s; its last line: {_last_line(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ended(code: int, log: Path) -> str:
    return f"the daemon ended by itself with {code}; its last line: {_last_line(log)}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "none"
