"""The walk over a data set's elements sees all that pydicom sees, and stops what it would choke on."""

import io
import logging
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, config, uid
from pydicom.filereader import read_dataset
from radiograph_files import chest, chest_file, code, dicom_file, encapsulated_file, phantom_pixels

from edge.errors import Bomb, RadiographError, Truncated, Unreadable
from edge.imaging.elements import check_elements
from edge.imaging.limits import MAX_DEPTH, MAX_ELEMENTS
from edge.imaging.read import read

CHEST = phantom_pixels(longest_side=32)
KNOWN, PRIVATE, TEXT = 0x00081140, 0x00091001, 0x00081030  # ReferencedImageSequence, none, StudyDescription
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Encoding:
    implicit_vr: bool
    little_endian: bool

    def element(self, tag: int, vr: bytes, value: bytes, *, undefined: bool = False) -> bytes:
        order = "<" if self.little_endian else ">"
        length = UNDEFINED if undefined else len(value)
        head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if self.implicit_vr:
            return head + struct.pack(order + "L", length) + value
        if vr in (b"SQ", b"UN", b"OB"):
            return head + vr + b"\0\0" + struct.pack(order + "L", length) + value
        return head + vr + struct.pack(order + "H", length) + value

    def item(self, value: bytes, *, undefined: bool) -> bytes:
        order = "<" if self.little_endian else ">"
        ends = self.delimiter(0xE00D) if undefined else b""
        return struct.pack(order + "HHL", 0xFFFE, 0xE000, UNDEFINED if undefined else len(value)) + value + ends

    def delimiter(self, element: int) -> bytes:
        return struct.pack(("<" if self.little_endian else ">") + "HHL", 0xFFFE, element, 0)

    def sequence(self, tag: int, vr: bytes, items: list[bytes], *, undefined: bool) -> bytes:
        value = b"".join(items)
        return self.element(tag, vr, value + (self.delimiter(0xE0DD) if undefined else b""), undefined=undefined)


ENCODINGS = [Encoding(False, True), Encoding(True, True), Encoding(False, False)]


def nested(encoding: Encoding, depth: int, *, tag: int, vr: bytes, undefined: bool) -> bytes:
    inner = encoding.element(TEXT, b"LO", b"ab")
    for _ in range(depth):
        inner = encoding.sequence(tag, vr, [encoding.item(inner, undefined=undefined)], undefined=undefined)
    return inner


def check(content: bytes, encoding: Encoding, **limits: int) -> None:
    check_elements(content, 0, implicit_vr=encoding.implicit_vr, little_endian=encoding.little_endian, **limits)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize(
    ("tag", "vr", "undefined"),
    [
        (KNOWN, b"SQ", True),
        (KNOWN, b"SQ", False),
        (KNOWN, b"UN", True),
        (KNOWN, b"UN", False),
        (PRIVATE, b"SQ", True),
        (PRIVATE, b"UN", True),
    ],
)
def test_nesting_is_counted_in_every_way_to_write_a_sequence(
    encoding: Encoding, tag: int, vr: bytes, undefined: bool
) -> None:
    check(nested(encoding, MAX_DEPTH, tag=tag, vr=vr, undefined=undefined), encoding)
    with pytest.raises(Bomb, match="nested more than 32 deep; find out who sent it"):
        check(nested(encoding, MAX_DEPTH + 1, tag=tag, vr=vr, undefined=undefined), encoding)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_a_deeply_nested_file_is_a_bomb_and_not_a_crash(syntax: uid.UID) -> None:
    """pydicom's own recursion ends at some 249 levels."""
    inmost = code("Chest")
    for _ in range(60):
        outer = Dataset()
        outer.ViewCodeSequence = Sequence([inmost])
        inmost = outer
    deep = chest(CHEST, bits_stored=12, ViewCodeSequence=Sequence([inmost]))
    with pytest.raises(Bomb, match="nested"):
        read(dicom_file(deep, syntax))


def many(kind: str, count: int) -> bytes:
    plain = Encoding(False, True)
    match kind:
        case "elements":
            return b"".join(plain.element(0x00110000 + number, b"LO", b"") for number in range(count))
        case "items":
            return plain.sequence(KNOWN, b"SQ", [plain.item(b"", undefined=False)] * (count - 1), undefined=True)
        case "items of defined length":
            return plain.sequence(KNOWN, b"SQ", [plain.item(b"", undefined=False)] * (count - 1), undefined=False)
    return plain.sequence(0x7FE00010, b"OB", [plain.item(b"", undefined=False)] * (count - 1), undefined=True)


@pytest.mark.parametrize("kind", ["elements", "items", "items of defined length", "fragments"])
def test_elements_items_and_fragments_are_counted(kind: str) -> None:
    check(many(kind, 1000), ENCODINGS[0], max_elements=1001)
    with pytest.raises(Bomb, match="more than 900 elements; find out who sent it"):
        check(many(kind, 1000), ENCODINGS[0], max_elements=900)


def test_a_file_of_a_million_elements_is_a_bomb() -> None:
    whole = dicom_file(chest(CHEST, bits_stored=12))
    with pytest.raises(Bomb, match=f"more than {MAX_ELEMENTS} elements"):
        read(whole + b"\x11\0\0\0LO\0\0" * 1_000_000)


