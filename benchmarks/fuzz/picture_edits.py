"""Edits of PNG chunks, with their sums made right, and of TIFF directories."""

import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps

from benchmarks.fuzz.byte_edits import BYTE_EDITS, INTERESTING, overwrite
from benchmarks.fuzz.canary import WORD
from benchmarks.fuzz.picture_seeds import PNG_START, chunk

Chunks = tuple[tuple[bytes, bytes], ...]  # kind and body
_FOREIGN = (
    (b"PLTE", bytes(range(48))), (b"tRNS", b"\0\x10"), (b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000))),
    (b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000))), (b"IDAT", b""), (b"IEND", b""), (b"acTL", b"\0\0\0\2\0\0\0\0"),
    (b"tEXt", b"a\0" + WORD.encode()), (b"sBIT", b"\x01"), (b"bKGD", b"\0\0"), (b"ABCD", b"critical"),
    (b"IHDR", bytes(13)),
)  # fmt: skip
_TIFF_TAGS = (
    254,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    274,
    277,
    278,
    279,
    284,
    317,
    320,
    322,
    323,
    324,
    325,
    330,
    338,
    339,
    347,
)
_TIFF_VALUES = (*INTERESTING, 5, 6, 32773, 32946, 34712, 34887, 50000, 50001, 52546)


@lru_cache(maxsize=256)
def chunks(content: bytes) -> Chunks:
    found, at = [], len(PNG_START)
    while at + 12 <= len(content) and len(found) < 100:
        (length,) = struct.unpack_from(">I", content, at)
        if at + 12 + length > len(content):
            break
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return tuple(found)


def _on_chunks(
    change: Callable[[random.Random, list[tuple[bytes, bytes]]], None],
) -> Callable[[random.Random, bytes], bytes]:
    @wraps(change)
    def edit(rng: random.Random, content: bytes) -> bytes:
        found = list(chunks(content))
        if not found:
            return rng.choice(BYTE_EDITS)(rng, content)
        change(rng, found)
        return PNG_START + b"".join(chunk(kind, body) for kind, body in found)

    return edit


@_on_chunks
def set_png_header(rng: random.Random, found: list[tuple[bytes, bytes]]) -> None:
    """Sizes, depth, colour type, interlace."""
    kind, body = found[0]
    at = rng.choice((0, 4, 8, 9, 10, 11, 12))
    word = (
        struct.pack(">I", rng.choice(INTERESTING))
        if at < 8
        else bytes([rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 32, 255))])
    )
    found[0] = kind, overwrite(body, at, word)


@_on_chunks
def spoil_chunk(rng: random.Random, found: list[tuple[bytes, bytes]]) -> None:
    number = rng.randrange(len(found))
    kind, body = found[number]
    found[number] = kind, rng.choice(BYTE_EDITS)(rng, body)


@_on_chunks
def spoil_lines(rng: random.Random, found: list[tuple[bytes, bytes]]) -> None:
    """What is packed in IDAT is spoiled and packed again: filter types, too much, too little."""
    for number, (kind, body) in enumerate(found):
        if kind == b"IDAT":
            try:
                lines = zlib.decompressobj().decompress(body, 1 << 20)
            except zlib.error:
                return
            spoiled = lines * 200 if rng.random() < 0.05 else rng.choice(BYTE_EDITS)(rng, lines)
            found[number] = kind, zlib.compress(spoiled)
            return


@_on_chunks
def add_chunk(rng: random.Random, found: list[tuple[bytes, bytes]]) -> None:
    found.insert(rng.randrange(len(found) + 1), rng.choice(_FOREIGN))


@_on_chunks
def move_chunk(rng: random.Random, found: list[tuple[bytes, bytes]]) -> None:
    """Elsewhere, or gone, or there twice."""
    moved = found[rng.randrange(len(found))]
    if rng.random() < 0.7:
        found.remove(moved)
    if rng.random() < 0.7:
        found.insert(rng.randrange(len(found) + 1), moved)


