"""Grey levels: stored values to the uint16 levels of a Radiograph. One place, so every format agrees."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from edge.errors import UnsupportedSyntax
from edge.values import Radiograph, Source

WHITE = np.iinfo(np.uint16).max
_DECIMALS = 6  # of a level


def stored_range(stored: NDArray[np.integer], valid: NDArray[np.bool_] | None) -> tuple[int, int]:
    """Least and greatest stored value that is not padding; (0, 0) where all is padding."""
    counted = stored if valid is None else stored[valid]
    return (int(counted.min()), int(counted.max())) if counted.size else (0, 0)


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
    if lowest == 0 and valid is None:
        return table[stored]
    offsets = np.clip(stored.astype(np.int32) - lowest, 0, len(table) - 1)
    levels = table[offsets]
    return levels if valid is None else np.where(valid, levels, np.uint16(0))


def integer_levels(stored: NDArray[np.integer], *, inverted: bool = False) -> NDArray[np.uint16]:
    """Levels of a picture without LUTs: the stored values themselves.

    Raises UnsupportedSyntax for anything but 8 or 16 bit unsigned integers.
    """
    if stored.dtype not in (np.uint8, np.uint16):
        raise UnsupportedSyntax(f"pixels are {stored.dtype}; export the radiograph as 8 or 16 bit grey")
    lowest, greatest = stored_range(stored, None)
    values = np.arange(lowest, greatest + 1, dtype=np.float64)
    return to_levels(stored, values, lowest=lowest, inverted=inverted)


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
