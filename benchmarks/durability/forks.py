"""Boxes that start in milliseconds: a process that has imported everything once, and forks for every run.

Server, a process of its own without threads: reads an order a line, forks, says what happens a line at a time.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from benchmarks.durability.box import Order, run_box

KILLED = -9


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its exit code (-9 when it was killed), its stderr, and the number of each thread."""

    exit_code: int
    log: str
    threads: dict[int, str]

    @property
    def told_clearly(self) -> bool:
        """True when it went on, or ended as every fault should: exit code 1 and one clear line."""
        lines = [line for line in self.log.splitlines() if line.startswith("edge-cxr: ")]
        tracebacks = self.log.count("Traceback") - self.log_lines_lost
        return tracebacks == 0 and (self.exit_code, len(lines)) in ((0, 0), (1, 1))

    @property
    def log_lines_lost(self) -> int:
        """Lines that could not be written; the logging package then shows where, and goes on."""
        return self.log.count("--- Logging error ---")


class Boxes:
    """The client. One thread uses it."""

    def __enter__(self) -> Self:
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.durability.forks"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            cwd=Path(__file__).parent.parent.parent,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def run(
        self,
        order: Order,
        *,
        on_start: Callable[[int], None] = lambda pid: None,
        on_wait: Callable[[str, int], None] = lambda thread, tid: None,
    ) -> Outcome:
        """One run to its end. on_start: called with its process number. on_wait: with a thread that waits for strace.

        Raises RuntimeError when the server has died.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asdict(order)) + "\n")
        self._server.stdin.flush()
        threads: dict[int, str] = {}
        for line in self._server.stdout:
            told = json.loads(line)
            if "exit_code" in told:
                log = Path(order.log).read_text(encoding="utf-8", errors="replace")
                return Outcome(told["exit_code"], log, threads)
            if "pid" in told:
                on_start(told["pid"])
            else:
                threads[told["tid"]] = told["thread"]
                if told["waits"]:
                    on_wait(told["thread"], told["tid"])
        raise RuntimeError("the process that forks boxes has died; see its traceback above")


def serve() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        order = Order(**{**order, "wait_in": tuple(order["wait_in"])})
        pid = os.fork()
        if pid == 0:
            _be_a_box(order)
        _tell({"pid": pid})
        _, status = os.waitpid(pid, 0)
        _tell({"exit_code": os.waitstatus_to_exitcode(status)})


def _be_a_box(order: Order) -> None:
    exit_code = 98
    try:
        log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 2)
        os.close(log)
        exit_code = run_box(order)
    finally:
        os._exit(exit_code)


def _tell(told: dict[str, int]) -> None:
    os.write(1, (json.dumps(told) + "\n").encode())


if __name__ == "__main__":
    serve()
