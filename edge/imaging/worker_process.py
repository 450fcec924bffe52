"""One process that decodes, from its start to its end: its socket, its shared memory, its share of the processor."""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from edge.errors import StateError
from edge.imaging import wire
from edge.imaging.preprocess import Preprocessing
from edge.snapshot import Snapshot
from edge.values import Decoded

CPU_LIMIT_S = 10
_START_LIMIT_S = 60.0
_END_LIMIT_S = 1.0
# Before it is confined a worker has one thread: another would stay outside.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPJ_NUM_THREADS"), "1")


class WorkerProcess:
    """Running and ready, or not there at all.

    command: what starts it; the numbers of its socket and of its shared memory follow. missing: the layers of its
    sandbox that this kernel lacks. Raises StateError when it does not start.
    """

    def __init__(
        self, command: Sequence[str], preprocessing: Preprocessing, *, site_key: bytes, confined: bool
    ) -> None:
        self._preprocessing_digest = preprocessing.digest
        self._link, theirs = socket.socketpair()
        self._shared = wire.SharedPixels.make(preprocessing.side)
        inherited = (theirs.fileno(), self._shared.descriptor)
        with theirs:
            # Its complaints may quote headers: no output. A session of its own: Ctrl-C is for the box to handle.
            self._process = subprocess.Popen(
                [*command, *map(str, inherited)],
                pass_fds=inherited,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **_ONE_THREAD},
            )
        told = {"preprocessing": asdict(preprocessing), "site_key": site_key.hex(), "confined": confined}
        try:
            self.missing = self._greeted(json.dumps(told).encode() + b"\n")
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As subprocess has it, once it has ended."""
        return self._process.returncode

    def is_fit(self) -> bool:
        """False when it is dead, or has said something that nobody asked for."""
        return self._process.poll() is None and not self._says_something(0)

    def ask(self, frozen: Snapshot, *, limit_s: float, slow_s: float, on_slow: Callable[[], None]) -> Decoded:
        """Its answer to one file; `on_slow` is called once when there is none after `slow_s`.

        Raises as wire.receive_reply, also where the process is dead; StateError when it cannot be limited.
        """
        self._limit_cpu()
        until_s = time.monotonic() + limit_s
        number = wire.send_request(self._link, frozen)
        if not self._says_something(min(slow_s, limit_s)):
            on_slow()
        digest = self._preprocessing_digest
        return wire.receive_reply(
            self._link, number, frozen, self._shared, preprocessing_digest=digest, until_s=until_s
        )

    def was_ended_for_time(self) -> bool:
        """Whether the kernel has ended it for its use of the processor."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_LIMIT_S) == -signal.SIGXCPU
        return False

    def kill(self) -> None:
        """Whoever asks it gets EOFError; another thread may call this."""
        self._process.kill()

    def close(self) -> None:
        self._link.close()
        self._process.kill()
        self._process.wait()
        self._shared.close()

    def _greeted(self, configuration: bytes) -> tuple[str, ...]:
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stdin:
                stdin.write(configuration)
            missing, digest = wire.receive_ready(self._link, until_s=time.monotonic() + _START_LIMIT_S)
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            raise StateError("the decode worker does not start; run: edge-cxr doctor") from None
        if digest != self._preprocessing_digest:
            raise StateError("decode workers are of another version than this process; start it again")
        return missing

    def _says_something(self, wait_s: float) -> bool:
        waiting = select.poll()
        waiting.register(self._link, select.POLLIN)
        return bool(waiting.poll(wait_s * 1000))

    def _limit_cpu(self) -> None:
        """The kernel ends it when it has used so much more than by now. No signal can be blocked in its sandbox."""
        try:
            _, hardest_s = resource.prlimit(self.pid, resource.RLIMIT_CPU)
            most_s = int(cpu_s(self.pid)) + 1 + CPU_LIMIT_S
            if hardest_s != resource.RLIM_INFINITY:
                most_s = min(most_s, hardest_s)
            resource.prlimit(self.pid, resource.RLIMIT_CPU, (most_s, hardest_s))
        except ProcessLookupError:
            raise EOFError("the worker is gone") from None
        except PermissionError:
            raise StateError(
                "a decode worker cannot be limited; let the service's user set limits of its own"
            ) from None


def cpu_s(pid: int) -> float:
    """Processor seconds that another process has used, by the clock of RLIMIT_CPU (clock_getcpuclockid(3), PROF).

    Raises ProcessLookupError when it is gone.
    """
    try:
        return time.clock_gettime(~pid << 3)
    except OSError:
        raise ProcessLookupError(pid) from None
