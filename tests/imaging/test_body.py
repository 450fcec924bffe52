"""A data set's bytes are read as from a file, and native pixel data are not copied."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, uid
from radiograph_files import chest, chest_file, dicom_file, phantom_pixels

from edge.imaging.body import Body
from edge.imaging.dicom import _parse
from edge.imaging.elements import NO_TAG, PIXEL_DATA, UNDEFINED
from edge.imaging.pixel_data import decode

PIXELS = phantom_pixels()
LITTLE_ENDIAN = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 40)),
        st.tuples(st.just("seek"), st.integers(-5, 60), st.just(io.SEEK_SET)),
        st.tuples(st.just("seek"), st.integers(-30, 30), st.just(io.SEEK_CUR)),
    )
)


@given(content=st.binary(max_size=50), start=st.integers(0, 50), steps=STEPS)
def test_it_is_read_like_a_file(content: bytes, start: int, steps: list[tuple[str, int]]) -> None:
    body, file = Body(content, start, views=False), io.BytesIO(content)
    file.seek(start)
    for name, *arguments in steps:
        if name == "seek" and arguments[0] + (file.tell() if arguments[1] == io.SEEK_CUR else 0) < 0:
            # A BytesIO stops at the beginning when it is moved; pydicom never asks for that.
            with pytest.raises(ValueError, match="before the beginning"):
                body.seek(*arguments)
            continue
        assert getattr(body, name)(*arguments) == getattr(file, name)(*arguments)
        assert body.tell() == file.tell()


@pytest.mark.parametrize(
    ("tag", "vr", "length", "views", "is_view"),
    [
        (PIXEL_DATA, "OW", 4, True, True),
        (PIXEL_DATA, "OB", 4, True, True),
        (PIXEL_DATA, None, 4, True, True),
        (PIXEL_DATA, "OW", 4, False, False),
        (PIXEL_DATA, "OB", UNDEFINED, True, False),  # fragments, which are searched for their end
        (PIXEL_DATA, "UT", 4, True, False),  # a text
        (PIXEL_DATA, "OW", 0, True, False),  # nothing is read of it
        (0x00100020, "LO", 4, True, False),
    ],
)
def test_only_native_pixel_data_are_a_view_and_only_the_next_read(
    tag: int, vr: str | None, length: int, views: bool, is_view: bool
) -> None:
    body = Body(b"pixels and more", 0, views=views)
    assert not body.ends(tag, vr, length)
    part = body.read(4)
    assert part == b"pixe"
    assert isinstance(part, memoryview if is_view else bytes)
    assert isinstance(body.read(4), bytes)


def test_a_value_that_is_passed_over_leaves_no_view_behind() -> None:
    body = Body(b"pixels and more", 0, views=True)
    body.ends(PIXEL_DATA, "OW", 6)
    body.seek(6)
    assert isinstance(body.read(4), bytes)


def test_it_ends_at_what_no_file_holds() -> None:
    assert Body(b"", 0, views=True).ends(NO_TAG, None, 0)


@pytest.mark.parametrize("syntax", LITTLE_ENDIAN, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits_stored", [12, 16])
def test_native_pixels_are_decoded_where_they_lie(syntax: uid.UID, bits_stored: int) -> None:
    content = dicom_file(chest(PIXELS, bits_stored=bits_stored), syntax)
    stored = decode(_parse(content))
    assert np.shares_memory(stored, np.frombuffer(content, np.uint8))
    assert not stored.flags.writeable
    np.testing.assert_array_equal(stored, PIXELS)


def test_pixels_of_an_icon_are_not_the_picture() -> None:
    """IconImageSequence comes first, and holds PixelData too (PS3.3 C.7.6.1.1.6)."""
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated = 2, 2, 8
    icon.PixelData = b"\1\2\3\4"
    icon["PixelData"].VR = "OB"
    dataset = chest(PIXELS, bits_stored=12, IconImageSequence=Sequence([icon]))
    dataset["IconImageSequence"].is_undefined_length = True
    np.testing.assert_array_equal(decode(_parse(dicom_file(dataset))), PIXELS)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless], ids=lambda syntax: syntax.keyword)
def test_compressed_pixel_data_are_bytes(syntax: uid.UID) -> None:
    assert isinstance(_parse(chest_file(PIXELS, syntax)).PixelData, bytes)


def test_native_pixel_data_of_a_syntax_that_compresses_are_bytes() -> None:
    """A wrong file: what looks for frames in it expects bytes."""
    content = dicom_file(chest(PIXELS)).replace(b"1.2.840.10008.1.2.1\0", uid.RLELossless.encode() + b"\0")
    assert isinstance(_parse(content).PixelData, bytes)


@given(
    data=st.data(),
    bits_stored=st.integers(1, 16),
    as_it_should_be=st.booleans(),
    signed=st.booleans(),
    syntax=st.sampled_from([*LITTLE_ENDIAN, uid.ExplicitVRBigEndian]),
)
def test_bits_that_are_not_stored_never_count(
    data: st.DataObject, bits_stored: int, as_it_should_be: bool, signed: bool, syntax: uid.UID
) -> None:
    """as_it_should_be: in these bits are zeros or the sign. Expected: by arithmetic on each value."""
    modulus, half = 1 << bits_stored, 1 << (bits_stored - 1)
    borders = st.sampled_from([0, half - 1, half, modulus - 1, modulus, -1, -half, -half - 1])
    stored = data.draw(st.lists(borders | st.integers(-(1 << 15), (1 << 16) - 1), min_size=2, max_size=2))
    expected = [(value + half) % modulus - half if signed else value % modulus for value in stored]
    written = np.array(expected if as_it_should_be else stored).astype(np.int16 if signed else np.uint16)
    decoded = decode(_parse(dicom_file(chest(written.reshape(2, 1), bits_stored=bits_stored), syntax)))
    assert decoded.dtype == written.dtype
    assert decoded.ravel().tolist() == expected


@pytest.mark.parametrize(("kind", "beyond", "value"), [("u2", 4096, 0), ("i2", 2048, -2048), ("i2", -2049, 2047)])
def test_the_first_value_that_12_bits_cannot_hold(kind: str, beyond: int, value: int) -> None:
    written = np.array([[7, beyond]], kind)
    assert decode(_parse(dicom_file(chest(written, bits_stored=12)))).tolist() == [[7, value]]
