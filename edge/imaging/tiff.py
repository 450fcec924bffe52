"""TIFF bytes -> stored values, for the few kinds that radiographs come in: grey or grey as RGB, one page, contiguous.

The directory is judged and rewritten before tifffile sees it: only the tags that make the picture stay, so that none
of its readers of vendors' tags runs (TIFF 6.0, section 2).
"""

import io
from typing import NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from edge.errors import Bomb, NotARadiograph, Truncated, UnsupportedSyntax
from edge.imaging.codestream import jpeg_size
from edge.imaging.limits import PictureSize, check_size
from edge.imaging.lzw import check_lzw
from edge.imaging.tiff_directory import essential

_LOSSLESS = frozenset(
    {
        tifffile.COMPRESSION.NONE,
        tifffile.COMPRESSION.LZW,
        tifffile.COMPRESSION.ADOBE_DEFLATE,
        tifffile.COMPRESSION.DEFLATE,
        tifffile.COMPRESSION.PACKBITS,
    }
)
COMPRESSIONS = _LOSSLESS | {tifffile.COMPRESSION.JPEG}  # each has a decoder that keeps to the size it is given
_GREY = frozenset({tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE})


class TiffPicture(NamedTuple):
    """stored: [rows, columns] or [rows, columns, samples]. inverted: 0 is white."""

    stored: NDArray[np.integer]
    inverted: bool
    lossy: bool


def read_tiff(content: bytes) -> TiffPicture:
    with tifffile.TiffFile(io.BytesIO(essential(content))) as tiff:
        if not tiff.pages:
            raise Truncated("the TIFF ends before its directory; send it again")
        page = tiff.pages.first
        _check_page(page, content)
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        lossy = page.compression not in _LOSSLESS
        stored = page.asarray(maxworkers=1)  # no thread can be started where files are decoded
    if stored.ndim not in (2, 3):
        raise UnsupportedSyntax(f"the TIFF has {stored.ndim} dimensions; send a plain grey picture")
    return TiffPicture(stored, inverted, lossy)


def _check_page(page: tifffile.TiffPage, content: bytes) -> None:
    """Sizes first: of the picture, and of one tile or strip, which is decoded whole."""
    for rows, columns in (
        (page.imagelength, page.imagewidth * page.imagedepth),
        (page.tilelength, page.tilewidth * page.tiledepth),
    ):
        check_size(PictureSize(rows, columns, page.samplesperpixel, page.bitspersample))
    if page.compression not in COMPRESSIONS:
        raise UnsupportedSyntax("the compression of the TIFF is not read; send it with none, LZW, deflate or PackBits")
    if any(at + length > len(content) for at, length in zip(page.dataoffsets, page.databytecounts, strict=True)):
        raise Truncated("the TIFF ends before its last strip; send it again")
    if page.photometric not in _GREY | {tifffile.PHOTOMETRIC.RGB}:
        raise NotARadiograph(f"the TIFF is {page.photometric.name}; send a grey radiograph")
    if page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        raise UnsupportedSyntax("the TIFF keeps its colours in planes; send one grey channel")
    if page.compression == tifffile.COMPRESSION.JPEG:
        _check_jpegs(page, content)
    if page.compression == tifffile.COMPRESSION.LZW:
        for at, length in zip(page.dataoffsets, page.databytecounts, strict=True):
            check_lzw(content[at : at + length])


def _check_jpegs(page: tifffile.TiffPage, content: bytes) -> None:
    """A JPEG in a TIFF has a size of its own, which its decoder believes."""
    rows = page.tilelength if page.is_tiled else page.rowsperstrip
    columns = page.tilewidth if page.is_tiled else page.imagewidth
    for at, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        size = jpeg_size(content[at : at + length])
        if size.rows > rows or size.columns > columns or size.samples > page.samplesperpixel:
            raise Bomb(f"a JPEG in the TIFF unpacks to {size}, the TIFF says {rows} x {columns}; find out who sent it")
