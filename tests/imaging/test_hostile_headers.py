"""Headers of any content: a RadiographError or the very same picture, and never a value in a message."""

import contextlib
import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, uid
from radiograph_files import SYNTAXES, chest, chest_file, code, dicom_file, phantom_pixels

from edge.errors import RadiographError, Truncated, Unreadable
from edge.imaging.file_meta import locate
from edge.imaging.read import read

CHEST = phantom_pixels(longest_side=64)
CANARY = b"CANARY"
DIGITS = b"77700012"
_LONG = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"OF")


def lut() -> Dataset:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 16], np.arange(4096, dtype="<u2").tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    return table


@cache
def file_with_everything(syntax: uid.UID) -> bytes:
    """Sequences, a LUT, padding, private elements: a border of each kind."""
    return chest_file(
        CHEST,
        syntax,
        ViewCodeSequence=[code("postero-anterior")],
        AnatomicRegionSequence=[code("Chest")],
        VOILUTSequence=[lut()],
        PixelPaddingValue=0,
        ImagerPixelSpacing=[0.1, 0.1],
        StudyDate="20260101",
        PatientBirthDate="19500101",
    )


def borders(content: bytes, syntax: uid.UID) -> Iterator[int]:
    """Where an element, an item or a value begins, found by their tags: more places than there are borders."""
    implicit, order = syntax == uid.ImplicitVRLittleEndian, ">" if syntax == uid.ExplicitVRBigEndian else "<"
    at = locate(content).start
    yield from range(128, at + 9)
    while at + 8 <= len(content):
        group, element, vr, length = struct.unpack_from(order + "HH2sH", content, at)
        header = 8
        if implicit or group == 0xFFFE:
            (length,) = struct.unpack_from(order + "L", content, at + 4)
        elif vr in _LONG:
            (length,) = struct.unpack_from(order + "L", content, at + 8)
            header = 12
        yield from (at, at + 4, at + header)
        nested = vr == b"SQ" or group == 0xFFFE or length == 0xFFFFFFFF or (implicit and (group, element) in _SEQUENCES)
        at += header if nested else header + length


