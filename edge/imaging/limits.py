"""How much one file may cost: pixels, bytes of decoded picture, elements, nesting. Checked before memory is taken.

A decode worker has 1 GB for the file, its pixel data, the decoder's own arrays and the levels, all alive at once.
"""

from dataclasses import dataclass

from edge.errors import TooLarge

MAX_PIXELS = 40_000_000  # a 43 x 43 cm detector at 0.1 mm has 18 million
MAX_PICTURE_BYTES = 4 * MAX_PIXELS  # decoded: 16 bit grey with alpha, or 8 bit RGBA, of the largest size
MAX_DATA_SET_BYTES = 2 * MAX_PIXELS + 16 * 1024 * 1024  # inflated: 16 bit pixels and a header
# A radiograph has some hundred elements and 4 levels; a radiotherapy plan sent by mistake ten thousand. Each costs
# pydicom up to 1 kB and 10 us.
MAX_ELEMENTS = 50_000
MAX_DEPTH = 32  # pydicom recurses, and fails near 249; structured reports nest to about 15


@dataclass(frozen=True)
class PictureSize:
    """As a file's own header gives it."""

    rows: int
    columns: int
    samples: int
    bits: int  # of a sample

    @property
    def bytes_per_pixel(self) -> int:
        return self.samples * -(-self.bits // 8)

    @property
    def decoded_bytes(self) -> int:
        return self.rows * self.columns * self.bytes_per_pixel

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns} x {self.samples} of {self.bits} bits"


def check_size(size: PictureSize) -> None:
    """Raises TooLarge for more pixels, or more bytes of picture, than are read."""
    if size.rows * size.columns > MAX_PIXELS:
        raise TooLarge(f"the picture has {size.rows} x {size.columns} pixels; at most {MAX_PIXELS} are read")
    if size.decoded_bytes > MAX_PICTURE_BYTES:
        raise TooLarge(f"the picture has {size.bytes_per_pixel} bytes a pixel; send it as 8 or 16 bit grey")
