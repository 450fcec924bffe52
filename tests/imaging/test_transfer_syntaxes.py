"""Every transfer syntax of one radiograph gives the same pixels, and a file cut short never gives a picture."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid
from radiograph_files import LOSSLESS, LOSSY, SYNTAXES, chest, chest_file, dicom_file, encapsulated_file, phantom_pixels

from edge.errors import NoPixels, RadiographError, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging.read import read

PIXELS = phantom_pixels()
LEVELS = read(dicom_file(chest(PIXELS, bits_stored=12))).pixels
CUT_SHORT = (Truncated, Unreadable, NoPixels)
EACH = pytest.mark.parametrize("syntax", [*SYNTAXES, *LOSSY], ids=lambda syntax: syntax.keyword)


def stored_for(syntax: uid.UID) -> tuple[np.ndarray, int]:
    """JPEG baseline holds 8 bits, all others the phantom's 12."""
    return ((PIXELS >> 4).astype(np.uint8), 8) if syntax == uid.JPEGBaseline8Bit else (PIXELS, 12)


@cache
def file_in(syntax: uid.UID) -> bytes:
    stored, bits_stored = stored_for(syntax)
    return chest_file(stored, syntax, bits_stored=bits_stored)


def test_levels_are_the_stored_values_stretched() -> None:
    low, high = int(PIXELS.min()), int(PIXELS.max())
    np.testing.assert_array_equal(LEVELS, np.rint((PIXELS.astype(float) - low) * (65535 / (high - low))))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_lossless_syntaxes_give_identical_pixels(syntax: uid.UID) -> None:
    radiograph = read(chest_file(PIXELS, syntax))
    np.testing.assert_array_equal(radiograph.pixels, LEVELS)
    assert radiograph.pixels.dtype == np.uint16
    assert radiograph.pixels.dtype.isnative
    assert not radiograph.source.lossy


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits_stored", [8, 16])
def test_lossless_syntaxes_at_the_ends_of_the_bit_range(syntax: uid.UID, bits_stored: int) -> None:
    rng = np.random.default_rng(bits_stored)
    stored = rng.integers(0, 1 << bits_stored, (65, 63)).astype(np.uint8 if bits_stored == 8 else np.uint16)
    stored[0, :2] = 0, (1 << bits_stored) - 1
    expected = stored * np.uint16(257) if bits_stored == 8 else stored
    np.testing.assert_array_equal(read(chest_file(stored, syntax, bits_stored=bits_stored)).pixels, expected)


@pytest.mark.parametrize(
    ("syntax", "within"),
    [
        (uid.JPEGBaseline8Bit, 0.08),
        (uid.JPEGExtended12Bit, 0.02),
        (uid.JPEGLSNearLossless, 7 / (int(PIXELS.max()) - int(PIXELS.min()))),
        (uid.JPEG2000, 0.02),
    ],
    ids=lambda value: getattr(value, "keyword", ""),
)
def test_lossy_syntaxes_decode_close_and_are_flagged(syntax: uid.UID, within: float) -> None:
    stored, bits_stored = stored_for(syntax)
    content = chest_file(stored, syntax, bits_stored=bits_stored, LossyImageCompression="01")
    radiograph = read(content)
    away = np.abs(radiograph.pixels.astype(float) - LEVELS) / 65535
    assert away.max() <= within
    assert away.max() > 0  # or nothing was lost, and this proves nothing
    assert radiograph.source.lossy


@pytest.mark.parametrize(
    ("syntax", "lossy"),
    [
        (uid.JPEGBaseline8Bit, True),
        (uid.JPEGExtended12Bit, True),
        (uid.JPEGLSNearLossless, True),
        (uid.JPEG2000, True),
        (uid.JPEGLosslessSV1, False),
    ],
    ids=lambda value: getattr(value, "keyword", str(value)),
)
def test_what_can_only_be_lossy_is_flagged_without_the_header(syntax: uid.UID, lossy: bool) -> None:
    assert read(file_in(syntax)).source.lossy == lossy


