"""DICOM pixel data -> stored values: which decoder serves which transfer syntax (PS3.5 section 8.2, Annex A).

One decoder each, chosen here and not by what happens to be installed, so that every box decodes alike.
"""

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

from edge.errors import Truncated, UnsupportedSyntax

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
PLUGINS: dict[UID, str] = {
    RLELossless: "pydicom",
    JPEGBaseline8Bit: "gdcm",
    JPEGExtended12Bit: "imagecodecs",  # gdcm has no 12 bit; pylibjpeg-libjpeg is GPL and not shipped
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
}
LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})
_EITHER_WAVELET = frozenset({JPEG2000, HTJ2K})
_END_OF_IMAGE = b"\xff\xd9"  # JPEG, JPEG-LS (EOI) and JPEG 2000 (EOC) all end with it
_CODING_STYLE, _WAVELET_OFFSET, _IRREVERSIBLE = b"\xff\x52", 13, 0  # COD (ITU-T T.800, A.6.1)
_MORE_SCAN = bytes(range(64))  # zero first: entropy-coded even after 0xFF (ITU-T T.81, B.1.1.5)


def decode(dataset: Dataset) -> NDArray[np.integer]:
    """Stored values [rows, columns] of a single-frame, single-sample image, in native byte order.

    Raises UnsupportedSyntax when no decoder is known for the transfer syntax and Truncated when pixel data are short.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in NATIVE:
        _check_native_length(dataset)
        stored = pixel_array(dataset, raw=True)
    elif syntax not in PLUGINS:
        raise UnsupportedSyntax(
            f"transfer syntax {_shown(syntax)} has no decoder; send it as Explicit VR Little Endian"
        )
    else:
        if syntax != RLELossless:
            _check_frame_end(dataset)
        if PLUGINS[syntax] == "imagecodecs":
            stored = _decode_extended_jpeg(dataset)
        else:
            stored = pixel_array(dataset, raw=True, decoding_plugin=PLUGINS[syntax])
        if syntax in _JPEG:
            check_whole_jpeg(_frame(dataset))
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _shown(uid: str) -> str:
    """A registered transfer syntax for a message; anything else may be a name or a number that names."""
    return uid if UID(uid).is_transfer_syntax else "that is not registered"


def _check_native_length(dataset: Dataset) -> None:
    expected = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) < expected:
        raise Truncated(f"pixel data hold {len(dataset.PixelData)} of {expected} bytes; send it again")


def _check_frame_end(dataset: Dataset) -> None:
    frame = _frame(dataset)
    if _END_OF_IMAGE not in frame[-16:]:  # an encoder may pad the fragment
        raise Truncated("the compressed pixel data end before their end-of-image marker; send it again")


def _decode_extended_jpeg(dataset: Dataset) -> NDArray[np.integer]:
    stored = imagecodecs.jpeg_decode(_frame(dataset))
    if stored.shape != (dataset.Rows, dataset.Columns):
        raise Truncated(f"the JPEG holds {stored.shape}, the header {dataset.Rows} x {dataset.Columns}; send it again")
    if dataset.get("PixelRepresentation") != 1:
        return np.asarray(stored)
    unused = 16 - dataset.BitsStored  # a JPEG knows no sign
    return (stored.astype(np.uint16) << unused).view(np.int16) >> unused


def check_whole_jpeg(jpeg: bytes) -> None:
    """Raises Truncated when a JPEG ends before its picture does, end-of-image marker or not.

    Decoders paint what is missing grey and say nothing. But one that has all it needs never reads what is put in front
    of the marker.
    """
    end = jpeg.rfind(_END_OF_IMAGE)
    try:
        as_sent = imagecodecs.jpeg8_decode(jpeg)
        with_more = imagecodecs.jpeg8_decode(jpeg[:end] + _MORE_SCAN + jpeg[end:])
    except imagecodecs.Jpeg8Error:
        return  # a kind of JPEG that the decoder of the pixels knows and this one does not
    if not np.array_equal(as_sent, with_more):
        raise Truncated("the JPEG data end before the picture does; send it again")


def is_lossy(dataset: Dataset) -> bool:
    """True for a transfer syntax that can only be lossy, or JPEG 2000 with the irreversible wavelet."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in _EITHER_WAVELET:
        return syntax in LOSSY
    frame = _frame(dataset)
    return frame[frame.index(_CODING_STYLE) + _WAVELET_OFFSET] == _IRREVERSIBLE


def _frame(dataset: Dataset) -> bytes:
    return get_frame(dataset.PixelData, 0, number_of_frames=1)
