"""DICOM pixel data -> stored values: which decoder serves which transfer syntax (PS3.5 section 8.2, Annex A).

One decoder each, chosen here and not by what happens to be installed, so that every box decodes alike.
"""

from typing import Any

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from edge.errors import TooLarge, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging import jpeg2000
from edge.imaging.codestream import check_frame, rle_segments
from edge.imaging.limits import MAX_DATA_SET_BYTES

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
# imagecodecs makes no more of a frame than it is told to. pydicom's RLE decoder makes all that the runs say; gdcm ends
# the process on some damaged JPEGs, takes twice the memory and gives the same pixels; pylibjpeg-libjpeg is GPL.
PLUGINS: dict[UID, str] = {
    RLELossless: "imagecodecs",
    JPEGBaseline8Bit: "imagecodecs",
    JPEGExtended12Bit: "imagecodecs",
    JPEGLossless: "imagecodecs",
    JPEGLosslessSV1: "imagecodecs",
    JPEGLSLossless: "imagecodecs",
    JPEGLSNearLossless: "imagecodecs",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
}
LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})
_JPEG_LS = frozenset({JPEGLSLossless, JPEGLSNearLossless})
_EITHER_WAVELET = frozenset({JPEG2000, HTJ2K})
_END_OF_IMAGE = b"\xff\xd9"  # JPEG, JPEG-LS (EOI) and JPEG 2000 (EOC) all end with it
_RLE_PADDING_BYTES = 256  # beyond the picture, which some encoders write
_MORE_SCAN = bytes(range(64))  # zero first: entropy-coded even after 0xFF (ITU-T T.81, B.1.1.5)


