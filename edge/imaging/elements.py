"""The elements of a DICOM data set, walked before they are parsed: neither too many nor too deep, and none cut.

Goes where pydicom would go (PS3.5 section 7, and pydicom's leniencies), but keeps nothing and never recurses. What it
cannot follow is left to pydicom.
"""

import struct
from collections import deque
from dataclasses import dataclass

from pydicom.datadict import DicomDictionary
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from edge.errors import Bomb, Truncated
from edge.imaging.limits import MAX_DEPTH, MAX_ELEMENTS

UNDEFINED = 0xFFFFFFFF
NO_TAG = 0  # a group of commands, which no file holds (PS3.5 7.1)
_ITEM, _ITEM_ENDS, _SEQUENCE_ENDS = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
VRS = frozenset(vr.value.encode() for vr in VR)
_LONG_VRS = frozenset(vr.value.encode() for vr in EXPLICIT_VR_LENGTH_32)


@dataclass(frozen=True)
class _Region:
    """Bytes that pydicom parses in one go: the data set, or the value of a sequence of defined length.

    depth: the sequences around it.
    """

    start: int
    end: int
    depth: int
    implicit_vr: bool
    is_sequence: bool


@dataclass(frozen=True)
class _Open:
    """A sequence, or else a data set or an item. end: None where a delimiter ends it."""

    is_sequence: bool
    end: int | None
    implicit_vr: bool


@dataclass(frozen=True)
class Header:
    tag: int
    vr: bytes | None  # None: implicit
    length: int
    value_at: int


def check_elements(
    content: bytes | bytearray,
    start: int,
    *,
    implicit_vr: bool,
    little_endian: bool,
    max_elements: int = MAX_ELEMENTS,
    max_depth: int = MAX_DEPTH,
) -> None:
    """Raises Bomb for too many elements or too deep a nesting, Truncated when the file ends inside an element."""
    walk = _Walk(content, little_endian=little_endian, max_elements=max_elements, max_depth=max_depth)
    regions = deque([_Region(start, len(content), 0, implicit_vr, is_sequence=False)])
    while regions:
        regions.extend(walk.through(regions.popleft()))


