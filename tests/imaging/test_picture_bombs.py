"""PNGs and TIFFs that would take much memory, or time: refused by what they say of themselves. DICOM: test_bombs.py."""

import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiograph_files import chunk, phantom_pixels, picture, tiff

from edge.errors import Bomb, NotARadiograph, RadiographError, TooLarge, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging import png
from edge.imaging.lzw import check_lzw
from edge.imaging.read import read

CHEST = phantom_pixels()
SHALLOW = (CHEST >> 4).astype(np.uint8)


def png_with(*chunks: bytes) -> bytes:
    whole = picture(CHEST, ".png")
    return whole[:33] + b"".join(chunks) + whole[33:]


def test_chunks_that_the_picture_does_not_need_reach_no_decoder() -> None:
    endless = zlib.compress(b"\0" * 10_000_000)
    text, profile = chunk(b"zTXt", b"a\0\0" + endless), chunk(b"iCCP", b"a\0\0" + endless)
    animated = chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))
    international = chunk(b"iTXt", b"a\0\1\0\0\0" + endless)
    content = png_with(text, profile, animated, international)
    np.testing.assert_array_equal(read(content).pixels, read(png_with()).pixels)
    assert png.essential(content) == png_with()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", [0, 2, 3, 4, 6])
@pytest.mark.parametrize("side", [65535, 2**31 - 1])
def test_a_png_of_any_colour_that_claims_too_much(depth: int, colour: int, side: int) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0))
    with pytest.raises(TooLarge):
        read(png.SIGNATURE + header + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (png_with(*[chunk(b"tEXt", b"")] * 100_001), Bomb, "more than 100000 chunks"),
        (png_with(chunk(b"IDAX", b"")), Unreadable, "critical chunk"),
        (png_with(struct.pack(">I4s", 2**31, b"tEXt")), Truncated, "inside a chunk"),
    ],
    ids=["chunks", "critical", "long"],
)
def test_pngs_that_are_no_pictures(content: bytes, error: type[RadiographError], message: str) -> None:
    with pytest.raises(error, match=message):
        read(content)


def retagged(
    content: bytes, code: int, *, kind: int | None = None, count: int | None = None, value: int | None = None
) -> bytes:
    """A little-endian TIFF with one entry of its directory changed."""
    (start,) = struct.unpack_from("<L", content, 4)
    (tags,) = struct.unpack_from("<H", content, start)
    changed = bytearray(content)
    for at in range(start + 2, start + 2 + 12 * tags, 12):
        found, old_kind, old_count, old_value = struct.unpack_from("<HHLL", content, at)
        if found == code:
            new = (kind or old_kind, old_count if count is None else count, old_value if value is None else value)
            struct.pack_into("<HHLL", changed, at, found, *new)
    return bytes(changed)


TIFF = tiff(CHEST, rowsperstrip=7)
TILES = tiff(CHEST, tile=(32, 32), compression="zlib")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (retagged(TIFF, 273, count=2**31), Bomb, "tag 273 of the TIFF has 2147483648 values"),
        (retagged(TIFF, 279, count=199_999), Truncated, "inside its directory"),
        (retagged(TIFF, 258, kind=99), Unreadable, "unknown type"),
        (retagged(TIFF, 256, value=2**31), TooLarge, "at most"),
        (retagged(TIFF, 277, value=60_000), TooLarge, "bytes a pixel"),
        (retagged(TILES, 322, value=65520), RadiographError, "send it again"),
        (retagged(TILES, 322, kind=4, value=2**31), TooLarge, "at most"),
        (retagged(TIFF, 259, value=34712), UnsupportedSyntax, "compression of the TIFF"),
        (TIFF[:4] + struct.pack("<L", 2**31), Truncated, "before its directory"),
        (b"II*\0\x08\0\0\0\xff\xff" + bytes(5000), Bomb, "65535 tags"),
    ],
    ids=["strips", "byte counts", "type", "columns", "samples", "tile", "tiles", "compression", "directory", "tags"],
)
def test_tiffs_with_absurd_tags(content: bytes, error: type[RadiographError], message: str) -> None:
    with pytest.raises(error, match=message):
        read(content)


def test_a_tiff_whose_pages_are_a_ring_is_refused() -> None:
    (start,) = struct.unpack_from("<L", TIFF, 4)
    (tags,) = struct.unpack_from("<H", TIFF, start)
    ring = bytearray(TIFF)
    struct.pack_into("<L", ring, start + 2 + 12 * tags, start)
    with pytest.raises(NotARadiograph, match="100 pages or more"):
        read(bytes(ring))


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits"])
def test_a_strip_that_unpacks_to_more_than_it_should_is_cut_off(compression: str) -> None:
    """All of one level, so that 40 MB are some kilobytes; the directory then says that it is a picture of 64 rows."""
    endless = tiff(np.full((4096, 4096), 7, np.uint16), compression=compression, rowsperstrip=4096)
    short = retagged(retagged(endless, 257, value=64), 278, value=64)
    try:
        assert read(short).pixels.shape == (64, 4096)
    except RadiographError:
        pass  # as good: no memory was taken


def test_a_jpeg_in_a_tiff_of_another_size_is_a_bomb() -> None:
    whole = tiff(SHALLOW, compression="jpeg")
    at = whole.index(b"\xff\xc0")
    with pytest.raises(Bomb, match="a JPEG in the TIFF unpacks to"):
        read(whole[: at + 5] + struct.pack(">HH", 65535, 65535) + whole[at + 9 :])


@pytest.mark.parametrize("fault", [MemoryError(), cv2.error("out of memory")])
def test_memory_that_runs_out_is_a_bomb(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(fault, cv2.error):
        fault.code = cv2.Error.StsNoMem

    def run_out(*_: object) -> None:
        raise fault

    monkeypatch.setattr("edge.imaging.read.cv2.imdecode", run_out)
    with pytest.raises(Bomb, match="more memory than a decoder may use"):
        read(png_with())


def lzw_codes(*codes: int) -> bytes:
    """Few enough codes to have nine bits each."""
    bits = "".join(f"{code:09b}" for code in (256, *codes))
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


@pytest.mark.parametrize(
    "packed",
    [
        lzw_codes(7, 259, 257),  # one beyond the next
        lzw_codes(300, 257),
        lzw_codes(258, 257),  # the first cannot be its own
        lzw_codes(*[7] * 40, 299, 257),
        lzw_codes(*[256] * 500),
        b"\0\xc9\x07\xfa\x81\xfe\xd0\x82" + bytes(range(256)) * 60,  # of the old style, on which a decoder crashed
    ],
    ids=["beyond", "far beyond", "first", "late", "endless clearing", "old style"],
)
def test_lzw_codes_that_no_table_holds_reach_no_decoder(packed: bytes) -> None:
    with pytest.raises(Unreadable, match="LZW data of the TIFF are damaged; send it again"):
        check_lzw(packed)


@given(st.integers(0, 30_000), st.sampled_from([1, 2, 50, 256]), st.integers(0, 9))
def test_what_an_encoder_writes_passes(size: int, levels: int, seed: int) -> None:
    check_lzw(imagecodecs.lzw_encode(np.random.default_rng(seed).integers(0, levels, size).astype(np.uint8).tobytes()))


def test_a_tiff_with_damaged_lzw_codes_is_unreadable() -> None:
    content = bytearray(tiff(CHEST, compression="lzw", rowsperstrip=len(CHEST)))
    content[content.index(imagecodecs.lzw_encode(CHEST.tobytes())[:16])] = 0
    with pytest.raises(Unreadable, match="LZW data"):
        read(bytes(content))
