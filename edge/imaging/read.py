"""Bytes -> Radiograph: tells the format by content, never by name, and lets no decoder begin before its size is known.

DICOM is in dicom.py, the chunks of PNG in png.py, TIFF in tiff.py, what a file may cost in limits.py.
"""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import Bomb, RadiographError, Truncated, Unreadable
from edge.imaging import dicom, png
from edge.imaging.codestream import jpeg_size
from edge.imaging.formats import HEAD_BYTES, sniff_format
from edge.imaging.grey import integer_levels, plain_radiograph, single_channel
from edge.imaging.limits import check_size
from edge.imaging.pixel_data import decode_whole_jpeg
from edge.imaging.tiff import read_tiff
from edge.values import Radiograph

_LOGGERS = ("pydicom", "openjpeg", "tifffile")


def read(content: bytes, *, sha256: str | None = None, site_key: bytes = b"") -> Radiograph:
    """Read one file's bytes. `sha256`: theirs, if known. `site_key` keys the hashes of DICOM identifiers.

    Raises a RadiographError with the reason when the file cannot be read or is not a radiograph by its header.
    """
    sha256 = sha256 or hashlib.sha256(content).hexdigest()
    try:
        with quiet():
            return _read(content, sha256, site_key)
    except RadiographError:
        raise
    except Exception as fault:
        if isinstance(fault, MemoryError) or (isinstance(fault, cv2.error) and fault.code == cv2.Error.StsNoMem):
            raise Bomb("decoding needs more memory than a decoder may use; find out who sent it") from None
        # Decoders raise dozens of types on damaged files. Their texts may quote header values: only the type is kept.
        raise Unreadable(f"the file is damaged: {type(fault).__name__} while decoding; send it again") from None


def _read(content: bytes, sha256: str, site_key: bytes) -> Radiograph:
    match sniff_format(content[:HEAD_BYTES]):
        case "dicom":
            return dicom.read_dicom(content, sha256=sha256, site_key=site_key)
        case "png":
            return _read_png(content, sha256)
        case "jpeg":
            return _read_jpeg(content, sha256)
        case "tiff":
            return _read_tiff(content, sha256)
    raise Unreadable("the file is neither DICOM, PNG, JPEG nor TIFF; send the radiograph in one of these")


@contextmanager
def quiet() -> Iterator[None]:
    """The warnings and log lines of these may quote header values, which must reach no log."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _read_png(content: bytes, sha256: str) -> Radiograph:
    check_size(png.picture_size(content))
    stored = _decode_with_opencv(png.essential(content), "png")
    return plain_radiograph(integer_levels(single_channel(stored)), sha256=sha256, format="png", lossy=False)


def _read_jpeg(content: bytes, sha256: str) -> Radiograph:
    # The last start of scan must be followed by an end of image (a thumbnail carries a pair of its own, earlier).
    if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise Truncated("the JPEG ends before its end-of-image marker; send it again")
    check_size(jpeg_size(content))
    stored = decode_whole_jpeg(content)
    if stored is None or stored.dtype != np.uint8 or stored.shape[2:] not in ((), (3,)):  # of 12 bits, or inks
        stored = _decode_with_opencv(content, "jpeg")
    return plain_radiograph(integer_levels(single_channel(stored)), sha256=sha256, format="jpeg", lossy=True)


def _decode_with_opencv(content: bytes, format: str) -> NDArray[Any]:
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)  # nor turned by EXIF
    if stored is None:
        raise Unreadable(f"the {format.upper()} cannot be decoded; send it again")
    return stored


def _read_tiff(content: bytes, sha256: str) -> Radiograph:
    picture = read_tiff(content)
    levels = integer_levels(single_channel(picture.stored), inverted=picture.inverted)
    return plain_radiograph(levels, sha256=sha256, format="tiff", lossy=picture.lossy)
