"""Edits of a DICOM file that keep its structure but for what they change: lengths, VRs, tags, values, nesting."""

import random
import struct
from collections.abc import Callable
from functools import wraps

from pydicom import uid

from benchmarks.fuzz.byte_edits import BYTE_EDITS, INTERESTING, WORDS, overwrite
from benchmarks.fuzz.canary import WORD
from benchmarks.fuzz.dicom_elements import LONG_VRS, PREFIX_BYTES, Element, deflate, deflated_part, elements
from edge.imaging.pixel_data import NATIVE, PLUGINS

Edit = Callable[[random.Random, bytes], bytes]
_VRS = (*sorted(LONG_VRS), b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN",
        b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US", b"\0\0", b"zz")  # fmt: skip
# What the reader asks a header for: group 28 and the few that say what is shown.
_NUMBERS = tuple((0x28, element) for element in (2, 4, 8, 0x10, 0x11, 0x34, 0x100, 0x101, 0x102, 0x103, 0x120, 0x121,
                 0x1050, 0x1051, 0x1052, 0x1053, 0x1056, 0x2110, 0x3002, 0x3006))  # fmt: skip
_ASKED = (*_NUMBERS, (8, 0x5), (8, 0x16), (8, 0x18), (8, 0x60), (8, 0x68), (0x10, 0x10), (0x10, 0x20), (0x10, 0x30),
          (0x10, 0x1010), (0x18, 0x15), (0x18, 0x5101), (0x18, 0x1164), (0x28, 0x3000), (0x28, 0x3010), (8, 0x2218),
          (0x54, 0x220), (0x7FE0, 0x10))  # fmt: skip
_SYNTAXES = (*sorted(NATIVE | PLUGINS.keys()), uid.MPEG2MPML, "1.2.840.10008.1.2.4.94", "1.2.3", WORD)
_TEXTS = (
    b"", b"CHEST", b"MONOCHROME1", b"MONOCHROME2", b"RGB", b"PALETTE COLOR", b"AP", b"LATERAL", b"SIGMOID",
    b"LINEAR_EXACT", b"ISO_IR 100", b"ISO_IR 192", b"ISO 2022 IR 13\\ISO 2022 IR 87",
    b"GB18030", b"\\ISO 2022 IR 149", b"ISO_IR 999",
    b"0", b"-1", b"1", b"2", b"1\\1", b"0\\0", b"1e308", b"1e-320", b"nan", b"inf", b"-inf", b"9" * 30, b"1.5",
    b"017Y", b"000D", b"999Y", b"20200101", b"19500101", b"01", b"FOR PROCESSING", f"{WORD}^NEW".encode(),
    b"\\" * 40, b"\xff" * 9, b"=" * 5,
)  # fmt: skip


def _inside(edit: Edit) -> Edit:
    """In a deflated file the edit works on what is inflated, most of the time."""

    @wraps(edit)
    def edited(rng: random.Random, content: bytes) -> bytes:
        part = deflated_part(content)
        if part is None or rng.random() < 0.2:
            return edit(rng, content)
        start, inner = part
        return content[:start] + deflate(edit(rng, inner))

    return edited


def _on_element(change: Callable[[random.Random, bytes, Element], bytes]) -> Edit:
    @wraps(change)
    def edit(rng: random.Random, content: bytes) -> bytes:
        found = elements(content)
        if not found:
            return rng.choice(BYTE_EDITS)(rng, content)
        asked = [element for element in found if element.tag in _ASKED]
        return change(rng, content, rng.choice(asked if asked and rng.random() < 0.6 else found))

    return _inside(edit)


@_on_element
def set_length(rng: random.Random, content: bytes, element: Element) -> bytes:
    """Of a value: an interesting number, or a little more or less than it was."""
    length = rng.choice((rng.choice(INTERESTING), element.end - element.start + rng.randint(-3, 3), len(content)))
    return overwrite(content, element.length_at, _packed(length, element.length_bytes, element.order))


@_on_element
def set_vr(rng: random.Random, content: bytes, element: Element) -> bytes:
    return overwrite(content, element.at + 4, rng.choice(_VRS)) if element.vr else content


@_on_element
def set_tag(rng: random.Random, content: bytes, element: Element) -> bytes:
    """Another element that the reader asks for, a delimiter, or any."""
    anything = (rng.randrange(1 << 16), rng.randrange(1 << 16))
    group, number = rng.choice((rng.choice(_ASKED), anything, (0xFFFE, rng.choice((0xE000, 0xE00D, 0xE0DD)))))
    return overwrite(content, element.at, struct.pack(element.order + "HH", group, number))


@_on_element
def set_value(rng: random.Random, content: bytes, element: Element) -> bytes:
    """Another value of another length, with the length that belongs to it."""
    value = rng.choice((rng.choice(_TEXTS), rng.choice(WORDS), rng.randbytes(rng.randrange(20)), _text(rng) * 50))
    return _with_value(content, element, value)


@_on_element
def spoil_value(rng: random.Random, content: bytes, element: Element) -> bytes:
    value = rng.choice(BYTE_EDITS)(rng, content[element.start : element.end])
    return _with_value(content, element, value) if element.end <= len(content) else content


@_on_element
def remove_element(rng: random.Random, content: bytes, element: Element) -> bytes:
    return content[: element.at] + content[element.end :]


@_on_element
def repeat_element(rng: random.Random, content: bytes, element: Element) -> bytes:
    whole = content[element.at : element.end]
    return content[: element.end] + whole * rng.choice((1, 2, 30)) + content[element.end :]


@_on_element
def cut_at_element(rng: random.Random, content: bytes, element: Element) -> bytes:
    """The file ends at a border: before a tag, before a length, before a value or after it."""
    return content[: rng.choice((element.at, element.length_at, element.start, element.end))]


@_on_element
def nest(rng: random.Random, content: bytes, element: Element) -> bytes:
    """Sequences within sequences before an element, few or many, closed or not."""
    depth, implicit = rng.choice((1, 2, 5, 20, 120, 400)), element.vr == b""
    tag = struct.pack(
        element.order + "HH", *rng.choice(((8, 0x1140), (0x40, 0x275), (9, 0x1001), (8, 0x2218), (0x28, 0x3010)))
    )
    item = struct.pack(element.order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    opening = tag + (b"" if implicit else rng.choice((b"SQ", b"SQ", b"UN")) + b"\0\0") + b"\xff" * 4 + item
    closing = struct.pack(element.order + "HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return content[: element.at] + opening * depth + closing * rng.choice((0, depth, depth)) + content[element.at :]


@_inside
def set_number(rng: random.Random, content: bytes) -> bytes:
    """Rows, Columns, bits, padding, descriptors: another number under a header that is otherwise valid."""
    found = [element for element in elements(content) if element.tag in _NUMBERS and element.end <= len(content)]
    if not found:
        return rng.choice(BYTE_EDITS)(rng, content)
    element = rng.choice(found)
    size = element.end - element.start
    if element.vr in (b"US", b"SS", b"") and size in (2, 4, 6):
        at = element.start + 2 * rng.randrange(size // 2)
        return overwrite(content, at, _packed(rng.choice(INTERESTING), 2, element.order))
    return _with_value(content, element, str(rng.choice((*INTERESTING, -1, "1e400", "0.0", "nan", "1e-300"))).encode())


def set_syntax(rng: random.Random, content: bytes) -> bytes:
    """Another transfer syntax over the same data set."""
    for element in elements(content):
        if element.tag == (2, 0x10):
            return _with_value(content, element, rng.choice(_SYNTAXES).encode())
    return flip_preamble(rng, content)


def flip_preamble(rng: random.Random, content: bytes) -> bytes:
    """What stands before DICM: an executable, a TIFF, nothing, or anything."""
    start = rng.choice(
        (b"MZ", b"\x7fELF\x02\x01\x01", b"#!/bin/sh\n", b"II*\0\x08\0\0\0", b"MM\0*", rng.randbytes(128), b"")
    )
    if content[128:132] != b"DICM":
        return start.ljust(128, b"\0")[:128] + b"DICM" + content
    return start.ljust(128, b"\0")[:128] + content[128:] if start else content[PREFIX_BYTES:]


def bloat_deflated(rng: random.Random, content: bytes) -> bytes:
    """A deflated data set that unpacks to some megabytes, or one that is damaged within."""
    part = deflated_part(content)
    if part is None:
        return set_syntax(rng, content)
    start, inner = part
    if rng.random() < 0.3:
        return content[:start] + deflate(inner + bytes(rng.choice((1 << 16, 1 << 22))))
    return content[:start] + rng.choice(BYTE_EDITS)(rng, content[start:])


def _with_value(content: bytes, element: Element, value: bytes) -> bytes:
    """Padded to an even length (PS3.5 7.1.1), and cut to what its length can say."""
    if element.length_bytes == 2:
        value = value[:65534]
    value += b" " * (len(value) % 2)
    length = _packed(len(value), element.length_bytes, element.order)
    return content[: element.length_at] + length + value + content[min(element.end, len(content)) :]


def _packed(number: int, size: int, order: str) -> bytes:
    return struct.pack(order + ("I" if size == 4 else "H"), number % (1 << 8 * size))


def _text(rng: random.Random) -> bytes:
    return rng.choice((f"{WORD}^LONG".encode(), b"A\\", b"\x1b$B;3ED", b"9"))


EDITS: tuple[Edit, ...] = (
    set_length, set_vr, set_tag, set_value, set_value, spoil_value, remove_element, repeat_element, cut_at_element,
    nest, set_number, set_number, set_number, set_syntax, flip_preamble, bloat_deflated,
)  # fmt: skip
