"""Deflated Explicit VR Little Endian -> the data set's bytes, as a stream that ends at a limit (PS3.5 A.5)."""

import zlib

from edge.errors import Bomb, Truncated, Unreadable
from edge.imaging.limits import MAX_DATA_SET_BYTES

_STEP_BYTES = 1024 * 1024


def inflate(deflated: memoryview, *, limit_bytes: int = MAX_DATA_SET_BYTES) -> bytearray:
    """Raises Bomb beyond `limit_bytes`, without having made more than a step of it, and Truncated before the end."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    try:
        for start in range(0, len(deflated), _STEP_BYTES):
            waiting = bytes(deflated[start : start + _STEP_BYTES])
            while waiting and not stream.eof:
                inflated += stream.decompress(waiting, _STEP_BYTES)
                waiting = stream.unconsumed_tail
                _check(len(inflated), limit_bytes)
            if stream.eof:
                break
        while not stream.eof and (rest := stream.decompress(b"", _STEP_BYTES)):  # what it has taken in and not given
            inflated += rest
            _check(len(inflated), limit_bytes)
    except zlib.error:
        raise Unreadable("the deflated data set is damaged; send it again") from None
    if not stream.eof:
        raise Truncated("the deflated data set ends before its last block; send it again")
    return inflated


def _check(inflated_bytes: int, limit_bytes: int) -> None:
    if inflated_bytes > limit_bytes:
        raise Bomb(f"the data set inflates to more than {limit_bytes} bytes; find out who sent it")
