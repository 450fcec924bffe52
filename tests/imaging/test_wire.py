"""What passes between the box and a worker: whole values, and no nonsense that costs more than an error."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mad_worker import REPLIES, framed

from edge.errors import RadiographError, TooLarge, Truncated, radiograph_error
from edge.imaging import wire
from edge.values import Crop, Decoded, ModelInput, Reason, Source

SOURCE = Source("ab" * 32, "dicom", 30, 20, "cd" * 32, "AP", True, True, "ef" * 32, "01" * 32)
PIXELS = np.random.default_rng(0).random((1, 64, 64), np.float32)
DECODED = Decoded(SOURCE, ModelInput(PIXELS, Crop(1, 2, 3, 4, 5, 6, 7, 8), "digest"), {"decode": 0.25})


@pytest.fixture
def link() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


def test_decoded_crosses_whole(link: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = link
    sender = threading.Thread(target=wire.send_decoded, args=(theirs, DECODED))
    sender.start()
    received = wire.receive_reply(ours)
    sender.join(5)
    np.testing.assert_array_equal(received.model_input.pixels, PIXELS)
    assert received.source == SOURCE
    assert received.model_input.crop == DECODED.model_input.crop
    assert received.model_input.preprocessing_digest == "digest"
    assert received.timings_s == {"decode": 0.25}


@pytest.mark.parametrize("kind", RadiographError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_refusal_crosses(link: tuple[socket.socket, socket.socket], kind: type[RadiographError]) -> None:
    ours, theirs = link
    wire.send_refusal(theirs, kind("what to do"))
    with pytest.raises(kind, match=r"^what to do$") as refusal:
        wire.receive_reply(ours)
    assert type(refusal.value) is kind


def test_every_reason_of_a_file_has_its_error() -> None:
    assert isinstance(radiograph_error(Reason.TRUNCATED, ""), Truncated)
    assert isinstance(radiograph_error(Reason.TOO_LARGE, ""), TooLarge)


@pytest.mark.parametrize("name", REPLIES, ids=lambda name: name.decode())
def test_nonsense_is_an_error_and_nothing_runs(
    link: tuple[socket.socket, socket.socket], name: bytes, tmp_path: Path
) -> None:
    ours, theirs = link
    theirs.sendall(REPLIES[name])
    with pytest.raises((EOFError, ValueError, KeyError, TypeError, RecursionError)):
        wire.receive_reply(ours)


def test_a_short_body_is_a_dead_worker(link: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = link
    header = b'{"side": 8, "crop": {}, "digest": "", "source": {}, "timings_s": {}}'
    theirs.sendall(framed(header, bytes(8 * 8 * 4 - 1)))
    theirs.close()
    with pytest.raises(EOFError):
        wire.receive_reply(ours)


def test_a_closed_link_ends_the_requests(link: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = link
    ours.close()
    assert wire.receive_request(theirs) is None


def test_a_request_carries_the_file(link: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb") as opened:
        wire.send_request(link[0], opened.fileno())
    descriptor = wire.receive_request(link[1])
    assert descriptor is not None
    assert os.pread(descriptor, 100, 0) == b"content"
    os.close(descriptor)
