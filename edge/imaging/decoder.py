"""The box's side of one decode worker: starts it, hands it descriptors, and replaces it when a file undoes it."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Self

from edge.errors import Bomb, DecoderDied, StateError
from edge.imaging import wire
from edge.imaging.preprocess import Preprocessing
from edge.snapshot import Snapshot
from edge.values import Decoded

TRIES = 2
CPU_LIMIT_S = 10
SLOW_S = 2.0  # a file that takes longer is no longer waited for by others
WORKER = (sys.executable, "-P", "-m", "edge.imaging.worker")  # -P: nothing is imported from the current folder
_START_LIMIT_S = 60.0
_END_LIMIT_S = 1.0
# Before it is confined a worker has one thread: another would stay outside.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "OPJ_NUM_THREADS"), "1")


class Decoder:
    """One decode worker. Not thread-safe: one thread at a time owns it.

    A file that kills the worker, or stalls it for `limit_s`, is tried twice and then raises DecoderDied; one that takes
    more than CPU_LIMIT_S of a processor raises Bomb at once. sandbox: "auto" takes the layers that the kernel has,
    "required" refuses to start where one is missing, "off" confines nothing (to compare with). command: what starts a
    worker; the numbers of its socket and of its shared memory follow.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        site_key: bytes,
        limit_s: float = 15.0,
        sandbox: str = "auto",
        command: Sequence[str] = WORKER,
    ) -> None:
        self._command, self._sandbox, self._limit_s = command, sandbox, limit_s
        told = {"preprocessing": asdict(preprocessing), "site_key": site_key.hex(), "confined": sandbox != "off"}
        self._configuration = json.dumps(told).encode() + b"\n"
        self._side = preprocessing.side
        self._worker: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._shared: wire.SharedPixels | None = None
        self.missing: tuple[str, ...] = ()  # layers of the worker's sandbox that this kernel lacks
        self.ended = 0  # workers that a file undid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The worker's process, while there is one."""
        return None if self._worker is None else self._worker.pid

    def start(self) -> None:
        """Start the worker now rather than with the first file.

        Raises StateError when it does not start, or a required layer of its sandbox is missing.
        """
        self._connected()

    def decode(self, frozen: Snapshot, *, on_slow: Callable[[], None] = lambda: None) -> Decoded:
        """on_slow: called once when this takes longer than SLOW_S.

        Raises the RadiographError that the file earned. Other errors mean that no worker can be started.
        """
        for _ in range(TRIES):
            link = self._connected()
            try:
                return self._answer(link, frozen, on_slow)
            except (EOFError, OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
                # Dead, stalled (TimeoutError is an OSError) or talking nonsense: none can be trusted with a next file.
                used_up = isinstance(fault, EOFError) and self._has_used_up()
                self.close()
                self.ended += 1
            if used_up:
                raise Bomb(f"decoding takes more than {CPU_LIMIT_S} s of a processor; look at it on another machine")
        raise DecoderDied(f"decoding killed or stalled the decoder {TRIES} times; look at the file on another machine")

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            self._worker = None
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def _answer(self, link: socket.socket, frozen: Snapshot, on_slow: Callable[[], None]) -> Decoded:
        assert self._shared is not None
        self._limit_cpu()
        started_s = time.monotonic()
        wire.send_request(link, frozen)
        if not select.select([link], [], [], min(SLOW_S, self._limit_s))[0]:
            on_slow()
        link.settimeout(max(self._limit_s - (time.monotonic() - started_s), 0.001))
        return wire.receive_reply(link, frozen, self._shared)

    def _limit_cpu(self) -> None:
        """The kernel ends the worker when it has used so much more than by now."""
        assert self._worker is not None
        most_s = int(_cpu_s(self._worker.pid)) + 1 + CPU_LIMIT_S
        resource.prlimit(self._worker.pid, resource.RLIMIT_CPU, (most_s, resource.RLIM_INFINITY))

    def _has_used_up(self) -> bool:
        """Whether the worker was ended for its use of the processor."""
        assert self._worker is not None
        try:
            return self._worker.wait(_END_LIMIT_S) == -signal.SIGXCPU
        except subprocess.TimeoutExpired:
            return False

    def _connected(self) -> socket.socket:
        if self._link is None:
            self._link = self._start()
        return self._link

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._shared = wire.SharedPixels.make(self._side)
        inherited = (theirs.fileno(), self._shared.descriptor)
        with theirs:
            # Its complaints may quote headers: no output. A session of its own: Ctrl-C is for the box to handle.
            self._worker = subprocess.Popen(
                [*self._command, *map(str, inherited)],
                pass_fds=inherited,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **_ONE_THREAD},
            )
        assert self._worker.stdin is not None
        ours.settimeout(_START_LIMIT_S)
        try:
            with self._worker.stdin as configuration:
                configuration.write(self._configuration)
            self.missing = tuple(wire.receive_ready(ours))
        except (EOFError, OSError, ValueError, KeyError, TypeError):
            ours.close()
            self.close()
            raise StateError("the decode worker does not start; run: edge-cxr doctor") from None
        if self.missing and self._sandbox == "required":
            ours.close()
            self.close()
            raise StateError(
                f"this kernel cannot confine a decode worker ({', '.join(self.missing)} missing), and sandbox is "
                '"required"; run a kernel with Landlock and seccomp'
            )
        return ours


def _cpu_s(pid: int) -> float:
    """Processor seconds that another process has used (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)