_SEQUENCES = {(0x0008, 0x2218), (0x0054, 0x0220), (0x0028, 0x3010)}
SYNTAXES_IN_ELEMENTS = [syntax for syntax in SYNTAXES if syntax != uid.DeflatedExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", SYNTAXES_IN_ELEMENTS, ids=lambda syntax: syntax.keyword)
def test_a_file_cut_at_the_border_of_any_element_is_refused_or_whole(syntax: uid.UID) -> None:
    whole = file_with_everything(syntax)
    expected = read(whole).pixels
    places = [at for at in sorted(set(borders(whole, syntax))) if at <= len(whole)]
    assert len(places) > 150
    for length in [*places, *(at - 1 for at in places)]:
        with contextlib.suppress(RadiographError):
            np.testing.assert_array_equal(read(whole[:length]).pixels, expected, err_msg=f"cut at {length}")


def test_a_length_beyond_the_end_of_the_file_is_truncated() -> None:
    whole = dicom_file(chest(CHEST, bits_stored=12))
    at = whole.index(b"\x10\0\x10\0PN")
    with pytest.raises(Truncated, match="ends inside an element"):
        read(whole[: at + 6] + b"\xff\xff" + whole[at + 8 :])


READ = [
    (0x0008, 0x0005), (0x0008, 0x0016), (0x0008, 0x0018), (0x0008, 0x0020), (0x0008, 0x0060), (0x0008, 0x0068),
    (0x0008, 0x2218), (0x0010, 0x0010), (0x0010, 0x0020), (0x0010, 0x0030), (0x0010, 0x1010), (0x0018, 0x0015),
    (0x0018, 0x1164), (0x0018, 0x5101), (0x0028, 0x0002), (0x0028, 0x0004), (0x0028, 0x0008), (0x0028, 0x0010),
    (0x0028, 0x0011), (0x0028, 0x0030), (0x0028, 0x0034), (0x0028, 0x0100), (0x0028, 0x0101), (0x0028, 0x0102),
    (0x0028, 0x0103), (0x0028, 0x0120), (0x0028, 0x0121), (0x0028, 0x1050), (0x0028, 0x1051), (0x0028, 0x1052),
    (0x0028, 0x1053), (0x0028, 0x1056), (0x0028, 0x2110), (0x0028, 0x3000), (0x0028, 0x3010), (0x0054, 0x0220),
    (0x7FE0, 0x0001), (0x7FE0, 0x0010),
]  # fmt: skip
VRS = [
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB", b"OD", b"OF", b"OL"),
    *(b"OV", b"OW", b"PN", b"SH", b"SL", b"SQ", b"SS", b"ST", b"SV", b"TM", b"UC", b"UI", b"UL", b"UN", b"UR", b"US"),
    *(b"UT", b"UV", b"ZZ"),
]
TEXTS = [CANARY, CANARY + b"^NAME", CANARY + b"\\" + CANARY, DIGITS, DIGITS + b"\\" + DIGITS, b"\xff\xfe" + CANARY]
LEGAL = [b"", b"1", b"8", b"16", b"0\\0", b"-1", b"1e999", b"nan", b"AP", b"CR", b"MONOCHROME1"]
LEGAL += [b"\1\0", b"\x10\0", b"\0\0"]


@st.composite
def elements(draw: st.DrawFn) -> tuple[tuple[int, int], bytes]:
    """One element that is looked at, with any VR, value and nesting, in Explicit VR Little Endian."""
    tag = draw(st.sampled_from(READ))
    vr = draw(st.sampled_from(VRS))
    value = draw(st.sampled_from(TEXTS + LEGAL) | st.binary(max_size=12))
    for _ in range(draw(st.integers(0, 3)) if vr in (b"SQ", b"UN") else 0):
        inner = struct.pack("<HH2sH", 0x0008, 0x0104, b"LO", len(value)) + value
        value = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    if vr in (*_LONG, b"OD", b"OL", b"OV", b"SV", b"UR", b"UV"):
        return tag, struct.pack("<HH2sHL", *tag, vr, 0, len(value)) + value
    return tag, struct.pack("<HH2sH", *tag, vr, len(value)) + value


@cache
def plain_elements() -> tuple[bytes, dict[tuple[int, int], bytes]]:
    """Preamble and file meta group; then the elements of a good chest by tag."""
    content = dicom_file(chest(CHEST, bits_stored=12, PatientName="CANARY^P", PatientID="77700012"))
    start = at = locate(content).start
    found = {}
    while at < len(content):
        group, element, vr, length = struct.unpack_from("<HH2sH", content, at)
        end = at + 8 + length
        if vr in _LONG:
            end = at + 12 + struct.unpack_from("<L", content, at + 8)[0]
        found[group, element] = content[at:end]
        at = end
    return content[:start], found


def assembled(changes: list[tuple[tuple[int, int], bytes]]) -> bytes:
    head, found = plain_elements()
    return head + b"".join(element for _, element in sorted({**found, **dict(changes)}.items()))


def test_the_elements_put_together_again_are_the_file() -> None:
    assert read(assembled([])).pixels.shape == CHEST.shape


@settings(max_examples=800)
@given(st.lists(elements(), min_size=1, max_size=4))
def test_a_header_of_any_content_is_a_radiographs_fault(changes: list[tuple[tuple[int, int], bytes]]) -> None:
    try:
        radiograph = read(assembled(changes), site_key=bytes(32))
    except RadiographError as refusal:
        shown = str(refusal)
        assert refusal.__cause__ is None
        assert refusal.__suppress_context__ or refusal.__context__ is None
    else:
        shown = repr(radiograph.source)
        assert radiograph.pixels.ndim == 2
        assert radiograph.pixels.size
    assert "CANARY" not in shown.upper()
    assert "777000" not in shown


@pytest.mark.parametrize("tag", READ, ids=lambda tag: f"{tag[0]:04x},{tag[1]:04x}")
@pytest.mark.parametrize("vr", [b"LO", b"UN", b"IS", b"SQ", b"OB"])
def test_no_text_in_any_element_is_repeated(tag: tuple[int, int], vr: bytes) -> None:
    for value in (CANARY, DIGITS):
        length = struct.pack("<HL", 0, len(value)) if vr in _LONG else struct.pack("<H", len(value))
        content = assembled([(tag, struct.pack("<HH2s", *tag, vr) + length + value)])
        try:
            shown = repr(read(content, site_key=bytes(32)).source)
        except RadiographError as refusal:
            shown = str(refusal)
        assert "CANARY" not in shown.upper()
        assert "777000" not in shown


@pytest.mark.parametrize("descriptor", ["77700012\\0\\16", "-5\\0\\16"])
def test_a_lut_of_no_sensible_size_is_refused_without_repeating_it(descriptor: str) -> None:
    table = lut()
    del table.LUTDescriptor
    table.add_new(0x00283002, "IS", descriptor)
    with pytest.raises(Unreadable, match="a LUT has no number of entries that makes sense"):
        read(chest_file(CHEST, uid.ExplicitVRLittleEndian, VOILUTSequence=[table]))
