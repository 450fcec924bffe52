"""What passes between the box and a decode worker: pixels in shared memory, JSON over a socket, and never a pickle.

A worker may be in the hands of the file that it decodes. So the box believes nothing that it says: what comes back is
checked field by field, and what a file is called (its digest, its format) the box knows by itself.
"""

import json
import math
import mmap
import os
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import RadiographError, radiograph_error
from edge.snapshot import Snapshot
from edge.values import Crop, Decoded, ModelInput, Reason, Source

_REQUEST = struct.Struct(">32sQ")  # the file's digest and size; its descriptor comes beside it
_LENGTH = struct.Struct(">I")
_HEADER_LIMIT_BYTES = 64 * 1024
_MOST_SIDE = 8192
_MOST_DETAIL = 500
_VIEWS = (None, "AP", "PA", "LATERAL")
_DIGEST = re.compile("[0-9a-f]{64}")
_KNOWN_BY_THE_BOX = ("sha256", "format")


@dataclass(frozen=True)
class Request:
    """A file to decode: an open descriptor, to be closed by who receives it."""

    descriptor: int
    sha256: str
    size_bytes: int


class SharedPixels:
    """Memory that a worker writes its ModelInput's pixels into and the box copies them out of: one at a time.

    pixels: float32 [1, side, side].
    """

    def __init__(self, descriptor: int, side: int) -> None:
        self.descriptor = descriptor
        self._mapped = mmap.mmap(descriptor, side * side * np.dtype(np.float32).itemsize)
        self.pixels = np.frombuffer(self._mapped, np.float32).reshape(1, side, side)

    @classmethod
    def make(cls, side: int) -> Self:
        """A new one. Raises ValueError when nothing is that large."""
        if not 0 < side <= _MOST_SIDE:
            raise ValueError(f"a ModelInput of {side} x {side} pixels")
        descriptor = os.memfd_create("model-input", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, side * side * np.dtype(np.float32).itemsize)
        return cls(descriptor, side)

    def close(self) -> None:
        del self.pixels  # or the mapping cannot be closed
        self._mapped.close()
        os.close(self.descriptor)


def send_request(link: socket.socket, frozen: Snapshot) -> None:
    message = _REQUEST.pack(bytes.fromhex(frozen.sha256), frozen.size_bytes)
    socket.send_fds(link, [message], [frozen.descriptor])


def receive_request(link: socket.socket) -> Request | None:
    """The file to decode, or None when the box has closed the link."""
    message, descriptors, _, _ = socket.recv_fds(link, _REQUEST.size, 1)
    if len(message) != _REQUEST.size or not descriptors:
        return None
    digest, size_bytes = _REQUEST.unpack(message)
    return Request(descriptors[0], digest.hex(), size_bytes)


def send_ready(link: socket.socket, missing: list[str]) -> None:
    """Once everything is imported and the worker is confined. missing: the layers of its sandbox that are not there."""
    _send(link, {"missing": missing})


def receive_ready(link: socket.socket) -> list[str]:
    """Raises EOFError when the worker died instead."""
    return [str(layer) for layer in _receive_header(link)["missing"]]


def send_decoded(link: socket.socket, decoded: Decoded, shared: SharedPixels) -> None:
    shared.pixels[...] = decoded.model_input.pixels
    source = {name: value for name, value in asdict(decoded.source).items() if name not in _KNOWN_BY_THE_BOX}
    header = {
        "source": source,
        "crop": asdict(decoded.model_input.crop),
        "digest": decoded.model_input.preprocessing_digest,
        "timings_s": decoded.timings_s,
    }
    _send(link, header)


def send_refusal(link: socket.socket, refusal: RadiographError) -> None:
    _send(link, {"reason": refusal.reason, "detail": str(refusal)[:_MOST_DETAIL]})


def receive_reply(link: socket.socket, frozen: Snapshot, shared: SharedPixels) -> Decoded:
    """The answer to a request. Raises the RadiographError that the worker reported, EOFError when it died, TimeoutError
    when it hangs; on nonsense ValueError, KeyError, TypeError or RecursionError.
    """
    header = _receive_header(link)
    if "reason" in header:
        raise radiograph_error(Reason(header["reason"]), _checked_detail(header["detail"]))
    if frozen.format is None:
        raise ValueError("a worker found pixels in what is neither DICOM nor a picture")
    source = Source(sha256=frozen.sha256, format=frozen.format, **_checked_source(header["source"]))
    model_input = ModelInput(_checked_pixels(shared), _checked_crop(header["crop"]), _digest(header["digest"]))
    return Decoded(source, model_input, _checked_timings(header["timings_s"]))


def _checked_source(told: Mapping[str, Any]) -> dict[str, Any]:
    """The allow-list: no other field leaves a worker, and none of these can hold a word of a header."""
    checks = {
        "rows": _count,
        "columns": _count,
        "pixels_sha256": _digest,
        "view_position": _view,
        "lossy": _flag,
        "minor": _flag,
        "instance_key": _key,
        "patient_key": _key,
    }
    return {name: check(told[name]) for name, check in checks.items()}


def _checked_crop(told: Mapping[str, Any]) -> Crop:
    return Crop(**{field.name: _count(told[field.name]) for field in fields(Crop)})


def _checked_timings(told: Mapping[str, Any]) -> dict[str, float]:
    timings_s = {stage: float(told[stage]) for stage in ("decode", "preprocess")}
    if not all(math.isfinite(spent_s) and spent_s >= 0 for spent_s in timings_s.values()):
        raise ValueError("a worker told a time that cannot be")
    return timings_s


def _checked_pixels(shared: SharedPixels) -> NDArray[np.float32]:
    """A copy, for the worker may write there at any time."""
    pixels = shared.pixels.copy()
    if not (pixels.min() >= 0 and pixels.max() <= 1):  # and no NaN, which is neither
        raise ValueError("a worker's pixels lie outside 0..1")
    return pixels


def _checked_detail(told: Any) -> str:
    if not isinstance(told, str) or len(told) > _MOST_DETAIL or not told.isprintable():
        raise ValueError("a worker's detail is no line of text")
    return told


def _count(told: Any) -> int:
    if type(told) is not int or not 0 <= told < 1 << 31:
        raise ValueError("a worker's number is none")
    return told


def _flag(told: Any) -> bool:
    if type(told) is not bool:
        raise ValueError("a worker's flag is none")
    return told


def _digest(told: Any) -> str:
    if not isinstance(told, str) or not _DIGEST.fullmatch(told):
        raise ValueError("a worker's digest is none")
    return told


def _key(told: Any) -> str | None:
    return None if told is None else _digest(told)


def _view(told: Any) -> str | None:
    if told not in _VIEWS:
        raise ValueError("a worker's view is none")
    return None if told is None else str(told)


def _send(link: socket.socket, header: Mapping[str, Any]) -> None:
    encoded = json.dumps(header).encode()
    link.sendall(_LENGTH.pack(len(encoded)) + encoded)


def _receive_header(link: socket.socket) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_receive(link, _LENGTH.size))
    if length > _HEADER_LIMIT_BYTES:
        raise EOFError(f"a worker announced a header of {length} bytes")
    header = json.loads(_receive(link, length))
    if not isinstance(header, dict):
        raise ValueError("a worker's header is no object")
    return header


def _receive(link: socket.socket, size: int) -> bytearray:
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = link.recv_into(view)
        if count == 0:
            raise EOFError("the worker closed the link")
        view = view[count:]
    return received
