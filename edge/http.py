"""/metrics, /livez and /readyz. Serves what it is handed; knows nothing of radiographs."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST

from edge.errors import NotAtPresent, UsageError

_LONGEST_REQUEST_S = 10.0


@dataclass(frozen=True)
class Health:
    """ready_reason: None when ready, else why not, in one line. degraded: what a ready box does without."""

    alive: bool
    ready_reason: str | None
    degraded: str | None = None


def parse_listen(listen: str) -> tuple[str, int]:
    """HOST:PORT. Raises UsageError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"--listen is {listen!r}; it must be HOST:PORT, for example 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def open_server(
    listen: str,
    exposition: Callable[[], bytes],
    health: Callable[[], Health],
    *,
    longest_request_s: float = _LONGEST_REQUEST_S,
) -> ThreadingHTTPServer:
    """A bound server; the caller runs serve_forever in a thread of its own.

    longest_request_s: whoever says nothing for so long is hung up on: each connection has a thread, and the service may
    have only so many.

    Raises UsageError when the address cannot be bound.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = longest_request_s

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(200, exposition(), CONTENT_TYPE_LATEST)
            elif self.path == "/livez":
                alive = health().alive
                self._answer(200 if alive else 503, b"ok\n" if alive else b"stopping\n")
            elif self.path == "/readyz":
                told = health()
                ready = "ready" if told.degraded is None else f"ready, degraded: {told.degraded}"
                line = told.ready_reason or ready
                self._answer(200 if told.ready_reason is None else 503, f"{line}\n".encode())
            else:
                self._answer(404, b"/metrics, /livez or /readyz\n")

        def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are no news."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is no news either."""

    host, port = parse_listen(listen)
    try:
        return Server((host, port), Handler)
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            raise NotAtPresent(
                f"{listen} is in use by another program; choose another with --listen HOST:PORT"
            ) from None
        raise NotAtPresent(f"cannot listen on {listen} ({fault.strerror}); choose another with --listen") from None
