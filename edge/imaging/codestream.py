"""What a compressed picture says of its own size, read before a decoder makes room for it: JPEG, JPEG-LS, RLE.

JPEG 2000 is in jpeg2000.py. Decoders believe the codestream and not the DICOM header: both must agree.
"""

import struct
from itertools import pairwise

from pydicom.uid import RLELossless

from edge.errors import Bomb, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging import jpeg2000
from edge.imaging.limits import PictureSize

MAX_SCANS = 100  # of a progressive JPEG: each is a pass over the whole picture; encoders make about ten
_MAX_SEGMENTS = 10_000  # before the frame header: a colour profile and EXIF take some ten
_START_OF_SCAN = b"\xff\xda"
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xF7})  # SOF0-3, 9, 10 (T.81 B.1.1.3) and JPEG-LS (T.87 C.1)
_OTHER_FRAMES = frozenset({0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})  # hierarchical, or arithmetic and lossless
_RLE_HEADER = struct.Struct("<16L")  # PS3.5 G.5


def check_frame(frame: bytes, syntax: str, *, rows: int, columns: int, bits_allocated: int) -> None:
    """Compare a frame's own header with the DICOM header.

    Raises Bomb when it would unpack to more than the header says, Unreadable for any other disagreement.
    """
    if syntax == RLELossless:
        rle_segments(frame, bits_allocated=bits_allocated)  # rows and columns stand in the DICOM header only
        return
    size = jpeg_size(frame) if frame[:2] == b"\xff\xd8" else jpeg2000.picture_size(frame)
    said = PictureSize(rows, columns, 1, bits_allocated)
    if size.decoded_bytes > said.decoded_bytes:
        raise Bomb(f"the frame unpacks to {size}, the header says {said}; find out who sent it")
    if (size.rows, size.columns, size.samples) != (rows, columns, 1) or size.bits > bits_allocated:
        raise Unreadable(f"the frame holds {size}, the header says {said}; send it again")


def jpeg_size(jpeg: bytes) -> PictureSize:
    """The frame header of a JPEG or JPEG-LS (ITU-T T.81 B.2.2, T.87 C.2.2).

    Raises Unreadable where there is none, UnsupportedSyntax for a hierarchical one, Bomb for one of endless scans.
    """
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(jpeg) or jpeg[at] != 0xFF:
            break
        marker = jpeg[at + 1]
        if marker in _FRAMES and at + 10 <= len(jpeg):
            _check_scans(jpeg)
            bits, rows, columns, samples = struct.unpack_from(">BHHB", jpeg, at + 4)
            if not 2 <= bits <= 16 or samples == 0:  # T.81 B.2.2; a decoder crashed on 76
                raise Unreadable("the JPEG has no number of bits or samples that makes sense; send it again")
            return PictureSize(rows, columns, samples, bits)
        if marker in _OTHER_FRAMES:
            raise UnsupportedSyntax("the JPEG is hierarchical or arithmetic-coded; send it as baseline or lossless")
        if marker == 0xDA:
            break
        # Any number of fill bytes may come before a marker.
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
    raise Unreadable("the JPEG has no frame header where one must be; send it again")


def _check_scans(jpeg: bytes) -> None:
    scans = jpeg.count(_START_OF_SCAN)
    if scans > MAX_SCANS:
        raise Bomb(f"the JPEG has {scans} scans; at most {MAX_SCANS} are read: find out who sent it")


def rle_segments(frame: bytes, *, bits_allocated: int) -> list[bytes]:
    """The packed byte planes of an RLE frame, the most significant first (PS3.5 G.2, G.5).

    Raises Unreadable when there are not as many as a pixel has bytes, Truncated when one begins beyond the frame.
    """
    if len(frame) < _RLE_HEADER.size:
        raise Truncated("the RLE frame ends inside its header; send it again")
    count, *offsets = _RLE_HEADER.unpack_from(frame)
    if count != bits_allocated // 8:
        raise Unreadable(f"the RLE frame has {count} segments for {bits_allocated} bits allocated; send it again")
    starts = [*offsets[:count], len(frame)]
    if starts[0] < _RLE_HEADER.size or any(start > end for start, end in pairwise(starts)):
        raise Truncated("an RLE segment begins beyond the end of the frame; send it again")
    return [frame[start:end] for start, end in pairwise(starts)]
