"""What a JPEG 2000 codestream says of its size, tiles, precincts and code-blocks (ITU-T T.800 Annex A; HTJ2K: T.814).

OpenJPEG makes room for all of them before it has read a pixel.
"""

import struct
from dataclasses import dataclass

from edge.errors import Bomb, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging.limits import PictureSize

MAX_TILES = 4096  # 40 million pixels in tiles of 128 x 128 are 2,441
MAX_BLOCKS = 200_000  # precincts, or code-blocks: 40 million pixels in blocks of 16 x 16 are 156,250
MAX_PACKETS = 4_000_000  # layers x precincts
_MAX_LEVELS = 32
_START, _SIZE, _CODING_STYLE, _TILE_PART = b"\xff\x4f\xff\x51", 0x51, 0x52, 0x90
_SIZ = struct.Struct(">HHIIIIIIIIHBBB")  # length, Rsiz, X, Y, XO, YO, XT, YT, XTO, YTO, components, Ssiz, XR, YR
_COD = struct.Struct(">HBBHBBBBBB")  # length, Scod, order, layers, transform, levels, xcb, ycb, style, wavelet
_BOX = struct.Struct(">I4s")
_JP2_SIGNATURE, _CODESTREAM_BOX, _PALETTE = b"jP  ", b"jp2c", b"pclr"
_MAX_SEGMENTS = 10_000


@dataclass(frozen=True)
class CodingStyle:
    """COD (A.6.1). precincts: exponents (columns, rows) by resolution, the least first; empty: of the largest size."""

    layers: int
    levels: int
    block_columns: int
    block_rows: int
    reversible: bool
    precincts: tuple[tuple[int, int], ...]


def picture_size(frame: bytes) -> PictureSize:
    """The size in SIZ, of a bare codestream or of one in a JP2 file.

    Raises Bomb for more tiles, precincts, code-blocks or packets than any encoder makes of a radiograph.
    """
    at = _codestream_at(frame)
    if frame[at : at + 4] != _START or at + 4 + _SIZ.size > len(frame):
        raise Unreadable("the JPEG 2000 codestream does not begin with its size; send it again")
    _, _, x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0, samples, precision, step_x, step_y = _SIZ.unpack_from(
        frame, at + 4
    )
    # B-3, B-4: a tile begins at or before the image and reaches into it.
    if not (x0 < x and y0 < y and tile_x0 <= x0 < tile_x0 + tile_x and tile_y0 <= y0 < tile_y0 + tile_y):
        raise Unreadable("the JPEG 2000 codestream has no size that makes sense; send it again")
    if (step_x, step_y) != (1, 1):
        raise UnsupportedSyntax("the JPEG 2000 codestream is subsampled; send every pixel")
    tiles = _up(x - tile_x0, tile_x) * _up(y - tile_y0, tile_y)
    if tiles > MAX_TILES:
        raise Bomb(f"the JPEG 2000 codestream has {tiles} tiles; at most {MAX_TILES} are read: find out who sent it")
    size = PictureSize(y - y0, x - x0, samples, (precision & 0x7F) + 1)
    _check_style(coding_style(frame), size, tiles=tiles, tile_pixels=(min(tile_y, y), min(tile_x, x)))
    return size


def coding_style(frame: bytes) -> CodingStyle:
    """COD of the main header. Raises Unreadable where there is none."""
    at = _codestream_at(frame) + 2
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(frame) or frame[at] != 0xFF or frame[at + 1] == _TILE_PART:
            break
        (length,) = struct.unpack_from(">H", frame, at + 2)
        if frame[at + 1] == _CODING_STYLE and at + 2 + _COD.size <= len(frame):
            return _style(frame[at + 2 : at + 2 + length])
        at += 2 + length
    raise Unreadable("the JPEG 2000 codestream has no coding style where one must be; send it again")


def _style(segment: bytes) -> CodingStyle:
    _, flags, _, layers, _, levels, block_columns, block_rows, _, wavelet = _COD.unpack_from(segment)
    sizes = segment[_COD.size : _COD.size + levels + 1] if flags & 1 else b""
    if levels > _MAX_LEVELS or (flags & 1 and len(sizes) < levels + 1):
        raise Unreadable("the JPEG 2000 coding style makes no sense; send it again")
    precincts = tuple((size & 15, size >> 4) for size in sizes)
    return CodingStyle(layers, levels, (block_columns & 15) + 2, (block_rows & 15) + 2, wavelet == 1, precincts)


def _check_style(style: CodingStyle, size: PictureSize, *, tiles: int, tile_pixels: tuple[int, int]) -> None:
    precincts = blocks = 0
    for resolution in range(style.levels + 1):
        rows, columns = (_up(side, 1 << (style.levels - resolution)) for side in tile_pixels)
        wide, high = style.precincts[resolution] if style.precincts else (15, 15)
        precincts += tiles * _up(rows, 1 << high) * _up(columns, 1 << wide)
        # A code-block is no larger than its precinct, and a precinct of a band half as large as one of its level.
        block_rows, block_columns = (
            1 << max(0, min(block, precinct - (resolution > 0)))
            for block, precinct in ((style.block_rows, high), (style.block_columns, wide))
        )
        blocks += tiles * _up(rows, block_rows) * _up(columns, block_columns)
    blocks *= size.samples
    packets = precincts * style.layers * size.samples
    if precincts > MAX_BLOCKS or blocks > MAX_BLOCKS or packets > MAX_PACKETS:
        raise Bomb(
            f"the JPEG 2000 codestream is cut into {precincts} precincts, {blocks} blocks and {packets} packets; "
            "find out who sent it"
        )


def _codestream_at(frame: bytes) -> int:
    """0, or behind the boxes of a JP2 file (I.4). Raises UnsupportedSyntax for one with a palette."""
    if frame[4:8] != _JP2_SIGNATURE:
        return 0
    at = 0
    for _ in range(_MAX_SEGMENTS):
        if at + _BOX.size > len(frame):
            break
        length, kind = _BOX.unpack_from(frame, at)
        if kind == _CODESTREAM_BOX:
            if _PALETTE in frame[:at]:
                raise UnsupportedSyntax("the JPEG 2000 file has a palette; send it as grey levels")
            return at + (16 if length == 1 else _BOX.size)
        if length < _BOX.size:  # to the end, or of 64 bits: no box before the codestream is
            break
        at += length
    raise Truncated("the JPEG 2000 file ends before its codestream; send it again")


def _up(part: int, whole: int) -> int:
    return -(-part // whole)
