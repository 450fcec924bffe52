"""Small phantom pictures: PNG of each colour type and depth, JPEG, TIFF of each layout and compression."""

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from benchmarks.fuzz.canary import WORD
from benchmarks.fuzz.seed import Seed
from edge.phantom import render

PNG_START = b"\x89PNG\r\n\x1a\n"
_SIDE = 40
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
# Where the passes of Adam7 begin and how far they step: row, column, rows, columns (PNG, section 8.2).
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def picture_seeds() -> Iterator[Seed]:
    sixteen = render(9, "covid", longest_side=_SIDE).pixels << 4
    eight = (sixteen >> 8).astype(np.uint8)
    yield from _pngs(sixteen, eight)
    yield from _jpegs(eight)
    yield from _tiffs(sixteen, eight)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(
    samples: NDArray[np.integer], colour: int, depth: int, *, interlaced: bool = False, more: bytes = b""
) -> bytes:
    """samples: [rows, columns] or [rows, columns, channels]. more: chunks to stand before the data."""
    rows, columns = samples.shape[:2]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b"".join(_lines(samples[row::down, column::right], depth) for row, column, down, right in passes)
    header = struct.pack(">IIBBBBB", columns, rows, depth, colour, 0, 0, int(interlaced))
    return PNG_START + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def _lines(samples: NDArray[np.integer], depth: int) -> bytes:
    """Each row after its filter type, which is none."""
    if depth < 8:
        bits = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - depth :]
        rows = [np.packbits(row.reshape(-1)).tobytes() for row in bits]
    else:
        rows = [row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples]
    return b"".join(b"\0" + row for row in rows if row)


def _pngs(sixteen: NDArray[np.uint16], eight: NDArray[np.uint8]) -> Iterator[Seed]:
    palette = chunk(b"PLTE", bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)))
    words = chunk(b"tEXt", b"Title\0" + WORD.encode()) + chunk(
        b"zTXt", b"Author\0\0" + zlib.compress(WORD.encode() * 9)
    )
    words += chunk(b"iTXt", b"Name\0\0\0\0\0" + WORD.encode()) + chunk(b"pHYs", struct.pack(">IIB", 9, 9, 1))
    words += chunk(b"gAMA", struct.pack(">I", 45455)) + chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(200)))
    words += chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0")
    opaque = np.full_like(eight, 255)
    yield Seed("png-grey-16", png_file(sixteen, _GREY, 16))
    yield Seed("png-grey-8", png_file(eight, _GREY, 8))
    yield Seed("png-grey-1", png_file(eight > 90, _GREY, 1))
    yield Seed("png-grey-4", png_file(eight >> 4, _GREY, 4))
    yield Seed("png-rgb-8", png_file(np.stack([eight] * 3, 2), _RGB, 8))
    yield Seed("png-rgb-16", png_file(np.stack([sixteen] * 3, 2), _RGB, 16))
    yield Seed("png-palette-8", png_file(eight, _PALETTE, 8, more=palette + chunk(b"tRNS", bytes([0, 9]))))
    yield Seed("png-grey-alpha", png_file(np.stack([eight, opaque], 2), _GREY_ALPHA, 8))
    yield Seed("png-rgb-alpha", png_file(np.stack([eight] * 3 + [opaque], 2), _RGB_ALPHA, 8))
    yield Seed("png-interlaced-16", png_file(sixteen, _GREY, 16, interlaced=True))
    yield Seed("png-interlaced-1", png_file(eight > 90, _GREY, 1, interlaced=True))
    yield Seed("png-words", png_file(eight, _GREY, 8, more=words))


def _jpegs(eight: NDArray[np.uint8]) -> Iterator[Seed]:
    for name, options in {
        "baseline": [],
        "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
        "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    }.items():
        yield Seed(f"jpeg-{name}", _opencv_jpeg(eight, options))
    yield Seed("jpeg-rgb", _opencv_jpeg(np.stack([eight] * 3, 2), []))
    exif = b"Exif\0\0" + _tiff(eight[:8, :8], description=f"{WORD}^EXIF")
    words = _segment(0xE1, exif) + _segment(0xFE, f"{WORD}^COMMENT".encode())
    plain = _opencv_jpeg(eight, [])
    yield Seed("jpeg-words", plain[:2] + words + plain[2:])
    yield Seed("jpeg-arithmetic-free-444", bytes(imagecodecs.jpeg8_encode(np.stack([eight] * 3, 2), subsampling="444")))


def _opencv_jpeg(stored: NDArray[np.uint8], options: list[int]) -> bytes:
    written, encoded = cv2.imencode(".jpg", stored, options)
    assert written
    return encoded.tobytes()


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _tiffs(sixteen: NDArray[np.uint16], eight: NDArray[np.uint8]) -> Iterator[Seed]:
    words = f"{WORD}^DESCRIPTION"
    for name, stored, options in (
        ("strips", sixteen, {"rowsperstrip": 7}),
        ("big-endian", sixteen, {"byteorder": ">"}),
        ("big", sixteen, {"bigtiff": True}),
        ("big-big-endian", sixteen, {"bigtiff": True, "byteorder": ">"}),
        ("tiles", sixteen, {"tile": (16, 16)}),
        ("lzw", sixteen, {"compression": "lzw"}),
        ("lzw-predictor", sixteen, {"compression": "lzw", "predictor": True}),
        ("deflate", sixteen, {"compression": "zlib", "tile": (16, 32)}),
        ("packbits", eight, {"compression": "packbits"}),
        ("eight-bit", eight, {}),
        ("inverted", eight, {"photometric": "miniswhite"}),
        ("rgb", np.stack([eight] * 3, 2), {"photometric": "rgb"}),
        ("jpeg", eight, {"compression": "jpeg", "tile": (16, 16)}),
    ):
        yield Seed(f"tiff-{name}", _tiff(stored, description=words, **options))


def _tiff(stored: NDArray[np.integer], **options: object) -> bytes:
    opened = io.BytesIO()
    settings = {"photometric": "minisblack", "metadata": None, "software": f"{WORD}^SOFTWARE", **options}
    tifffile.imwrite(opened, stored, **settings)
    return opened.getvalue()
