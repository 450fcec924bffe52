"""What passes between the box and a decode worker: pixels in shared memory, JSON over a socket, and never a pickle.

A worker may be in the hands of the file that it decodes. So the box believes nothing that it says: what comes back is
checked field by field, and what a file is called (its digest, its format) the box knows by itself.
"""

import fcntl
import json
import mmap
import os
import re
import secrets
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import RadiographError, radiograph_error
from edge.snapshot import Snapshot
from edge.values import Crop, Decoded, ModelInput, Reason, Source

_REQUEST = struct.Struct(">32sQ16s")  # the file's digest, its size, a number; its descriptor comes beside it
_LENGTH = struct.Struct(">I")
_HEADER_LIMIT_BYTES = 64 * 1024
_MOST_SIDE = 8192
_MOST_DETAIL = 500
_MOST_TIME_S = 3600.0
_AT_LEAST_S = 0.001  # a socket that is to wait for 0 s is one that never waits
_VIEWS = (None, "AP", "PA", "LATERAL")
_DIGEST = re.compile("[0-9a-f]{64}")
_KNOWN_BY_THE_BOX = ("sha256", "format")


@dataclass(frozen=True)
class Request:
    """A file to decode: an open descriptor, to be closed by who receives it."""

    descriptor: int
    sha256: str
    size_bytes: int
    number: str  # drawn by the box; the answer names it, so that none can be given ahead


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
        descriptor = os.memfd_create("model-input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, side * side * np.dtype(np.float32).itemsize)
        # Or a worker could take the memory away while the box reads it.
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        return cls(descriptor, side)

    def close(self) -> None:
        del self.pixels  # or the mapping cannot be closed
        self._mapped.close()
        os.close(self.descriptor)


def send_request(link: socket.socket, frozen: Snapshot) -> str:
    """Returns the request's number."""
    number = secrets.token_bytes(16)
    message = _REQUEST.pack(bytes.fromhex(frozen.sha256), frozen.size_bytes, number)
    socket.send_fds(link, [message], [frozen.descriptor])
    return number.hex()


def receive_request(link: socket.socket) -> Request | None:
    """The file to decode, or None when the box has closed the link."""
    message, descriptors, _, _ = socket.recv_fds(link, _REQUEST.size, 1)
    if len(message) != _REQUEST.size or not descriptors:
        return None
    digest, size_bytes, number = _REQUEST.unpack(message)
    return Request(descriptors[0], digest.hex(), size_bytes, number.hex())


def send_ready(link: socket.socket, missing: Sequence[str], preprocessing_digest: str) -> None:
    """Once everything is imported and the worker is confined. missing: the layers of its sandbox that are not there."""
    _send(link, {"missing": list(missing), "preprocessing_digest": preprocessing_digest})


def receive_ready(link: socket.socket, *, until_s: float) -> tuple[tuple[str, ...], str]:
    """The missing layers and the digest of the worker's preprocessing, before it has seen a file.

    until_s: by the monotonic clock. Raises EOFError when the worker died instead.
    """
    header = _receive_header(link, until_s)
    return tuple(str(layer) for layer in header["missing"]), str(header["preprocessing_digest"])


def send_decoded(link: socket.socket, number: str, decoded: Decoded, shared: SharedPixels) -> None:
    shared.pixels[...] = decoded.model_input.pixels
    source = {name: value for name, value in asdict(decoded.source).items() if name not in _KNOWN_BY_THE_BOX}
    crop = asdict(decoded.model_input.crop)
    _send(link, {"number": number, "source": source, "crop": crop, "timings_s": decoded.timings_s})


def send_refusal(link: socket.socket, number: str, refusal: RadiographError) -> None:
    _send(link, {"number": number, "reason": refusal.reason, "detail": str(refusal)[:_MOST_DETAIL]})


def receive_reply(
    link: socket.socket,
    number: str,
    frozen: Snapshot,
    shared: SharedPixels,
    *,
    preprocessing_digest: str,
    until_s: float,
) -> Decoded:
    """The answer to a request.

    until_s: by the monotonic clock. Raises the RadiographError that the worker reported, EOFError when it died,
    TimeoutError when it hangs; on nonsense ValueError, KeyError, TypeError, AttributeError or RecursionError.
    """
    header = _receive_header(link, until_s)
    if header["number"] != number:
        raise ValueError("a worker answers what was not asked")
    if "reason" in header:
        raise radiograph_error(Reason(header["reason"]), _checked_detail(header["detail"]))
    if frozen.format is None:
        raise ValueError("a worker found pixels in what is neither DICOM nor a picture")
    source = Source(sha256=frozen.sha256, format=frozen.format, **_checked_source(header["source"]))
    pixels = _checked_pixels(shared)
    crop = _checked_crop(header["crop"], source, side=pixels.shape[-1])
    return Decoded(source, ModelInput(pixels, crop, preprocessing_digest), _checked_timings(header["timings_s"]))


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


def _checked_crop(told: Mapping[str, Any], source: Source, *, side: int) -> Crop:
    """Inside the radiograph and inside the ModelInput of `side` pixels, and not empty."""
    crop = Crop(**{field.name: _count(told[field.name]) for field in fields(Crop)})
    spans = (
        (crop.top, crop.height, source.rows),
        (crop.left, crop.width, source.columns),
        (crop.model_top, crop.model_height, side),
        (crop.model_left, crop.model_width, side),
    )
    if not all(length > 0 and start + length <= whole for start, length, whole in spans):
        raise ValueError("a worker's crop lies outside the picture")
    return crop


def _checked_timings(told: Mapping[str, Any]) -> dict[str, float]:
    timings_s = {stage: told[stage] for stage in ("decode", "preprocess")}
    if not all(type(spent_s) in (int, float) and 0 <= spent_s <= _MOST_TIME_S for spent_s in timings_s.values()):
        raise ValueError("a worker told a time that cannot be")
    return {stage: float(spent_s) for stage, spent_s in timings_s.items()}


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


def _receive_header(link: socket.socket, until_s: float) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(_receive(link, _LENGTH.size, until_s))
    if length > _HEADER_LIMIT_BYTES:
        raise EOFError(f"a worker announced a header of {length} bytes")
    header = json.loads(_receive(link, length, until_s))
    if not isinstance(header, dict):
        raise ValueError("a worker's header is no object")
    return header


def _receive(link: socket.socket, size: int, until_s: float) -> bytearray:
    """All of it by then, in however many pieces it comes."""
    received = bytearray(size)
    view = memoryview(received)
    while view:
        link.settimeout(max(until_s - time.monotonic(), _AT_LEAST_S))
        count = link.recv_into(view)
        if count == 0:
            raise EOFError("the worker closed the link")
        view = view[count:]
        if view and time.monotonic() > until_s:
            raise TimeoutError("the worker takes too long")
    return received
