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
LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})  # JPEG2000 and HTJ2K: by the header
_END_OF_IMAGE = b"\xff\xd9"  # JPEG, JPEG-LS (EOI) and JPEG 2000 (EOC) all end with it


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
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def _shown(uid: str) -> str:
    """A UID for a message; what is none may be anything, a name too."""
    return uid if uid.replace(".", "").isdigit() and len(uid) <= 64 else "that is no UID"


def _check_native_length(dataset: Dataset) -> None:
    expected = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) < expected:
        raise Truncated(f"pixel data hold {len(dataset.PixelData)} of {expected} bytes; send it again")


def _check_frame_end(dataset: Dataset) -> None:
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if _END_OF_IMAGE not in frame[-16:]:  # an encoder may pad the fragment
        raise Truncated("the compressed pixel data end before their end-of-image marker; send it again")


def _decode_extended_jpeg(dataset: Dataset) -> NDArray[np.integer]:
    stored = imagecodecs.jpeg_decode(get_frame(dataset.PixelData, 0, number_of_frames=1))
    if stored.shape != (dataset.Rows, dataset.Columns):
        raise Truncated(f"the JPEG holds {stored.shape}, the header {dataset.Rows} x {dataset.Columns}; send it again")
    return np.asarray(stored)
