"""The box's side of a decode worker: starts it, hands it descriptors, and replaces it when a file kills it."""

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Self

from edge.errors import DecoderDied, StateError
from edge.imaging import wire
from edge.imaging.preprocess import Preprocessing
from edge.snapshot import Snapshot
from edge.values import Decoded

TRIES = 2
WORKER = (sys.executable, "-P", "-m", "edge.imaging.worker")  # -P: nothing is imported from the current folder
_START_LIMIT_S = 60.0


class Decoder:
    """One decode worker. Not thread-safe: one thread owns it.

    A file that kills the worker, or stalls it for `limit_s`, is tried twice and then raises DecoderDied.
    command: what starts a worker; the number of its socket follows.
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        *,
        site_key: bytes,
        limit_s: float = 15.0,
        command: Sequence[str] = WORKER,
    ) -> None:
        self._command = command
        self._configuration = json.dumps({"preprocessing": asdict(preprocessing), "site_key": site_key.hex()})
        self._limit_s = limit_s
        self._worker: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the worker now rather than with the first file."""
        self._connected()

    def decode(self, frozen: Snapshot) -> Decoded:
        """Raises the RadiographError that the file earned. Other errors mean that no worker can be started."""
        for _ in range(TRIES):
            link = self._connected()
            try:
                wire.send_request(link, frozen.descriptor)
                return wire.receive_reply(link)
            except (EOFError, OSError, ValueError, KeyError, TypeError, RecursionError):
                # Dead, stalled (TimeoutError is an OSError) or talking nonsense: none can be trusted with a next file.
                self.close()
        raise DecoderDied(f"decoding killed or stalled the decoder {TRIES} times; look at the file on another machine")

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            self._worker = None

    def _connected(self) -> socket.socket:
        if self._link is None:
            self._link = self._start()
        return self._link

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            # Its complaints may quote headers: no output. A session of its own: Ctrl-C is for the box to handle.
            self._worker = subprocess.Popen(
                [*self._command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._worker.stdin is not None
        ours.settimeout(_START_LIMIT_S)
        try:
            with self._worker.stdin as configuration:
                configuration.write(self._configuration.encode() + b"\n")
            if ours.recv(1) != b"R":
                raise EOFError
        except (EOFError, OSError):
            ours.close()
            raise StateError("the decode worker does not start; run: edge-cxr doctor") from None
        ours.settimeout(self._limit_s)
        return ours
