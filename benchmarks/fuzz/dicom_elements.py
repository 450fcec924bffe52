"""Where the elements of a DICOM file lie, as far as they can be followed: what the edits need to change them."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

PREFIX_BYTES = 132
LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_DEFLATED, _BIG, _IMPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2"
_MOST = 400


@dataclass(frozen=True)
class Element:
    """at: where its tag stands. length_at, length_bytes: where its length stands, and in how many bytes. start, end: of
    its value; of a sequence or an item, start alone counts. vr: b"" where none is written."""

    tag: tuple[int, int]
    at: int
    vr: bytes
    length_at: int
    length_bytes: int
    start: int
    end: int
    order: str  # of its numbers: < or >


@lru_cache(maxsize=256)
def elements(content: bytes) -> tuple[Element, ...]:
    """In file order, flat: items of sequences and of encapsulated pixels come after what holds them."""
    return tuple(_walk(content))


@lru_cache(maxsize=256)
def deflated_part(content: bytes) -> tuple[int, bytes] | None:
    """Where the deflated data set of a file begins, and what it holds; None in any other file."""
    meta = [element for element in elements(content) if element.tag[0] == 2]
    if not meta or not any(content[element.start : element.end].rstrip(b"\0") == _DEFLATED for element in meta):
        return None
    start = meta[-1].end
    try:
        return start, zlib.decompressobj(-15).decompress(content[start:], 1 << 18)
    except zlib.error:
        return None


def deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def _walk(content: bytes) -> Iterator[Element]:
    """Into every sequence, since what holds others has its header stepped over and not its value."""
    at, order, implicit = (PREFIX_BYTES if content[128:132] == b"DICM" else 0), "<", False
    syntax, in_meta = b"", content[128:132] == b"DICM"
    for _ in range(_MOST):
        if at + 8 > len(content):
            return
        if in_meta and content[at : at + 2] != b"\x02\x00":
            in_meta = False
            if syntax == _DEFLATED:
                return
            order, implicit = (">" if syntax == _BIG else "<"), syntax == _IMPLICIT
        element = _element(content, at, order, implicit=implicit)
        if element is None:
            return
        yield element
        if element.tag == (2, 0x10):
            syntax = content[element.start : element.end].rstrip(b"\0 ")
        inside = element.vr == b"SQ" or (element.tag[0] == 0xFFFE and element.tag != ITEM)
        holds = (
            inside
            or element.end - element.start == UNDEFINED
            or (element.tag == ITEM and _holds_elements(content, element))
        )
        at = element.start if holds else element.end


def _holds_elements(content: bytes, item: Element) -> bool:
    """An item of a sequence, and not a fragment of pixels: it begins with a tag of a low group."""
    (group,) = struct.unpack_from(item.order + "H", content[item.start : item.start + 2].ljust(2, b"\xff"))
    return group in (8, 0x10, 0x20, 0x28, 0x40, 0x9, 0x19, 0x55)


def _element(content: bytes, at: int, order: str, *, implicit: bool) -> Element | None:
    tag = struct.unpack_from(order + "HH", content, at)
    vr = b"" if implicit or tag[0] == 0xFFFE else content[at + 4 : at + 6]
    if vr and not vr.isalpha():
        return None
    if vr in LONG_VRS:
        length_at, size = at + 8, 4
    elif vr:
        length_at, size = at + 6, 2
    else:
        length_at, size = at + 4, 4
    if length_at + size > len(content):
        return None
    (length,) = struct.unpack_from(order + ("I" if size == 4 else "H"), content, length_at)
    start = length_at + size
    return Element(tag, at, vr, length_at, size, start, start + length, order)
