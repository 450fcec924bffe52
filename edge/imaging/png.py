"""PNG bytes -> the chunks that make the picture, and its size (PNG third edition, section 5).

Everything else is dropped before a decoder sees it: text, profiles and animations may inflate without bound, and
whatever follows the picture may be another file.
"""

import struct

from edge.errors import Bomb, Truncated, Unreadable
from edge.imaging.limits import PictureSize

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 100_000  # 80 MB in the smallest pieces that encoders write, of some kilobytes, are 20,000
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_SAMPLES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}  # by colour type; a palette's index becomes RGB, with tRNS RGBA
_CHUNK = struct.Struct(">I4s")
_AROUND_BYTES = 12  # of a chunk: length, kind, checksum


def picture_size(content: bytes) -> PictureSize:
    """Raises Truncated or Unreadable without an IHDR chunk where it must be."""
    if len(content) < 33:
        raise Truncated("the PNG ends inside its header; send it again")
    length, kind, columns, rows, bits, colour_type = struct.unpack_from(">I4sIIBB", content, len(SIGNATURE))
    if (length, kind) != (13, b"IHDR") or colour_type not in _SAMPLES or bits not in (1, 2, 4, 8, 16):
        raise Unreadable("the PNG does not begin with a header that makes sense; send it again")
    return PictureSize(rows, columns, _SAMPLES[colour_type], bits)


def essential(content: bytes) -> bytes:
    """The PNG with only the chunks that the picture needs.

    Raises Truncated when it ends before IEND, Bomb for endless chunks, Unreadable when another file follows.
    """
    whole = memoryview(content)
    kept: list[bytes | memoryview] = [SIGNATURE]
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + _CHUNK.size > len(content):
            raise Truncated("the PNG ends before its IEND chunk; send it again")
        length, kind = _CHUNK.unpack_from(content, at)
        end = at + _AROUND_BYTES + length
        if kind == b"IEND":
            _check_nothing_follows(content, end)
            return b"".join([*kept, whole[at:end]])
        if end > len(content):
            raise Truncated("the PNG ends inside a chunk; send it again")
        if kind in _KEPT:
            kept.append(whole[at:end])
        elif kind[0] < ord("a"):  # a capital: no decoder may pass it by
            raise Unreadable("the PNG has a critical chunk that no standard knows; send it again")
        at = end
    raise Bomb(f"the PNG has more than {MAX_CHUNKS} chunks; find out who sent it")


def _check_nothing_follows(content: bytes, end: int) -> None:
    if content[end:].strip(b"\0\r\n\x1a "):  # transfers pad
        raise Unreadable("another file follows the PNG: archives and programs hide there; send the picture alone")
