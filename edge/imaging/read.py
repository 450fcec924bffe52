"""Bytes -> Radiograph: tells the format by content, never by name; reads PNG, JPEG, TIFF. DICOM is in dicom.py."""

import hashlib
import io
import struct

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from edge.errors import NotARadiograph, RadiographError, TooLarge, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging import dicom
from edge.imaging.formats import HEAD_BYTES, sniff_format
from edge.imaging.grey import integer_levels, plain_radiograph
from edge.imaging.pixel_data import check_whole_jpeg
from edge.values import Radiograph

MAX_PIXELS = 100_000_000  # a 43 x 43 cm detector at 0.1 mm has 18 million
_LOSSLESS_TIFF = {
    tifffile.COMPRESSION.NONE,
    tifffile.COMPRESSION.CCITTRLE,
    tifffile.COMPRESSION.CCITTFAX3,
    tifffile.COMPRESSION.CCITTFAX4,
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.PACKBITS,
    tifffile.COMPRESSION.LZMA,
    tifffile.COMPRESSION.ZSTD,
    tifffile.COMPRESSION.ZSTD_DEPRECATED,
    tifffile.COMPRESSION.PNG,
}  # any other is lossy, or may be
_TIFF_GREY = {tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE}
# A grey picture saved as colour differs between channels by rounding only; burnt-in coloured marks cover little.
_COLOUR_STEP, _COLOUR_SHARE = 24, 0.05


def read(content: bytes, *, site_key: bytes = b"") -> Radiograph:
    """Read one file's bytes. `site_key` keys the hashes of DICOM identifiers.

    Raises a RadiographError with the reason when the file cannot be read or is not a radiograph by its header.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        match sniff_format(content[:HEAD_BYTES]):
            case "dicom":
                return dicom.read_dicom(content, sha256=sha256, site_key=site_key, max_pixels=MAX_PIXELS)
            case "png":
                return _read_png(content, sha256)
            case "jpeg":
                return _read_jpeg(content, sha256)
            case "tiff":
                return _read_tiff(content, sha256)
        raise Unreadable("the file is neither DICOM, PNG, JPEG nor TIFF; send the radiograph in one of these")
    except RadiographError:
        raise
    except MemoryError:
        raise TooLarge("decoding needs more memory than a decoder may use; check the file") from None
    except Exception as fault:
        # Decoders raise dozens of types on damaged files. Their texts may quote header values: only the type is kept.
        raise Unreadable(f"the file is damaged: {type(fault).__name__} while decoding; send it again") from None


def _read_png(content: bytes, sha256: str) -> Radiograph:
    if b"IEND" not in content[-4096:]:
        raise Truncated("the PNG ends before its IEND chunk; send it again")
    columns, rows = struct.unpack(">II", content[16:24])
    _check_size(rows, columns)
    return _read_with_opencv(content, sha256, "png", lossy=False)


def _read_jpeg(content: bytes, sha256: str) -> Radiograph:
    # The last start of scan must be followed by an end of image (a thumbnail carries a pair of its own, earlier).
    if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        raise Truncated("the JPEG ends before its end-of-image marker; send it again")
    _check_size(*_jpeg_size(content))
    check_whole_jpeg(content)
    return _read_with_opencv(content, sha256, "jpeg", lossy=True)


def _jpeg_size(content: bytes) -> tuple[int, int]:
    """Rows and columns of the frame header (ITU-T T.81, B.2.2), before a decoder makes room for them."""
    at = 2
    while content[at] == 0xFF:
        marker, length = struct.unpack(">BH", content[at + 1 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF, not DHT, JPG or DAC
            rows, columns = struct.unpack(">HH", content[at + 5 : at + 9])
            return rows, columns
        at += 1 if marker == 0xFF else 2 + length  # any number of fill bytes may come before a marker
    raise Unreadable("the JPEG has no frame header where one must be; send it again")


def _read_with_opencv(content: bytes, sha256: str, format: str, *, lossy: bool) -> Radiograph:
    stored = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)  # nor turned by EXIF
    if stored is None:
        raise Unreadable(f"the {format.upper()} cannot be decoded; send it again")
    _check_size(*stored.shape[:2])
    levels = integer_levels(single_channel(stored))
    return plain_radiograph(levels, sha256=sha256, format=format, lossy=lossy)


def _read_tiff(content: bytes, sha256: str) -> Radiograph:
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        if not tiff.pages:  # many writers put the directory last
            raise Truncated("the TIFF ends before its directory; send it again")
        if len(tiff.pages) != 1:
            raise NotARadiograph(f"the TIFF holds {len(tiff.pages)} pages; send one radiograph a file")
        page = tiff.pages.first
        _check_size(page.imagelength, page.imagewidth)
        if any(at + length > len(content) for at, length in zip(page.dataoffsets, page.databytecounts, strict=True)):
            raise Truncated("the TIFF ends before its last strip; send it again")
        if page.photometric not in _TIFF_GREY | {tifffile.PHOTOMETRIC.RGB}:
            raise NotARadiograph(f"the TIFF is {page.photometric.name}; send a grey radiograph")
        if page.samplesperpixel > 1 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            raise UnsupportedSyntax("the TIFF keeps its colours in planes; send one grey channel")
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        lossy = page.compression not in _LOSSLESS_TIFF
        stored = page.asarray()
    if stored.ndim not in (2, 3):
        raise UnsupportedSyntax(f"the TIFF has {stored.ndim} dimensions; send a plain grey picture")
    levels = integer_levels(single_channel(stored), inverted=inverted)
    return plain_radiograph(levels, sha256=sha256, format="tiff", lossy=lossy)


def single_channel(stored: NDArray[np.integer]) -> NDArray[np.integer]:
    """The grey channel of a picture saved with one, three or four channels.

    Raises NotARadiograph when the channels differ by more than rounding: the picture is in colour.
    """
    if stored.ndim == 2:
        return stored
    channels = stored[..., :3] if stored.shape[-1] >= 3 else stored[..., :1]
    if channels.shape[-1] == 1:
        return channels[..., 0]
    spread = channels.max(axis=-1) - channels.min(axis=-1)
    step = _COLOUR_STEP * (257 if stored.dtype == np.uint16 else 1)
    if float((spread > step).mean()) > _COLOUR_SHARE:
        raise NotARadiograph("the picture is in colour; send the grey radiograph")
    return channels[..., 1]


def _check_size(rows: int, columns: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise TooLarge(f"the picture has {rows} x {columns} pixels; at most {MAX_PIXELS} are read")
