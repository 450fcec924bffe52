"""The bytes of a DICOM data set, to be read like a file; native pixel data are handed out where they lie, not copied.

Only what pydicom asks of a file is here. What the bytes mean is in elements.py and dicom.py.
"""

import io

from edge.imaging.elements import NO_TAG, PIXEL_DATA, UNDEFINED

_OF_BYTES = (None, "OB", "OW")  # VRs whose values pydicom passes on as they are; None: implicit


class Body:
    """views: whether PixelData of defined length are read as a memoryview of `content`, which must not change."""

    def __init__(self, content: bytes | bytearray, start: int, *, views: bool) -> None:
        self._content, self._at, self._views = memoryview(content), start, views
        self._next_is_view = False

    def ends(self, tag: int, vr: str | None, length: int) -> bool:
        """For pydicom's stop_when, which is asked before each value of the data set itself, not of its items.

        True at an element that no file holds.
        """
        self._next_is_view = self._views and tag == PIXEL_DATA and 0 < length != UNDEFINED and vr in _OF_BYTES
        return tag == NO_TAG

    def read(self, size: int) -> bytes | memoryview:
        part = self._content[self._at : self._at + size]
        self._at += len(part)
        as_view, self._next_is_view = self._next_is_view, False
        return part if as_view else bytes(part)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Beyond the end too, as in a file."""
        self._next_is_view = False
        at = offset if whence == io.SEEK_SET else self._at + offset
        if at < 0:
            raise ValueError(f"a place {-at} bytes before the beginning")
        self._at = at
        return at
