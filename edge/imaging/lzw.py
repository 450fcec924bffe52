"""Checks the codes of LZW as TIFF has it (TIFF 6.0 section 13) before a decoder that trusts them gets them.

After each clear code the widths of the codes, and the largest that can be known, follow from their number alone. So
whole tables are checked at once.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge.errors import Unreadable

_CLEAR, _END, _FIRST_FREE = 256, 257, 258
_CODES = 3839  # in one table of 12 bits, the clear code that must follow among them
_WIDTH_CHANGES = ((254, 9), (766, 10), (1790, 11), (_CODES, 12))  # up to which code, how many bits: one code early
_LEAST_TABLE_BYTES = 128  # on average; encoders clear a table when it is full, after 5 kB
_WINDOW_BYTES = 6 * 1024


def check_lzw(packed: bytes) -> None:
    """Raises Unreadable for a code that its table does not hold yet, a table that overflows, or endless clearing."""
    starts, widths, largest = _table()
    at = 0  # in bits
    for _ in range(len(packed) // _LEAST_TABLE_BYTES + 16):
        window = np.frombuffer(packed, np.uint8, min(_WINDOW_BYTES, len(packed) - at // 8), at // 8)
        codes = _codes(window, at % 8 + starts, widths)
        ends = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        count = int(ends[0]) if len(ends) else len(codes)
        if (codes[:count] > largest[:count]).any() or count == _CODES:
            break
        if count == len(codes) or codes[count] == _END:
            return
        at += int(starts[count] + widths[count])
    raise Unreadable("the LZW data of the TIFF are damaged; send it again")


def _codes(window: NDArray[np.uint8], starts: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The codes that lie wholly in the window, the most significant bit first."""
    held = int(np.searchsorted(starts + widths, len(window) * 8, side="right"))
    starts, widths = starts[:held], widths[:held]
    padded = np.concatenate([window, np.zeros(3, np.uint8)]).astype(np.int64)
    first = starts // 8
    three = padded[first] << 16 | padded[first + 1] << 8 | padded[first + 2]
    return three >> (24 - starts % 8 - widths) & ((1 << widths) - 1)


@cache
def _table() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """By number of the code since the last clear: its first bit, its width, and the largest it may be."""
    number = np.arange(_CODES)
    widths = np.select([number < limit for limit, _ in _WIDTH_CHANGES], [width for _, width in _WIDTH_CHANGES])
    starts = np.cumsum(widths) - widths
    largest = np.where(number == 0, 255, _FIRST_FREE - 1 + number)  # the first is a level, the next may be its own
    return starts, widths, largest
