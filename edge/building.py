"""Builds a plan in a child process, `edge-cxr build`, while the daemon serves on the CPU. Owns no thread."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import IO

from edge.config import Config
from edge.errors import EngineError, Stopped

_COURTESY, _NICEST = 10, 19  # more than our own niceness, and the most there is: radiographs come first
_TOLD_BYTES = 4096  # read of the child's complaints


def build_command(config: Config) -> list[str]:
    """What builds the plan that the daemon with this configuration would open."""
    # -P: nothing is imported from the current folder
    command = [sys.executable, "-P", "-m", "edge.cli", "build", "--json"]
    # No file: all that counts is said here, and the daemon may read another than the installed one.
    command += ["--config", "", "--bundle", config.bundle, "--precision", config.precision, "--state", config.state]
    for key in config.trusted_keys:
        command += ["--trusted-key", key]
    return command


class PlanBuild:
    """One run of the child. `run` in one thread, `stop` in any other."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._child: subprocess.Popen[str] | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def run(self, progress: Callable[[float], None]) -> None:
        """Return when the plan is kept. progress: told the fraction done.

        Raises EngineError with the child's reason, Stopped.
        """
        with tempfile.TemporaryFile() as complaints:
            child = self._start(complaints)
            try:
                os.setpriority(os.PRIO_PROCESS, child.pid, min(os.getpriority(os.PRIO_PROCESS, 0) + _COURTESY, _NICEST))
                assert child.stdout is not None
                with child.stdout as lines:
                    for line in lines:
                        _tell(line, progress)
                code = child.wait()
            finally:
                child.terminate()  # nothing, when it has ended
                child.wait()
            if self._stopped:
                raise Stopped("the build of a plan was stopped; it begins again with the next start")
            if code != 0:
                raise EngineError(f"building the plan failed ({_reason(complaints, code)}). Run: edge-cxr build")

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._child is not None:
                self._child.terminate()

    def _start(self, complaints: IO[bytes]) -> "subprocess.Popen[str]":
        with self._lock:
            if self._stopped:
                raise Stopped("the build of a plan was stopped before it began")
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C is for the daemon to handle
            )
            return self._child


def _tell(line: str, progress: Callable[[float], None]) -> None:
    """Libraries may print lines of their own between ours."""
    try:
        fraction = float(json.loads(line)["progress"])
    except (ValueError, KeyError, TypeError):
        return
    progress(fraction)


def _reason(complaints: IO[bytes], code: int) -> str:
    complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, complaints.tell() - _TOLD_BYTES))
    lines = complaints.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("edge-cxr: ") if lines else f"exit code {code}"