def test_a_value_without_its_delimiter_is_looked_for_once() -> None:
    """pydicom would look for it to the end of the file again and again: a quadratic file."""
    again = ENCODINGS[0].element(0x00091002, b"OB", b"ab", undefined=True)
    items = ENCODINGS[0].sequence(KNOWN, b"SQ", [ENCODINGS[0].item(again, undefined=True)] * 2000, undefined=True)
    content = items.replace(ENCODINGS[0].delimiter(0xE0DD), b"")
    with pytest.raises(Truncated, match="ends inside an element"):
        check(content, ENCODINGS[0])


def test_implicit_vr_in_a_sequence_stays_implicit() -> None:
    """A length that looks like a VR: 0x4141 bytes. Taken for one, the sequences behind it would not be seen."""
    implicit = ENCODINGS[1]
    deep = nested(implicit, 5, tag=KNOWN, vr=b"SQ", undefined=False)
    content = implicit.sequence(
        KNOWN,
        b"SQ",
        [implicit.item(implicit.element(TEXT, b"LO", bytes(0x4141)) + deep, undefined=False)],
        undefined=False,
    )
    with pytest.raises(Bomb):
        check(content, implicit, max_depth=5)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("written", [200, 400])
def test_a_file_that_has_its_whole_length_before_its_bytes_is_not_yet_complete(syntax: uid.UID, written: int) -> None:
    """Some writers take the room first. However large it is, it is no bomb: more may come."""
    whole = dicom_file(chest(phantom_pixels(longest_side=1000)), syntax)
    with pytest.raises(Truncated if written > 200 else Unreadable):  # within the file meta group it cannot be told
        read(whole[:written] + bytes(len(whole) - written))


@pytest.mark.parametrize("kind", ["native", "compressed"])
def test_zeros_behind_the_pixels_are_padding_however_many(kind: str) -> None:
    whole = dicom_file(chest(CHEST)) if kind == "native" else chest_file(CHEST, uid.RLELossless)
    assert read(whole + bytes(10 * MAX_ELEMENTS)).source.pixels_sha256 == read(whole).source.pixels_sha256


def test_what_follows_the_pixels_may_be_padding() -> None:
    whole = dicom_file(chest(CHEST, bits_stored=12))
    assert read(whole + b"\xfc\xff\xfc\xffOB\0\0\xff\xff\0\0padding").pixels.shape == CHEST.shape
    with pytest.raises(Truncated):
        read(encapsulated_file(chest(CHEST, bits_stored=12), uid.JPEGLSLossless, b"\0" * 64)[:-60])


@pytest.fixture(scope="module", autouse=True)
def _quiet_pydicom() -> Iterator[None]:
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def seen_by_pydicom(content: bytes, encoding: Encoding) -> tuple[int, int]:
    """Elements and items, and the depth of the inmost item, when pydicom is asked for everything."""
    config.settings.reading_validation_mode = config.IGNORE
    dataset = read_dataset(io.BytesIO(content), encoding.implicit_vr, encoding.little_endian)
    count, deepest, waiting = 0, 0, [(dataset, 0)]
    while waiting:
        current, depth = waiting.pop()
        deepest = max(deepest, depth)
        for tag in list(current.keys()):
            count += 1
            try:
                value = current[tag].value
            except Exception:  # six types and more, for damaged elements
                continue
            if isinstance(value, Sequence):
                count += len(value)
                waiting += [(item, depth + 1) for item in value]
    return count, deepest


VALUES = st.binary(max_size=6).map(lambda value: value + b"\0" * (len(value) % 2))


def trees(encoding: Encoding) -> st.SearchStrategy[bytes]:
    tags = st.sampled_from([TEXT, KNOWN, PRIVATE, 0x00080016, 0x00280010, 0x00409096, 0x7FE00010])
    plain = st.builds(encoding.element, tags, st.sampled_from([b"LO", b"UN", b"OB", b"US", b"ZZ"]), VALUES)
    sequences = lambda inner: st.builds(  # noqa: E731
        lambda tag, vr, items, undefined, item_undefined: encoding.sequence(
            tag, vr, [encoding.item(item, undefined=item_undefined) for item in items], undefined=undefined
        ),
        st.sampled_from([KNOWN, PRIVATE, 0x00409096]),
        st.sampled_from([b"SQ", b"UN"]),
        st.lists(inner, max_size=3),
        st.booleans(),
        st.booleans(),
    )
    elements = st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3).map(b"".join).flatmap(lambda joined: sequences(st.just(joined))),
        max_leaves=8,
    )
    return st.lists(elements, max_size=4).map(b"".join)


@given(st.data(), st.sampled_from(ENCODINGS))
def test_the_walk_sees_at_least_what_pydicom_sees(data: st.DataObject, encoding: Encoding) -> None:
    content = bytearray(data.draw(trees(encoding)))
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
                st.sampled_from([0, 1, 8, 0x10, 0xFE, 0xFF])
            )
    assert_walk_covers_pydicom(bytes(content), encoding)


def assert_walk_covers_pydicom(content: bytes, encoding: Encoding) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            count, depth = seen_by_pydicom(content, encoding)
    except Exception:  # what pydicom cannot parse, it cannot choke on
        return
    for limits in ({"max_depth": depth - 1}, {"max_elements": count - 1}):
        if min(limits.values()) >= 0:
            with pytest.raises(RadiographError):
                check(content, encoding, **limits)
