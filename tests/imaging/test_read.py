"""Pictures that are no DICOM: PNG, JPEG and TIFF. DICOM is in test_dicom.py."""

import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from radiograph_files import chest, chunk, dicom_file, phantom_pixels, picture, tiff

from edge.errors import NotARadiograph, TooLarge, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging.formats import HEAD_BYTES, sniff_format
from edge.imaging.read import read

DEEP = (phantom_pixels().astype(np.uint32) * 65535 // 4095).astype(np.uint16)
SHALLOW = (DEEP >> 8).astype(np.uint8)
CUT_SHORT = (Truncated, Unreadable)


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return np.rint((values.astype(float) - low) * 65535 / (high - low)).astype(np.uint16)


TIFFS = {
    "strips": tiff(DEEP, rowsperstrip=7),
    "deflate": tiff(DEEP, compression="zlib"),
    "lzw": tiff(DEEP, compression="lzw"),
    "big endian": tiff(DEEP, byteorder=">"),
    "bigtiff": tiff(DEEP, bigtiff=True),
    "tiles": tiff(DEEP, tile=(32, 32)),
    "directory last": picture(DEEP, ".tiff"),
}


@pytest.mark.parametrize("stored", [SHALLOW, DEEP], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("format", ["png", "tiff"])
def test_lossless_pictures_keep_every_level(stored: np.ndarray, format: str) -> None:
    radiograph = read(picture(stored, ".png") if format == "png" else tiff(stored))
    np.testing.assert_array_equal(radiograph.pixels, stretched(stored))
    assert (radiograph.source.format, radiograph.source.lossy) == (format, False)
    assert (radiograph.source.rows, radiograph.source.columns) == stored.shape
    assert radiograph.source.instance_key is None


@pytest.mark.parametrize("content", TIFFS.values(), ids=TIFFS.keys())
def test_tiff_layouts(content: bytes) -> None:
    np.testing.assert_array_equal(read(content).pixels, stretched(DEEP))


def test_jpeg_is_close_and_lossy() -> None:
    radiograph = read(picture(SHALLOW, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95))
    assert radiograph.source.lossy
    assert radiograph.source.format == "jpeg"
    assert np.abs(radiograph.pixels.astype(float) - stretched(SHALLOW)).mean() < 0.01 * 65535


@pytest.mark.parametrize(
    ("compression", "lossy"),
    [(None, False), ("lzw", False), ("zlib", False), ("packbits", False), ("jpeg", True)],
)
def test_tiffs_that_are_lossy(compression: str | None, lossy: bool) -> None:
    assert read(tiff(SHALLOW, compression=compression)).source.lossy == lossy


@pytest.mark.parametrize("compression", ["lzma", "zstd", "png", "jpeg2000", "jpegxl", "webp", "lerc"])
def test_tiffs_of_other_compressions_are_refused(compression: str) -> None:
    """Each is a decoder more that a hostile file could reach, and no radiograph comes in them."""
    colour = {"photometric": "rgb"} if compression == "webp" else {}  # which has no grey
    pixels = np.repeat(SHALLOW[..., None], 3, axis=2) if colour else SHALLOW
    with pytest.raises(UnsupportedSyntax, match="compression of the TIFF is not read; send it with none, LZW"):
        read(tiff(pixels, compression=compression, **colour))


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_an_exif_orientation_turns_nothing(format: str) -> None:
    """The known radiographs were never turned by it, and a wrong one would mirror the heart."""
    tiff_header = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + b"\0\0\0\0"
    whole = picture(SHALLOW, ".png" if format == "png" else ".jpg")
    if format == "png":
        turned = whole[:33] + chunk(b"eXIf", tiff_header) + whole[33:]
    else:
        exif = b"Exif\0\0" + tiff_header
        turned = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]
    np.testing.assert_array_equal(read(turned).pixels, read(whole).pixels)


@pytest.mark.parametrize("stored", [SHALLOW, DEEP], ids=["8 bit", "16 bit"])
def test_min_is_white(stored: np.ndarray) -> None:
    most = np.iinfo(stored.dtype).max
    content = tiff(most - stored, photometric="miniswhite")
    np.testing.assert_array_equal(read(content).pixels, stretched(stored))


def test_one_radiograph_in_two_formats_has_one_pixel_digest() -> None:
    digests = {read(content).source.pixels_sha256 for content in (picture(DEEP, ".png"), tiff(DEEP))}
    assert len(digests) == 1
    assert digests != {read(picture(DEEP[::-1], ".png")).source.pixels_sha256}


@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
def test_grey_saved_as_colour_is_read(format: str) -> None:
    rgb = np.repeat(SHALLOW[..., None], 3, axis=2)
    contents = {"png": picture(rgb, ".png"), "jpeg": picture(rgb, ".jpg"), "tiff": tiff(rgb, photometric="rgb")}
    away = np.abs(read(contents[format]).pixels.astype(float) - stretched(SHALLOW))
    assert away.max() <= (0 if format != "jpeg" else 0.15 * 65535)


@pytest.mark.parametrize("stored", [SHALLOW, DEEP], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("format", ["png", "jpeg", "tiff"])
def test_colour_is_refused(stored: np.ndarray, format: str) -> None:
    rgb = np.stack([stored, np.roll(stored, 20, axis=1), np.roll(stored, 40, axis=0)], axis=2)
    eight_bit = rgb if rgb.dtype == np.uint8 else (rgb >> 8).astype(np.uint8)
    contents = {"png": picture(rgb, ".png"), "jpeg": picture(eight_bit, ".jpg"), "tiff": tiff(rgb, photometric="rgb")}
    with pytest.raises(NotARadiograph, match="in colour; send the grey radiograph"):
        read(contents[format])


@pytest.mark.parametrize("colours", [1, 3])
def test_jpegs_of_12_bits_are_not_read_outside_dicom(colours: int) -> None:
    """Nothing says there how many bits its colours have; a DICOM header does."""
    stored = (DEEP >> 4).astype(np.uint16)
    picture = stored if colours == 1 else np.stack([stored, np.roll(stored, 20, axis=1), stored], axis=2)
    with pytest.raises(Unreadable, match="the JPEG cannot be decoded"):
        read(imagecodecs.jpeg8_encode(picture, level=92, bitspersample=12))


def test_a_small_coloured_mark_is_no_colour_picture() -> None:
    rgb = np.repeat(SHALLOW[..., None], 3, axis=2)
    rgb[:8, :8] = 0, 0, 255
    assert read(picture(rgb, ".png")).pixels.shape == SHALLOW.shape


@pytest.mark.parametrize("channels", [2, 4])
def test_an_alpha_channel_says_nothing(channels: int) -> None:
    grey = np.repeat(SHALLOW[..., None], channels - 1, axis=2)
    alpha = np.random.default_rng(0).integers(0, 256, (*SHALLOW.shape, 1)).astype(np.uint8)
    stored = np.concatenate([grey, alpha], axis=2)
    if channels == 4:
        contents = [picture(stored, ".png"), tiff(stored, photometric="rgb", extrasamples=["unassalpha"])]
    else:
        contents = [tiff(stored, extrasamples=["unassalpha"], planarconfig="contig")]
    for content in contents:
        np.testing.assert_array_equal(read(content).pixels, stretched(SHALLOW))


def test_a_tiff_of_several_pages_is_refused() -> None:
    with pytest.raises(NotARadiograph, match="2 pages; send one radiograph a file"):
        read(tiff(np.stack([DEEP, DEEP]), photometric="minisblack", metadata=None))


@pytest.mark.parametrize("dtype", [np.float32, np.uint32, np.int16])
def test_other_number_formats_are_refused(dtype: type) -> None:
    with pytest.raises(UnsupportedSyntax, match=r"8 or 16 bit grey"):
        read(tiff(DEEP.astype(dtype)))


def test_a_palette_is_refused() -> None:
    colours = np.zeros((3, 256), np.uint16)
    colours[0] = np.arange(256) * 256
    with pytest.raises(NotARadiograph, match="PALETTE"):
        read(tiff(SHALLOW, photometric="palette", colormap=colours))


def png_claiming(rows: int, columns: int) -> bytes:
    """A PNG whose header lies about its size."""
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def jpeg_claiming(rows: int, columns: int) -> bytes:
    content = bytearray(picture(SHALLOW, ".jpg"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", rows, columns)
    return bytes(content)


@pytest.mark.parametrize("content", [png_claiming(60000, 60000), png_claiming(2**31 - 1, 1)], ids=["square", "tall"])
def test_a_png_that_claims_too_much_is_too_large(content: bytes) -> None:
    with pytest.raises(TooLarge, match="at most"):
        read(content)


@pytest.mark.parametrize("side", [10001, 65000])  # OpenCV refuses the greater one by itself, after making room
def test_a_jpeg_that_claims_too_much_is_too_large(side: int) -> None:
    with pytest.raises(TooLarge, match=f"{side} x {side} pixels; at most"):
        read(jpeg_claiming(side, side))


def test_a_tiff_that_claims_too_much_is_too_large() -> None:
    content = bytearray(tiff(DEEP))
    with tifffile.TiffFile(io.BytesIO(content)) as opened:
        tags = opened.pages.first.tags
        for name in ("ImageLength", "ImageWidth"):
            content[tags[name].valueoffset : tags[name].valueoffset + 2] = struct.pack("<H", 60000)
    with pytest.raises(TooLarge, match="60000 x 60000"):
        read(bytes(content))


WHOLE = {
    "png 8": picture(SHALLOW, ".png"),
    "png 16": picture(DEEP, ".png"),
    "jpeg": picture(SHALLOW, ".jpg"),
    "progressive jpeg": picture(SHALLOW, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    **{f"tiff {layout}": content for layout, content in TIFFS.items()},
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_picture_cut_anywhere_is_none(name: str) -> None:
    whole = WHOLE[name]
    assert read(whole).pixels.shape == DEEP.shape
    lengths = {*range(0, len(whole), max(1, len(whole) // 60)), *range(len(whole) - 10, len(whole))}
    for length in sorted(lengths - unneeded(name, whole)):
        with pytest.raises(CUT_SHORT):
            pytest.fail(f"{length} of {len(whole)} bytes gave {read(whole[:length]).pixels.shape}")


@pytest.mark.parametrize(
    "name", ["png 8", "png 16", "jpeg", "progressive jpeg", "tiff strips", "tiff bigtiff", "tiff directory last"]
)
def test_a_cut_in_the_pixels_is_called_truncated(name: str) -> None:
    whole = WHOLE[name]
    with pytest.raises(Truncated, match="send it again"):
        read(whole[: len(whole) * 9 // 10])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)], ids=["plain", "restarts"])
def test_a_short_jpeg_with_an_end_marker_is_called_truncated(share: float, options: tuple[int, ...]) -> None:
    """Some senders close what they cut; the decoder paints the rest grey."""
    whole = picture(SHALLOW, ".jpg", *options)
    with pytest.raises(Truncated, match="the JPEG data end before the picture does; send it again"):
        read(whole[: int(share * len(whole))] + b"\xff\xd9")


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_picture_cut_anywhere_else_is_none(name: str, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, len(WHOLE[name]) - 1).filter(lambda at: at not in unneeded(name, WHOLE[name])))
    with pytest.raises(CUT_SHORT):
        read(WHOLE[name][:length])


def unneeded(name: str, whole: bytes) -> set[int]:
    """Cuts that take nothing from the picture: the checksum of IEND."""
    return {len(whole) - missing for missing in range(1, 5)} if name.startswith("png") else set()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"a text file\n" * 40,
        b"%PDF-1.7\n" + b"\0" * 200,
        b"GIF89a" + b"\0" * 200,
        b"\0" * 500,
        b"PK\3\4" * 99,
    ],
    ids=["empty", "one byte", "text", "pdf", "gif", "zeros", "zip"],
)
def test_what_is_no_radiograph_file_is_unreadable(content: bytes) -> None:
    with pytest.raises(Unreadable, match="neither DICOM, PNG, JPEG nor TIFF"):
        read(content)


@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0"]), st.binary(max_size=300))
def test_garbage_behind_a_magic_number_is_a_radiographs_fault(magic: bytes, garbage: bytes) -> None:
    with pytest.raises((Unreadable, Truncated, TooLarge, UnsupportedSyntax, NotARadiograph)):
        read(magic + garbage)


@pytest.mark.parametrize(
    ("content", "format"),
    [
        (WHOLE["png 8"], "png"),
        (WHOLE["jpeg"], "jpeg"),
        (TIFFS["strips"], "tiff"),
        (TIFFS["big endian"], "tiff"),
        (TIFFS["bigtiff"], "tiff"),
        (dicom_file(chest(DEEP)), "dicom"),
        (dicom_file(chest(DEEP))[132:], "dicom"),  # without preamble
        (b"\x08\x00\x05\x00" + b"\0" * 200, "dicom"),
        (b"\x08\x00\x05\x01" + b"\0" * 200, None),
        (b"", None),
        (b"hello", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_format_is_told_by_the_first_bytes(content: bytes, format: str | None) -> None:
    assert sniff_format(content[:HEAD_BYTES]) == format


def test_a_preamble_may_look_like_a_tiff() -> None:
    """A dual-personality file (PS3.10 section 7.1) is DICOM."""
    content = bytearray(dicom_file(chest(DEEP)))
    content[:4] = b"II*\0"
    assert read(bytes(content)).source.format == "dicom"


def test_a_tiff_in_planes_is_refused_and_not_read_as_three_rows() -> None:
    planes = tiff(np.stack([DEEP] * 3), photometric="rgb", planarconfig="separate")
    with pytest.raises(UnsupportedSyntax, match="planes"):
        read(planes)
