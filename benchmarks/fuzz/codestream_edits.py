"""Edits of a compressed picture, alone or within a DICOM file: marker lengths and what the headers say.

JPEG and JPEG-LS (ITU-T T.81, T.87), JPEG 2000 and HTJ2K with their boxes (ITU-T T.800). They keep the length of the
file, so that what surrounds the picture stays true.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, wraps

from benchmarks.fuzz.byte_edits import INTERESTING, WORDS, overwrite

_JPEG, _WAVELET, _BOXES = b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_ALONE = frozenset((0x01, 0x4F, 0x92, 0x93, 0xD8, 0xD9, *range(0xD0, 0xD8), *range(0x30, 0x40)))
_LAST = frozenset((0xDA, 0x93))  # what follows is coded data
_MOST = 64


@dataclass(frozen=True)
class Segment:
    """A marker with a length: at is where its 0xFF stands, end where it ends."""

    marker: int
    at: int
    end: int


@lru_cache(maxsize=256)
def find(content: bytes) -> int | None:
    """Where a codestream or its boxes begin."""
    places = [at for magic in (_JPEG, _WAVELET, _BOXES) if (at := content.find(magic)) >= 0]
    return min(places, default=None)


@lru_cache(maxsize=256)
def segments(content: bytes) -> tuple[Segment, ...]:
    """The markers of the first header, up to its coded data."""
    found: list[Segment] = []
    at = min((at for magic in (_JPEG, _WAVELET) if (at := content.find(magic)) >= 0), default=len(content))
    while at + 4 <= len(content) and content[at] == 0xFF and len(found) < _MOST:
        marker = content[at + 1]
        if marker in _ALONE:
            at += 2
            if marker in _LAST:
                break
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        found.append(Segment(marker, at, min(len(content), at + 2 + length)))
        at += 2 + length
        if marker in _LAST:
            break
    return tuple(found)


def _on_segment(change: Callable[[random.Random, bytes, Segment], bytes]) -> Callable[[random.Random, bytes], bytes]:
    @wraps(change)
    def edit(rng: random.Random, content: bytes) -> bytes:
        found = segments(content)
        return change(rng, content, rng.choice(found)) if found else spoil_coded(rng, content)

    return edit


@_on_segment
def set_segment_length(rng: random.Random, content: bytes, segment: Segment) -> bytes:
    length = rng.choice((rng.choice(INTERESTING), segment.end - segment.at - 2 + rng.randint(-3, 3)))
    return overwrite(content, segment.at + 2, struct.pack(">H", length % 65536))


@_on_segment
def set_segment_number(rng: random.Random, content: bytes, segment: Segment) -> bytes:
    """A size, depth, count or table entry of a header, in 1, 2 or 4 bytes."""
    size = rng.choice("BBHI")
    at = rng.randrange(segment.at + 4, max(segment.at + 5, segment.end))
    return overwrite(content, at, struct.pack(">" + size, rng.choice(INTERESTING) % (1 << 8 * struct.calcsize(size))))


@_on_segment
def flip_segment_bits(rng: random.Random, content: bytes, segment: Segment) -> bytes:
    at = rng.randrange(segment.at + 4, max(segment.at + 5, segment.end))
    return overwrite(content, at, bytes([content[at] ^ 1 << rng.randrange(8)])) if at < len(content) else content


@_on_segment
def set_marker(rng: random.Random, content: bytes, segment: Segment) -> bytes:
    kind = rng.choice(
        (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xF7, 0xC4, 0xDB, 0xDA, 0xD9, 0x51, 0x52, 0x5C, 0x90, 0x50, rng.randrange(256))
    )
    return overwrite(content, segment.at + 1, bytes([kind]))


@_on_segment
def set_size(rng: random.Random, content: bytes, segment: Segment) -> bytes:
    """The size of the picture: of a JPEG's frame header, or of a JPEG 2000 SIZ with its tiles and components."""
    for found in segments(content):
        if found.marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
            return overwrite(
                content, found.at + 4 + rng.choice((0, 1, 3, 5)), struct.pack(">H", rng.choice(INTERESTING) % 65536)
            )
        if found.marker == 0x51:
            at = found.at + rng.choice((6, 10, 14, 18, 22, 26, 30, 34))
            return overwrite(content, at, struct.pack(">I", rng.choice(INTERESTING)))
    return set_segment_number(rng, content)


@_on_segment
def swap_segments(rng: random.Random, content: bytes, segment: Segment) -> bytes:
    first, second = sorted((segment, rng.choice(segments(content))), key=lambda each: each.at)
    if first is second:
        return content
    middle = content[first.end : second.at]
    return (
        content[: first.at]
        + content[second.at : second.end]
        + middle
        + content[first.at : first.end]
        + content[second.end :]
    )


def spoil_coded(rng: random.Random, content: bytes) -> bytes:
    """The coded data, or the boxes in front of them."""
    found, start = segments(content), find(content)
    at = found[-1].end if found and rng.random() < 0.8 else start or 0
    changed = bytearray(content)
    for _ in range(rng.choice((1, 3, 20))):
        place = rng.randrange(at, len(content)) if at < len(content) else -1
        if place >= 0:
            changed[place] = rng.choice((0, 0xFF, changed[place] ^ 1 << rng.randrange(8), rng.randrange(256)))
    return bytes(changed)


def stop_coded(rng: random.Random, content: bytes) -> bytes:
    """A marker or a foreign word amid the coded data."""
    found = segments(content)
    at = (
        rng.randrange(found[-1].end if found else 0, len(content) + 1) if found and found[-1].end <= len(content) else 0
    )
    return overwrite(
        content, at, rng.choice((b"\xff\xd9", b"\xff\xd0", b"\xff\xda", b"\xff\x90\0\x0a", rng.choice(WORDS)))
    )


EDITS = (set_segment_length, set_segment_number, set_segment_number, flip_segment_bits, set_marker, set_size, set_size,
         swap_segments, spoil_coded, stop_coded)  # fmt: skip
