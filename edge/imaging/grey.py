"""Grey levels: stored values to the uint16 levels of a Radiograph. One place, so every format agrees."""

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import NotARadiograph, UnsupportedSyntax
from edge.values import Radiograph, Source

WHITE = np.iinfo(np.uint16).max
_DECIMALS = 6  # of a level
_BLOCK_ROWS = 64
# What a stored value's bytes are looked up as.
_SHORT = {np.dtype(kind): np.dtype(wide) for kind, wide in (("u1", "u2"), ("u2", "u2"), ("i1", "i2"), ("i2", "i2"))}
# A grey picture saved as colour differs between channels by rounding only; burnt-in coloured marks cover little.
_COLOUR_STEP, _COLOUR_SHARE = 24, 0.05


def stored_range(stored: NDArray[np.integer], valid: NDArray[np.bool_] | None) -> tuple[int, int]:
    """Least and greatest stored value that is not padding; (0, 0) where all is padding."""
    if valid is None:
        return (int(stored.min()), int(stored.max())) if stored.size else (0, 0)
    if not valid.any():
        return 0, 0
    limits = np.iinfo(stored.dtype)  # not stored[valid]: a copy of the picture
    least = stored.min(where=valid, initial=limits.max)
    return int(least), int(stored.max(where=valid, initial=limits.min))


def to_levels(
    stored: NDArray[np.integer],
    values: NDArray[np.float64],
    *,
    lowest: int,
    inverted: bool,
    valid: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint16]:
    """Map each stored value through `values` and stretch the outcome over 0..65535, padding to 0.

    values: the displayed value of stored value `lowest`, `lowest` + 1, ... One table instead of arithmetic on every
    pixel. inverted: MONOCHROME1 (PS3.3 C.7.6.3.1.2); inverted before rounding, so that a MONOCHROME1 and a
    MONOCHROME2 copy of one radiograph give the same levels to the last bit.
    """
    if inverted:
        values = -values
    span = float(values.max() - values.min())
    scaled = (values - values.min()) * (WHITE / span) if span > 0 else np.zeros_like(values)
    table = np.rint(scaled.round(_DECIMALS)).astype(np.uint16)
    levels = np.empty(stored.shape, np.uint16)
    short = _SHORT.get(stored.dtype)
    if short is not None:  # by a table of all that two bytes can hold
        every = np.arange(1 << 16, dtype=np.uint16).view(short).astype(np.int32)
        full = table[np.clip(every - lowest, 0, len(table) - 1)]
        for first in range(0, len(stored), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            cv2.LUT(np.ascontiguousarray(stored[rows], short).view(np.uint16), full, dst=levels[rows])
    else:
        for first in range(0, len(stored), _BLOCK_ROWS):  # as a whole, the indices alone would take eight bytes a pixel
            rows = slice(first, first + _BLOCK_ROWS)
            levels[rows] = table[np.clip(stored[rows].astype(np.int64) - lowest, 0, len(table) - 1)]
    if valid is not None:
        levels[~valid] = 0
    return levels


def integer_levels(stored: NDArray[np.integer], *, inverted: bool = False) -> NDArray[np.uint16]:
    """Levels of a picture without LUTs: the stored values themselves.

    Raises UnsupportedSyntax for anything but 8 or 16 bit unsigned integers.
    """
    if stored.dtype not in (np.uint8, np.uint16):
        raise UnsupportedSyntax(f"pixels are {stored.dtype}; export the radiograph as 8 or 16 bit grey")
    lowest, greatest = stored_range(stored, None)
    values = np.arange(lowest, greatest + 1, dtype=np.float64)
    return to_levels(stored, values, lowest=lowest, inverted=inverted)


def single_channel(stored: NDArray[np.integer]) -> NDArray[np.integer]:
    """The grey channel of a picture saved with one, three or four channels.

    Raises NotARadiograph when the channels differ by more than rounding: the picture is in colour.
    """
    if stored.ndim == 2:
        return stored
    channels = stored[..., :3] if stored.shape[-1] >= 3 else stored[..., :1]
    if channels.shape[-1] == 1:
        return channels[..., 0]
    step = _COLOUR_STEP * (257 if stored.dtype == np.uint16 else 1)
    coloured = 0
    for first in range(0, len(channels), _BLOCK_ROWS):
        rows = channels[first : first + _BLOCK_ROWS]
        coloured += int(np.count_nonzero(rows.max(axis=-1) - rows.min(axis=-1) > step))
    if coloured > _COLOUR_SHARE * channels[..., 0].size:
        raise NotARadiograph("the picture is in colour; send the grey radiograph")
    return channels[..., 1]


def pixels_digest(pixels: NDArray[np.uint16]) -> str:
    """SHA-256 of the levels and their shape: equal for every transfer syntax of one radiograph."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels, dtype="<u2").data)
    return digest.hexdigest()


def plain_radiograph(pixels: NDArray[np.uint16], *, sha256: str, format: str, lossy: bool) -> Radiograph:
    """A Radiograph from a picture file, which has no header worth keeping."""
    rows, columns = pixels.shape
    source = Source(sha256, format, rows, columns, pixels_digest(pixels), lossy=lossy)
    return Radiograph(source, pixels)
