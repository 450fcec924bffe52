"""What passes between the box and a worker: whole values, and no nonsense that costs more than an error."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mad_worker import GOOD, NUMBER, REPLIES, framed

from edge.errors import RadiographError, TooLarge, Truncated, radiograph_error
from edge.imaging import wire
from edge.snapshot import Snapshot, snapshot
from edge.values import Crop, Decoded, ModelInput, Reason, Source

SOURCE = Source("ab" * 32, "dicom", 30, 20, "cd" * 32, "AP", True, True, "ef" * 32, "01" * 32)
PIXELS = np.random.default_rng(0).random((1, 64, 64), np.float32)
TIMINGS_S = {"decode": 0.25, "preprocess": 0.5}
DECODED = Decoded(SOURCE, ModelInput(PIXELS, Crop(1, 2, 3, 4, 5, 6, 7, 8), "01" * 32), TIMINGS_S)
FROZEN = Snapshot(-1, "ab" * 32, 7, "dicom")


def reply(link: socket.socket, shared: wire.SharedPixels, *, within_s: float = 5) -> Decoded:
    until_s = time.monotonic() + within_s
    return wire.receive_reply(link, NUMBER, FROZEN, shared, preprocessing_digest="01" * 32, until_s=until_s)


@pytest.fixture
def link() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def shared() -> Iterator[wire.SharedPixels]:
    made = wire.SharedPixels.make(64)
    yield made
    made.close()


def test_decoded_crosses_whole(link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels) -> None:
    ours, theirs = link
    wire.send_decoded(theirs, NUMBER, DECODED, shared)
    received = reply(ours, shared)
    np.testing.assert_array_equal(received.model_input.pixels, PIXELS)
    assert received.source == SOURCE
    assert received.model_input.crop == DECODED.model_input.crop
    assert received.model_input.preprocessing_digest == DECODED.model_input.preprocessing_digest
    assert received.timings_s == TIMINGS_S


def test_a_worker_does_not_say_which_file_it_was(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels
) -> None:
    """Its answer would stand for another radiograph's."""
    ours, theirs = link
    wire.send_decoded(theirs, NUMBER, replace(DECODED, source=replace(SOURCE, sha256="00" * 32, format="png")), shared)
    received = reply(ours, shared)
    assert (received.source.sha256, received.source.format) == ("ab" * 32, "dicom")


def test_what_a_worker_writes_after_its_answer_changes_nothing(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels
) -> None:
    ours, theirs = link
    wire.send_decoded(theirs, NUMBER, DECODED, shared)
    received = reply(ours, shared)
    shared.pixels[...] = 0
    np.testing.assert_array_equal(received.model_input.pixels, PIXELS)


@pytest.mark.parametrize("level", [np.nan, np.inf, -0.001, 1.001])
def test_pixels_that_cannot_be_are_an_error(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels, level: float
) -> None:
    ours, theirs = link
    pixels = PIXELS.copy()
    pixels[0, 5, 5] = level
    wire.send_decoded(theirs, NUMBER, replace(DECODED, model_input=replace(DECODED.model_input, pixels=pixels)), shared)
    with pytest.raises(ValueError, match="outside"):
        reply(ours, shared)


@pytest.mark.parametrize("kind", RadiographError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_refusal_crosses(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels, kind: type[RadiographError]
) -> None:
    ours, theirs = link
    wire.send_refusal(theirs, NUMBER, kind("what to do"))
    with pytest.raises(kind, match=r"^what to do$") as refusal:
        reply(ours, shared)
    assert type(refusal.value) is kind


def test_every_reason_of_a_file_has_its_error() -> None:
    assert isinstance(radiograph_error(Reason.TRUNCATED, ""), Truncated)
    assert isinstance(radiograph_error(Reason.TOO_LARGE, ""), TooLarge)


@pytest.mark.parametrize("name", REPLIES, ids=lambda name: name.decode())
def test_nonsense_is_an_error_and_nothing_runs(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels, name: bytes
) -> None:
    ours, theirs = link
    theirs.sendall(REPLIES[name])
    with pytest.raises((EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError)):
        reply(ours, shared)


def test_the_fake_replies_are_wrong_in_one_place_each(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels
) -> None:
    """What they alter is why they are refused."""
    ours, theirs = link
    theirs.sendall(framed(json.dumps(GOOD).encode()))
    assert reply(ours, shared).source.view_position == "AP"


def test_a_header_that_is_cut_is_a_dead_worker(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels
) -> None:
    ours, theirs = link
    theirs.sendall(framed(json.dumps(GOOD).encode())[:-1])
    theirs.close()
    with pytest.raises(EOFError):
        reply(ours, shared)


@pytest.mark.parametrize("side", [0, -1, 8193])
def test_no_model_input_has_such_a_side(side: int) -> None:
    with pytest.raises(ValueError, match="ModelInput"):
        wire.SharedPixels.make(side)


def test_readiness_tells_what_is_missing(link: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = link
    wire.send_ready(theirs, ["landlock"], "01" * 32)
    assert wire.receive_ready(ours, until_s=time.monotonic() + 5) == (("landlock",), "01" * 32)


def test_a_reply_that_drips_is_not_waited_for_longer_than_one_that_does_not_come(
    link: tuple[socket.socket, socket.socket], shared: wire.SharedPixels
) -> None:
    ours, theirs = link
    stop = threading.Event()

    def drip() -> None:
        for byte in framed(b" " * 60000):
            if stop.wait(0.02):
                return
            theirs.sendall(bytes([byte]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    started_s = time.monotonic()
    with pytest.raises(TimeoutError):
        reply(ours, shared, within_s=0.5)
    assert time.monotonic() - started_s < 5
    stop.set()
    dripping.join()


def test_a_worker_cannot_take_the_shared_memory_away(shared: wire.SharedPixels) -> None:
    """The box would die of it while it reads."""
    for size_bytes in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(shared.descriptor, size_bytes)


def test_a_closed_link_ends_the_requests(link: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = link
    ours.close()
    assert wire.receive_request(theirs) is None


def test_a_request_carries_the_file(link: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with snapshot(path) as frozen:
        number = wire.send_request(link[0], frozen)
        again = wire.send_request(link[0], frozen)
        request = wire.receive_request(link[1])
    assert request is not None
    assert request.number == number != again
    assert (request.sha256, request.size_bytes) == (frozen.sha256, len(b"content"))
    assert os.pread(request.descriptor, 100, 0) == b"content"
    os.close(request.descriptor)
