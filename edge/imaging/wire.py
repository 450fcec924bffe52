"""What passes between the box and a decode worker: JSON and raw arrays over a socket, and never a pickle.

Request: one byte with a file descriptor beside it. Reply: length, JSON header, then float32 pixels if there are any.
"""

import json
import socket
import struct
from dataclasses import asdict
from typing import Any

import numpy as np

from edge.errors import RadiographError, radiograph_error
from edge.values import Crop, Decoded, ModelInput, Reason, Source

REQUEST = b"D"
_LENGTH = struct.Struct(">I")
_HEADER_LIMIT_BYTES = 64 * 1024
_MOST_SIDE = 8192


def send_request(link: socket.socket, descriptor: int) -> None:
    socket.send_fds(link, [REQUEST], [descriptor])


def receive_request(link: socket.socket) -> int | None:
    """The descriptor to decode, or None when the box has closed the link."""
    message, descriptors, _, _ = socket.recv_fds(link, 1, 1)
    return descriptors[0] if message and descriptors else None


def send_decoded(link: socket.socket, decoded: Decoded) -> None:
    header = {
        "source": asdict(decoded.source),
        "crop": asdict(decoded.model_input.crop),
        "digest": decoded.model_input.preprocessing_digest,
        "side": decoded.model_input.pixels.shape[-1],
        "timings_s": decoded.timings_s,
    }
    _send(link, header, np.ascontiguousarray(decoded.model_input.pixels).data)


def send_refusal(link: socket.socket, refusal: RadiographError) -> None:
    _send(link, {"reason": refusal.reason, "detail": str(refusal)}, memoryview(b""))


def receive_reply(link: socket.socket) -> Decoded:
    """Raises the RadiographError that the worker reported, EOFError when it died, TimeoutError when it hangs.

    Nonsense raises ValueError, KeyError, TypeError or RecursionError, and takes no more memory than a picture.
    """
    (length,) = _LENGTH.unpack(_receive(link, _LENGTH.size))
    if length > _HEADER_LIMIT_BYTES:
        raise EOFError(f"a worker announced a header of {length} bytes")
    header: dict[str, Any] = json.loads(_receive(link, length))
    if "reason" in header:
        raise radiograph_error(Reason(header["reason"]), header["detail"])
    side = int(header["side"])
    if not 0 < side <= _MOST_SIDE:
        raise ValueError(f"a worker announced a picture of {side} x {side}")
    pixels = np.frombuffer(_receive(link, side * side * 4), np.float32).reshape(1, side, side)
    model_input = ModelInput(pixels, Crop(**header["crop"]), header["digest"])
    return Decoded(Source(**header["source"]), model_input, header["timings_s"])


def _send(link: socket.socket, header: dict[str, Any], body: memoryview) -> None:
    encoded = json.dumps(header).encode()
    link.sendall(_LENGTH.pack(len(encoded)) + encoded)
    link.sendall(body)


def _receive(link: socket.socket, size: int) -> bytearray:
    received = bytearray(size)
    view = memoryview(received)
    while view:
        count = link.recv_into(view)
        if count == 0:
            raise EOFError("the worker closed the link")
        view = view[count:]
    return received
