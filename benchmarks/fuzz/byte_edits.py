"""Edits that know nothing of the format: bits, bytes, and chunks that are lost, doubled, moved or foreign."""

import random
import struct

from benchmarks.fuzz.canary import WORD

INTERESTING = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 257, 512, 1023, 1024, 4095, 4096, 32767,
               32768, 65534, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip
WORDS = (
    b"DICM", b"\x00\x00\x01\xff", b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    b"\xfe\xff\x0d\xe0\x00\x00\x00\x00", b"\xe0\x7f\x10\x00", b"\xff\xd8\xff", b"\xff\xd9", b"\xff\xda",
    b"\xff\x4f\xff\x51", b"\x89PNG\r\n\x1a\n", b"IHDR", b"IDAT", b"IEND", b"II*\0", b"MM\0*",
    b"MZ", b"\x7fELF", b"#!/bin/sh\n", b"PK\x03\x04",
    b"MONOCHROME1", b"RGB", b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.1.99", b"\x1b$B", b"\x1b(J", b"\\", b"\0",
    b"9" * 40, b"1e400", b"nan", b"-inf", b"../../etc/passwd", b"%s%n", b"\r\n",
    WORD.encode(), WORD.encode("utf-16-le"),
)  # fmt: skip


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_bits_early(rng: random.Random, content: bytes) -> bytes:
    """In the first 400 bytes, where headers are."""
    return flip_bits(rng, content[:400]) + content[400:]


def set_bytes(rng: random.Random, content: bytes) -> bytes:
    """A number that is interesting, in 1, 2, 4 or 8 bytes of either order."""
    size = rng.choice("BHIQ")
    word = struct.pack(rng.choice("<>") + size, rng.choice(INTERESTING) % (1 << 8 * struct.calcsize(size)))
    return overwrite(content, rng.randrange(len(content) + 1), word)


def overwrite(content: bytes, at: int, word: bytes) -> bytes:
    """Never longer than it was."""
    return (content[:at] + word + content[at + len(word) :])[: len(content)]


def insert(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.randbytes(rng.choice((1, 2, 4, 16, 100))) + content[at:]


def insert_word(rng: random.Random, content: bytes) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice(WORDS) + content[at:]


def overwrite_word(rng: random.Random, content: bytes) -> bytes:
    return overwrite(content, rng.randrange(len(content) + 1), rng.choice(WORDS))


def delete(rng: random.Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    return content[:start] + content[end:]


def duplicate(rng: random.Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    return content[:end] + content[start:end] * rng.choice((1, 1, 2, 8)) + content[end:]


def move(rng: random.Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    rest = content[:start] + content[end:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + content[start:end] + rest[at:]


def fill(rng: random.Random, content: bytes) -> bytes:
    start, end = _stretch(rng, content)
    return content[:start] + bytes([rng.choice((0, 255, 65))]) * (end - start) + content[end:]


def truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def append(rng: random.Random, content: bytes) -> bytes:
    return content + rng.choice((rng.randbytes(rng.choice((1, 100))), rng.choice(WORDS), bytes(2000)))


def splice(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """The head of one file and the tail of another."""
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def _stretch(rng: random.Random, content: bytes) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 4, 8, 32, 128, 1024)))


BYTE_EDITS = (flip_bits, flip_bits_early, set_bytes, insert, insert_word, overwrite_word, delete, duplicate, move, fill,
              truncate, append)  # fmt: skip