def decode(dataset: Dataset) -> NDArray[np.integer]:
    """Stored values [rows, columns] of a single-frame, single-sample image, in native byte order.

    Raises UnsupportedSyntax when no decoder is known for the transfer syntax, Truncated or TooLarge when pixel data are
    short or endless, and Bomb or Unreadable when a frame says another size than the header.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if len(dataset.PixelData) > MAX_DATA_SET_BYTES:  # several copies of them are made
        raise TooLarge(f"pixel data hold {len(dataset.PixelData)} bytes; at most {MAX_DATA_SET_BYTES} are read")
    if syntax in NATIVE:
        stored = _decode_native(dataset)
    elif syntax in PLUGINS:
        stored = _decode_frame(dataset, syntax)
    else:
        raise UnsupportedSyntax(
            f"transfer syntax {_shown(syntax)} has no decoder; send it as Explicit VR Little Endian"
        )
    if stored.shape != (dataset.Rows, dataset.Columns):  # pydicom makes frames of pixel data that are long enough
        raise Unreadable(f"the pixel data hold {stored.shape}, the header says one frame; send it again")
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _decode_native(dataset: Dataset) -> NDArray[np.integer]:
    """The pixel data themselves, not a copy of them, where the bits that are not stored say nothing."""
    _check_native_length(dataset)
    return _signed(pixel_array(dataset, raw=True, view_only=True, correct_unused_bits=False), dataset)


def _decode_frame(dataset: Dataset, syntax: UID) -> NDArray[np.integer]:
    _check_pixel_module(dataset)
    frame = _frame(dataset)
    if syntax != RLELossless:
        _check_frame_end(frame)
    check_frame(frame, syntax, rows=dataset.Rows, columns=dataset.Columns, bits_allocated=dataset.BitsAllocated)
    if syntax == RLELossless:
        return _signed(_decode_rle(frame, dataset), dataset)
    if syntax in _JPEG:
        decoded = decode_whole_jpeg(frame)
        if decoded is None:
            raise Unreadable("the JPEG cannot be decoded; send it again")
        return _signed(decoded, dataset)
    if syntax in _JPEG_LS:
        return _signed(_decode_jpeg_ls(frame, dataset), dataset)
    del frame  # pydicom takes one of its own
    return pixel_array(dataset, raw=True, decoding_plugin=PLUGINS[syntax])


def _shown(uid: str) -> str:
    """A registered transfer syntax for a message; anything else may be a name or a number that names."""
    return uid if UID(uid).is_transfer_syntax else "that is not registered"


def _check_native_length(dataset: Dataset) -> None:
    expected = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) < expected:
        raise Truncated(f"pixel data hold {len(dataset.PixelData)} of {expected} bytes; send it again")


def _check_pixel_module(dataset: Dataset) -> None:
    """What pydicom checks for the decoders that it calls itself (PS3.3 C.7.6.3.1)."""
    whole = dataset.Rows > 0 and dataset.Columns > 0 and 0 < dataset.BitsStored <= dataset.BitsAllocated
    if not whole or dataset.PixelRepresentation not in (0, 1):
        raise Unreadable("Rows, Columns, BitsStored or PixelRepresentation make no sense; send it again")


def _check_frame_end(frame: bytes) -> None:
    if _END_OF_IMAGE not in frame[-16:]:  # an encoder may pad the fragment
        raise Truncated("the compressed pixel data end before their end-of-image marker; send it again")


def _decode_rle(frame: bytes, dataset: Dataset) -> NDArray[np.integer]:
    """Byte planes, the most significant first, of a picture and a little padding each (PS3.5 G.2)."""
    pixels = dataset.Rows * dataset.Columns
    segments = rle_segments(frame, bits_allocated=dataset.BitsAllocated)
    planes = []
    for segment in reversed(segments):
        plane = imagecodecs.packbits_decode(segment, out=pixels + _RLE_PADDING_BYTES)
        if len(plane) < pixels:
            raise Truncated(f"an RLE segment holds {len(plane)} of {pixels} bytes; send it again")
        planes.append(np.frombuffer(plane, np.uint8, pixels).reshape(dataset.Rows, dataset.Columns))
    return cv2.merge(planes).view(f"<u{len(segments)}").reshape(dataset.Rows, dataset.Columns)


def _decode_jpeg_ls(frame: bytes, dataset: Dataset) -> NDArray[Any]:
    """uint8 or uint16 [rows, columns]: into a place of that size, so that no frame can claim another."""
    place = np.empty((dataset.Rows, dataset.Columns), f"u{dataset.BitsAllocated // 8}")
    return np.asarray(imagecodecs.jpegls_decode(frame, out=place))


def _signed(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.integer]:
    """The bits that are stored, with the sign that neither JPEG nor RLE knows; a copy only where that changes any."""
    allocated_bytes, bits_stored = dataset.BitsAllocated // 8, dataset.BitsStored
    signed = dataset.PixelRepresentation == 1
    values = stored.astype(f"{'i' if signed else 'u'}{allocated_bytes}", copy=False)
    lowest = -(1 << bits_stored - 1) if signed else 0
    unused = dataset.BitsAllocated - bits_stored
    if unused == 0 or (lowest <= int(values.min()) and int(values.max()) < lowest + (1 << bits_stored)):
        return values
    return (values.view(f"u{allocated_bytes}") << unused).view(values.dtype) >> unused


def decode_whole_jpeg(jpeg: bytes) -> NDArray[Any] | None:
    """The picture in a JPEG; None for a kind of JPEG that this decoder does not know.

    Raises Truncated when the JPEG ends before its picture does, end-of-image marker or not. Decoders paint what is
    missing grey and say nothing. But one that has all it needs never reads what is put in front of the marker.
    """
    end = jpeg.rfind(_END_OF_IMAGE)
    whole = memoryview(jpeg)
    try:
        as_sent = imagecodecs.jpeg8_decode(jpeg)
        with_more = imagecodecs.jpeg8_decode(b"".join([whole[:end], _MORE_SCAN, whole[end:]]))
    except imagecodecs.Jpeg8Error:
        return None
    if not np.array_equal(as_sent, with_more):
        raise Truncated("the JPEG data end before the picture does; send it again")
    return as_sent


def is_lossy(dataset: Dataset) -> bool:
    """True for a transfer syntax that can only be lossy, or JPEG 2000 with the irreversible wavelet."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in _EITHER_WAVELET:
        return syntax in LOSSY
    return not jpeg2000.coding_style(_frame(dataset)).reversible


def _frame(dataset: Dataset) -> bytes:
    return get_frame(dataset.PixelData, 0, number_of_frames=1)