class _Walk:
    """Linear in the number of elements: none is looked at twice, and no value that is not a sequence at all."""

    def __init__(self, content: bytes | bytearray, *, little_endian: bool, max_elements: int, max_depth: int) -> None:
        self._content = content
        self._max_elements, self._max_depth = max_elements, max_depth
        self._little_endian = little_endian
        self._item = struct.Struct("<HHL" if little_endian else ">HHL").unpack_from
        self._delimiter = struct.pack("<HH" if little_endian else ">HH", 0xFFFE, 0xE0DD)
        self._count = 0
        # Of the region that is walked: where, what is open from the outside in, and the sequences left for later.
        self._region = _Region(0, 0, 0, implicit_vr=False, is_sequence=False)
        self._at = 0
        self._open: list[_Open] = []
        self._later: list[_Region] = []
        self._pixels_seen = False

    def through(self, region: _Region) -> list[_Region]:
        """Walk a region. Returns the sequences of defined length in it, which are parsed when they are asked for."""
        self._region, self._at, self._later = region, region.start, []
        if region.is_sequence:
            self._open = [_Open(True, region.end, region.implicit_vr)]
        else:
            self._open = [_Open(False, None, self._implicit(assumed=region.implicit_vr, in_sequence=False))]
        while self._open:
            inmost = self._open[-1]
            if inmost.end is not None and self._at >= inmost.end:
                self._open.pop()
            elif self._at + 8 > region.end:
                if inmost.is_sequence:
                    break  # pydicom gives up, too
                self._open.pop()
                self._at = region.end
            elif inmost.is_sequence:
                self._enter_item(inmost)
            elif not self._pass_element(inmost):
                break
        return self._later

    def _enter_item(self, sequence: _Open) -> None:
        """Any tag but the delimiter begins an item to pydicom."""
        self._count_one()
        group, element, length = self._item(self._content, self._at)
        self._at += 8
        if group << 16 | element == _SEQUENCE_ENDS:
            self._open.pop()
            return
        implicit = self._implicit(assumed=sequence.implicit_vr, in_sequence=True)
        self._open.append(_Open(False, None if length == UNDEFINED else self._at + length, implicit))

    def _pass_element(self, data_set: _Open) -> bool:
        """False when its header is cut, or nothing but padding follows."""
        header = element_header(self._content, self._at, data_set.implicit_vr, self._little_endian)
        if header is None:
            return False
        if header.tag == NO_TAG and not self._region.is_sequence:
            return self._end_at_zeros()
        self._count_one()
        self._at = header.value_at
        if header.tag == _ITEM_ENDS:
            self._open.pop()
        elif header.length != UNDEFINED:
            self._pass_value(header, data_set)
        elif self._is_sequence(header):
            self._check_depth()
            self._open.append(_Open(True, None, data_set.implicit_vr))
        else:
            self._at = self._after_fragments(self._at, self._region.end)
        self._pixels_seen = self._pixels_seen or header.tag == PIXEL_DATA
        return True

    def _end_at_zeros(self) -> bool:
        """Behind the pixels they are padding. Before, a writer who took the whole room at first may not be done."""
        if not self._pixels_seen:
            raise Truncated("zeros stand in the DICOM file where an element should; send it again")
        return False

    def _pass_value(self, header: Header, data_set: _Open) -> None:
        self._at += header.length
        if self._at > self._region.end:
            # What follows the pixels may be padding, and what is in a sequence, private: pydicom judges these.
            if not (self._pixels_seen or self._region.is_sequence):
                raise Truncated("the DICOM file ends inside an element; send it again")
            self._at = self._region.end
        if header.length and self._holds_items(header):
            depth = self._check_depth()
            self._later.append(_Region(header.value_at, self._at, depth, data_set.implicit_vr, is_sequence=True))

    def _check_depth(self) -> int:
        """How many sequences are open; raises Bomb if there may not be one more."""
        depth = self._region.depth + len(self._open) // 2
        if depth + 1 > self._max_depth:
            raise Bomb(f"sequences are nested more than {self._max_depth} deep; find out who sent it")
        return depth

    def _holds_items(self, header: Header) -> bool:
        return header.vr == b"SQ" or (header.vr in (None, b"UN") and _dictionary_vr(header.tag) == "SQ")

    def _is_sequence(self, header: Header) -> bool:
        """Of undefined length: SQ, UN (PS3.5 6.2.2), or with implicit VR what the dictionary or an item says."""
        if header.vr is not None:
            return header.vr in (b"SQ", b"UN")
        vr = _dictionary_vr(header.tag)
        if vr is None and header.value_at + 8 <= self._region.end:
            group, element, _ = self._item(self._content, header.value_at)
            return group << 16 | element == _ITEM
        return vr == "SQ"

    def _after_fragments(self, start: int, end: int) -> int:
        """Behind the delimiter of encapsulated pixel data, or of any other value of undefined length (PS3.5 A.4)."""
        at = start
        while at + 8 <= end:
            self._count_one()
            group, element, length = self._item(self._content, at)
            if group << 16 | element == _SEQUENCE_ENDS:
                return at + 8
            if group << 16 | element != _ITEM:
                break
            at += 8 + length
        found = self._content.find(self._delimiter, start, end)
        if found < 0:
            raise Truncated("the DICOM file ends inside an element; send it again")
        return min(found + 8, end)

    def _implicit(self, *, assumed: bool, in_sequence: bool) -> bool:
        return looks_implicit(self._content, self._at, assumed=assumed, in_sequence=in_sequence)

    def _count_one(self) -> None:
        self._count += 1
        if self._count > self._max_elements:
            raise Bomb(f"the file holds more than {self._max_elements} elements; find out who sent it")


def element_header(content: bytes | bytearray, at: int, implicit_vr: bool, little_endian: bool) -> Header | None:
    """Tag, VR, length of the element at `at`, where 8 bytes are; None when a longer header is cut."""
    order = "<" if little_endian else ">"
    group, element, length = struct.unpack_from(order + "HHL", content, at)
    tag = group << 16 | element
    vr = bytes(content[at + 4 : at + 6])
    if implicit_vr or (vr not in VRS and not b"AA" <= vr <= b"ZZ"):  # some writers switch to implicit VR
        return Header(tag, None, length, at + 8)
    if vr not in _LONG_VRS:
        (length,) = struct.unpack_from(order + "H", content, at + 6)
        return Header(tag, vr, length, at + 8)
    if at + 12 > len(content):
        return None
    (length,) = struct.unpack_from(order + "L", content, at + 8)
    return Header(tag, vr, length, at + 12)


def looks_implicit(content: bytes | bytearray, at: int, *, assumed: bool, in_sequence: bool) -> bool:
    """pydicom believes the first element rather than the transfer syntax; a sequence may only turn to implicit VR."""
    vr = content[at + 4 : at + 6]
    if len(vr) < 2 or (in_sequence and assumed):
        return assumed
    return not (0x40 < vr[0] < 0x5B and 0x40 < vr[1] < 0x5B)


def _dictionary_vr(tag: int) -> str | None:
    entry = DicomDictionary.get(tag)
    return None if entry is None else str(entry[0])
