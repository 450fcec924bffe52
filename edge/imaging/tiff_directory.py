"""The directory of a TIFF, judged and rewritten before a decoder reads it (TIFF 6.0 section 2; BigTIFF)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from edge.errors import Bomb, NotARadiograph, Truncated, Unreadable

MAX_TAGS = 4096
MAX_VALUES = 200_000  # of one tag: a strip for every row, or a palette
_MOST_PAGES = 100
# What makes the picture: sizes, bits, compression, photometric interpretation, strips and tiles, predictor, palette,
# samples, and the tables and subsampling of JPEG.
_KEPT = frozenset(
    {256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 338, 339, 347, 530}
)
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True)
class _Layout:
    """Byte order, and how wide counts and offsets are: TIFF or BigTIFF."""

    order: str
    first: int
    count: struct.Struct
    entry: struct.Struct  # tag, type, number of values
    offset: struct.Struct


def essential(content: bytes) -> bytearray:
    """The TIFF with one directory of the tags that the picture needs.

    Raises NotARadiograph for several pages, Truncated when something lies beyond the end, Bomb for absurd tags.
    """
    layout = _layout(content)
    (start,) = layout.offset.unpack_from(content, layout.first)
    pages = sum(1 for _ in _directories(content, start, layout))
    if pages == 0:
        raise Truncated("the TIFF ends before its directory; send it again")
    if pages > 1:
        several = f"{_MOST_PAGES} pages or more" if pages == _MOST_PAGES else f"{pages} pages"
        raise NotARadiograph(f"the TIFF holds {several}; send one radiograph a file")
    kept = [entry for entry in _entries(content, start, layout) if _is_kept(entry, content, layout)]
    directory = layout.count.pack(len(kept)) + b"".join(kept) + bytes(layout.offset.size)
    rewritten = bytearray(content)
    rewritten[start : start + len(directory)] = directory  # shorter than the old one, or as long
    return rewritten


def _layout(content: bytes) -> _Layout:
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    if len(content) < (16 if big else 8):
        raise Truncated("the TIFF ends inside its header; send it again")
    if big:
        return _Layout(order, 8, *(struct.Struct(order + form) for form in ("Q", "HHQ", "Q")))
    return _Layout(order, 4, *(struct.Struct(order + form) for form in ("H", "HHL", "L")))


def _directories(content: bytes, start: int, layout: _Layout) -> Iterator[int]:
    """Where each lies, up to one that is cut: a chain may be long, or a ring."""
    for _ in range(_MOST_PAGES):
        if not 0 < start <= len(content) - layout.count.size:
            return
        (tags,) = layout.count.unpack_from(content, start)
        if tags > MAX_TAGS:
            raise Bomb(f"the TIFF has {tags} tags; at most {MAX_TAGS} are read: find out who sent it")
        end = start + layout.count.size + tags * _entry_bytes(layout)
        if end + layout.offset.size > len(content):
            return
        yield start
        (start,) = layout.offset.unpack_from(content, end)


def _entries(content: bytes, start: int, layout: _Layout) -> Iterator[bytes]:
    (tags,) = layout.count.unpack_from(content, start)
    size, at = _entry_bytes(layout), start + layout.count.size
    return (content[at + number * size : at + (number + 1) * size] for number in range(tags))


def _entry_bytes(layout: _Layout) -> int:
    return layout.entry.size + layout.offset.size


def _is_kept(entry: bytes, content: bytes, layout: _Layout) -> bool:
    tag, kind, count = layout.entry.unpack_from(entry)
    if tag not in _KEPT:
        return False
    if kind not in _TYPE_BYTES:
        raise Unreadable(f"tag {tag} of the TIFF is of an unknown type; send it again")
    if count > MAX_VALUES:
        raise Bomb(f"tag {tag} of the TIFF has {count} values; at most {MAX_VALUES} are read: find out who sent it")
    value_bytes = count * _TYPE_BYTES[kind]
    if value_bytes > layout.offset.size:
        (at,) = layout.offset.unpack_from(entry, layout.entry.size)
        if at + value_bytes > len(content):
            raise Truncated("the TIFF ends inside its directory; send it again")
    return True