@_on_chunks
def split_data(rng: random.Random, found: list[tuple[bytes, bytes]]) -> None:
    for number, (kind, body) in enumerate(found):
        if kind == b"IDAT":
            step = rng.choice((1, 7, 100))
            found[number : number + 1] = [
                (kind, body[at : at + step]) for at in range(0, min(len(body), 400 * step), step)
            ]
            return


def set_chunk_length(rng: random.Random, content: bytes) -> bytes:
    """Of any chunk; its sum does not fit then."""
    at = len(PNG_START)
    for _, body in chunks(content):
        if rng.random() < 0.3:
            return overwrite(content, at, struct.pack(">I", rng.choice((*INTERESTING, len(body) + 1))))
        at += 12 + len(body)
    return content


@dataclass(frozen=True)
class Entry:
    """A directory entry of a TIFF: tag, type, count and value stand at these places."""

    at: int
    order: str
    big: bool


@lru_cache(maxsize=256)
def entries(content: bytes) -> tuple[Entry, ...]:
    """Of the first directory."""
    order = ">" if content[:1] == b"M" else "<"
    big = content[2:4] in (b"+\0", b"\0+")
    try:
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), content, at)
    except (struct.error, OverflowError):  # an offset may be any number
        return ()
    first, size = at + (8 if big else 2), 20 if big else 12
    return tuple(
        Entry(first + size * each, order, big) for each in range(min(count, 60)) if first + size * each < len(content)
    )


def _on_entry(change: Callable[[random.Random, bytes, Entry], bytes]) -> Callable[[random.Random, bytes], bytes]:
    @wraps(change)
    def edit(rng: random.Random, content: bytes) -> bytes:
        found = entries(content)
        return change(rng, content, rng.choice(found)) if found else rng.choice(BYTE_EDITS)(rng, content)

    return edit


@_on_entry
def set_tiff_tag(rng: random.Random, content: bytes, entry: Entry) -> bytes:
    return overwrite(content, entry.at, struct.pack(entry.order + "H", rng.choice(_TIFF_TAGS)))


@_on_entry
def set_tiff_type(rng: random.Random, content: bytes, entry: Entry) -> bytes:
    return overwrite(content, entry.at + 2, struct.pack(entry.order + "H", rng.choice((0, *range(1, 19), 65535))))


@_on_entry
def set_tiff_count(rng: random.Random, content: bytes, entry: Entry) -> bytes:
    return overwrite(
        content, entry.at + 4, struct.pack(entry.order + ("Q" if entry.big else "I"), rng.choice(INTERESTING))
    )


@_on_entry
def set_tiff_value(rng: random.Random, content: bytes, entry: Entry) -> bytes:
    size = rng.choice("HI")
    value = rng.choice(_TIFF_VALUES) % (1 << 8 * struct.calcsize(size))
    return overwrite(content, entry.at + (12 if entry.big else 8), struct.pack(entry.order + size, value))


@_on_entry
def swap_entries(rng: random.Random, content: bytes, entry: Entry) -> bytes:
    """The last bytes of two entries, which hold their values, change places."""
    other = rng.choice(entries(content))
    start, end = (12, 20) if entry.big else (8, 12)
    one, two = content[entry.at + start : entry.at + end], content[other.at + start : other.at + end]
    return overwrite(overwrite(content, entry.at + start, two), other.at + start, one)


def set_directory(rng: random.Random, content: bytes) -> bytes:
    """Where the next directory lies: beyond the end, or where this one is, so that there is no end."""
    found = entries(content)
    if not found:
        return rng.choice(BYTE_EDITS)(rng, content)
    size = 20 if found[0].big else 12
    code = found[0].order + ("Q" if found[0].big else "I")
    this = found[0].at - (8 if found[0].big else 2)
    at = rng.choice((found[-1].at + size, 8 if found[0].big else 4))
    return overwrite(content, at, struct.pack(code, rng.choice((this, *INTERESTING))))


PNG_EDITS = (set_png_header, set_png_header, spoil_chunk, spoil_lines, spoil_lines, add_chunk, move_chunk, split_data,
             set_chunk_length)  # fmt: skip
TIFF_EDITS = (set_tiff_tag, set_tiff_type, set_tiff_count, set_tiff_value, set_tiff_value, swap_entries, set_directory)