@pytest.mark.parametrize(("syntax", "lossless"), [(uid.JPEG2000, uid.JPEG2000Lossless), (uid.HTJ2K, uid.HTJ2KLossless)])
def test_the_reversible_wavelet_in_a_syntax_that_may_hold_either_is_not_lossy(
    syntax: uid.UID, lossless: uid.UID
) -> None:
    dataset = chest(PIXELS, bits_stored=12)
    radiograph = read(encapsulated_file(dataset, syntax, LOSSLESS[lossless](dataset)))
    np.testing.assert_array_equal(radiograph.pixels, LEVELS)
    assert not radiograph.source.lossy


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless], ids=lambda syntax: syntax.keyword
)
@pytest.mark.parametrize("bits_stored", [10, 12, 16])
def test_signed_pixels(syntax: uid.UID, bits_stored: int) -> None:
    half = 1 << (bits_stored - 1)
    stored = (PIXELS.astype(np.int32) * (2 * half) // 4096 - half).astype(np.int16)
    dataset = chest(stored, bits_stored=bits_stored)
    if syntax.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(syntax, generate_instance_uid=False)
    low, high = int(stored.min()), int(stored.max())
    expected = np.rint((stored.astype(float) - low) * (65535 / (high - low)))
    np.testing.assert_array_equal(read(dicom_file(dataset, syntax)).pixels, expected)


def test_signed_pixels_in_extended_jpeg() -> None:
    """A JPEG knows no sign; blocks of one value lose next to nothing."""
    stored = np.kron(np.random.default_rng(3).integers(-2048, 2048, (8, 8)), np.ones((8, 8))).astype(np.int16)
    frame = LOSSY[uid.JPEGExtended12Bit](chest(stored.view(np.uint16) & 0x0FFF, bits_stored=12))
    radiograph = read(encapsulated_file(chest(stored, bits_stored=12), uid.JPEGExtended12Bit, frame))
    expected = (stored.astype(float) - stored.min()) * (65535 / (int(stored.max()) - int(stored.min())))
    assert np.abs(radiograph.pixels - expected).max() < 0.01 * 65535


def test_bits_above_the_high_bit_do_not_count() -> None:
    """Old files keep an overlay plane there (PS3.5 section 8.1.1)."""
    overlay = np.zeros_like(PIXELS)
    overlay[10:20, 10:20] = 0x8000
    np.testing.assert_array_equal(read(dicom_file(chest(PIXELS | overlay, bits_stored=12))).pixels, LEVELS)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.94"], ids=["MPEG2", "JPIP"])
def test_a_syntax_without_decoder_is_named(syntax: str) -> None:
    with pytest.raises(UnsupportedSyntax, match=rf"{syntax} has no decoder; send it as Explicit VR Little Endian"):
        read(encapsulated_file(chest(PIXELS, bits_stored=12), syntax, b"\0" * 64))


def test_a_syntax_that_is_none_is_not_repeated() -> None:
    """A number there may be a patient's."""
    with pytest.raises(UnsupportedSyntax, match=r"transfer syntax that is not registered has no decoder"):
        read(encapsulated_file(chest(PIXELS, bits_stored=12), "77700012", b"\0" * 64))


def assert_no_picture(syntax: uid.UID, length: int) -> None:
    with pytest.raises(CUT_SHORT):
        pytest.fail(f"the first {length} bytes gave a picture of {read(file_in(syntax)[:length]).pixels.shape}")


def longest_cut(syntax: uid.UID) -> int:
    """The last 4 bytes of a compressed file are the length of the delimiter: always 0, so nothing is cut with them."""
    return len(file_in(syntax)) - (5 if syntax.is_encapsulated else 1)


@EACH
def test_a_file_cut_anywhere_gives_no_picture(syntax: uid.UID) -> None:
    """Dense around the header, sparse in the pixels, and each of the last bytes: padding, end marker, delimiter."""
    whole, most = len(file_in(syntax)), longest_cut(syntax)
    assert read(file_in(syntax)).pixels.shape == PIXELS.shape
    sparse = {0, 1, 2, 131, 132, 133, *range(140, 800, 13), *range(800, whole, whole // 31)}
    for length in sorted({length for length in sparse if length < most} | set(range(most - 20, most + 1))):
        assert_no_picture(syntax, length)


@EACH
def test_a_cut_in_the_pixels_is_called_truncated(syntax: uid.UID) -> None:
    whole = file_in(syntax)
    with pytest.raises(Truncated, match="send it again"):
        read(whole[: len(whole) * 3 // 4])


@given(st.data(), st.sampled_from([*SYNTAXES, *LOSSY]))
def test_a_file_cut_anywhere_else_gives_no_picture(data: st.DataObject, syntax: uid.UID) -> None:
    assert_no_picture(syntax, data.draw(st.integers(0, longest_cut(syntax)), "length"))


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_short_frame_in_a_whole_file_gives_no_picture(syntax: uid.UID, share: float) -> None:
    """A modality that sent on what it had: the file is well-formed, the picture in it is not."""
    stored, bits_stored = stored_for(syntax)
    dataset = chest(stored, bits_stored=bits_stored)
    frame = (LOSSLESS | LOSSY)[syntax](dataset)
    with pytest.raises(CUT_SHORT):
        read(encapsulated_file(dataset, syntax, frame[: int(share * len(frame))]))


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_short_frame_with_an_end_marker_gives_no_picture(syntax: uid.UID, share: float) -> None:
    """Some senders close what they cut; decoders paint the rest of a JPEG grey."""
    stored, bits_stored = stored_for(syntax)
    dataset = chest(stored, bits_stored=bits_stored)
    frame = (LOSSLESS | LOSSY)[syntax](dataset)
    with pytest.raises(CUT_SHORT):
        read(encapsulated_file(dataset, syntax, frame[: int(share * len(frame))] + b"\xff\xd9"))


@pytest.mark.parametrize("syntax", [*LOSSLESS, *LOSSY], ids=lambda syntax: syntax.keyword)
def test_a_frame_of_another_size_than_the_header_says_gives_no_picture(syntax: uid.UID) -> None:
    stored, bits_stored = stored_for(syntax)
    frame = (LOSSLESS | LOSSY)[syntax](chest(stored, bits_stored=bits_stored))
    taller = chest(np.vstack([stored, stored]), bits_stored=bits_stored)
    with pytest.raises(RadiographError):
        read(encapsulated_file(taller, syntax, frame))
