"""The box's side of one decode worker: hands it files one at a time, and replaces it when a file undoes it."""

import sys
from collections.abc import Callable, Sequence
from typing import Self

from edge.errors import Bomb, DecoderDied, StateError, Stopped
from edge.imaging import worker_process
from edge.imaging.preprocess import Preprocessing
from edge.imaging.worker_process import WorkerProcess
from edge.snapshot import Snapshot
from edge.values import Decoded

TRIES = 2
SLOW_S = 2.0  # a file that takes longer is no longer waited for by others
WORKER = (sys.executable, "-P", "-m", "edge.imaging.worker")  # -P: nothing is imported from the current folder


class Decoder:
    """One decode worker. Not thread-safe: one thread at a time owns it.

    A file that kills the worker, or stalls it for `limit_s`, is tried twice and then raises DecoderDied; one that takes
    more than CPU_LIMIT_S of a processor raises Bomb at once. sandbox: "auto" takes the layers that the kernel has,
    "required" refuses to start where one is missing, "off" confines nothing (to compare with). command: see
    WorkerProcess.
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
        self._preprocessing, self._site_key, self._command = preprocessing, site_key, command
        self._limit_s, self._sandbox = limit_s, sandbox
        self._worker: WorkerProcess | None = None
        self.missing: tuple[str, ...] = ()  # layers of the worker's sandbox that this kernel lacks
        self.ended = 0  # workers that a file undid
        self._given_up = False

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
        self._fit_worker()

    def decode(self, frozen: Snapshot, *, on_slow: Callable[[], None] = lambda: None) -> Decoded:
        """on_slow: called once when this takes longer than SLOW_S.

        Raises the RadiographError that the file earned, StateError when no worker can be started or limited, and
        Stopped after `give_up`.
        """
        for _ in range(TRIES):
            self._check_wanted()
            worker = self._fit_worker()
            try:
                return worker.ask(frozen, limit_s=self._limit_s, slow_s=SLOW_S, on_slow=on_slow)
            except (EOFError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as fault:
                # Dead, stalled (TimeoutError is an OSError) or talking nonsense: none can be trusted with a next file.
                self._check_wanted()
                used_up = isinstance(fault, EOFError) and worker.was_ended_for_time()
                self.close()
                self.ended += 1
            if used_up:
                limit_s = worker_process.CPU_LIMIT_S
                raise Bomb(f"decoding takes more than {limit_s} s of a processor; look at it on another machine")
        self._check_wanted()
        raise DecoderDied(f"decoding killed or stalled the decoder {TRIES} times; look at the file on another machine")

    def give_up(self) -> None:
        """End the worker, whatever it is at; for good. Another thread may call this."""
        self._given_up = True
        worker = self._worker
        if worker is not None:
            worker.kill()

    def _check_wanted(self) -> None:
        if self._given_up:
            raise Stopped("decoding was given up; the file is as it was")

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _fit_worker(self) -> WorkerProcess:
        if self._worker is not None and not self._worker.is_fit():
            self.close()
        if self._worker is None:
            self._worker = self._started()
        return self._worker

    def _started(self) -> WorkerProcess:
        confined = self._sandbox != "off"
        worker = WorkerProcess(self._command, self._preprocessing, site_key=self._site_key, confined=confined)
        self.missing = worker.missing
        if self.missing and self._sandbox == "required":
            worker.close()
            raise StateError(
                f"this kernel cannot confine a decode worker ({', '.join(self.missing)} missing), and sandbox is "
                '"required"; run a kernel with Landlock and seccomp'
            )
        return worker
