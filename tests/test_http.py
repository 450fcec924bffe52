"""The three addresses of the box, over a real socket."""

import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from edge.errors import UsageError
from edge.http import Health, open_server, parse_listen
from edge.metrics import Metrics


@dataclass
class Box:
    url: str
    health: Health


@pytest.fixture
def box() -> Iterator[Box]:
    metrics = Metrics()
    told = Box("", Health(alive=True, ready_reason=None))
    server = open_server("127.0.0.1:0", metrics.exposition, lambda: told.health)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield told
    server.shutdown()
    thread.join(5)
    server.server_close()


def get(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.headers["Content-Type"], refusal.read().decode()


def test_metrics(box: Box) -> None:
    status, content_type, text = get(f"{box.url}/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "# TYPE edge_cxr_studies_total counter" in text


def test_live_and_ready(box: Box) -> None:
    assert get(f"{box.url}/livez")[::2] == (200, "ok\n")
    assert get(f"{box.url}/readyz")[::2] == (200, "ready\n")
    box.health = Health(alive=True, ready_reason="the known-answer test runs")
    assert get(f"{box.url}/livez")[0] == 200
    assert get(f"{box.url}/readyz")[::2] == (503, "the known-answer test runs\n")
    box.health = Health(alive=False, ready_reason="stopping")
    assert get(f"{box.url}/livez")[::2] == (503, "stopping\n")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../etc/passwd", "/readyz?x=1x"])
def test_anything_else_is_not_found(box: Box, path: str) -> None:
    status, _, text = get(box.url + path)
    assert (status, text) == (404, "/metrics, /livez or /readyz\n")


def test_scrapes_are_not_logged(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    get(f"{box.url}/livez")
    get(f"{box.url}/nothing")
    assert capfd.readouterr().err == ""


def test_a_client_that_hangs_up_is_not_logged(box: Box, capfd: pytest.CaptureFixture[str]) -> None:
    address = box.url.removeprefix("http://").split(":")
    for _ in range(3):
        client = socket.create_connection((address[0], int(address[1])))
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not closed
        client.close()
    get(f"{box.url}/livez")
    time.sleep(0.2)
    assert capfd.readouterr().err == ""


def test_a_port_in_use_is_named_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"{listen} is in use by another program; .*--listen HOST:PORT"):
            open_server(listen, bytes, lambda: Health(True, None))


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:8080 .*--listen"):
        open_server("192.0.2.1:8080", bytes, lambda: Health(True, None))


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:8080", ("127.0.0.1", 8080)), ("localhost:0", ("localhost", 0)), ("[::1]:65535", ("::1", 65535))],
)
def test_listen_is_parsed(listen: str, expected: tuple[str, int]) -> None:
    assert parse_listen(listen) == expected


@pytest.mark.parametrize(
    "listen", ["", "8080", ":8080", "host:", "host:port", "host:65536", "host:-1", "host:8.0", "host:²"]
)
def test_a_bad_listen_is_refused(listen: str) -> None:
    with pytest.raises(UsageError, match="must be HOST:PORT, for example"):
        parse_listen(listen)


def test_who_says_nothing_is_hung_up_on() -> None:
    """Each connection has a thread, of which the service may have only so many."""
    health = Health(alive=True, ready_reason=None)
    server = open_server("127.0.0.1:0", bytes, lambda: health, longest_request_s=0.05)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=5) as silent:
        assert silent.recv(1) == b""
    server.shutdown()
    thread.join(5)
    server.server_close()
