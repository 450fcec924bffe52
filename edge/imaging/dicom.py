"""DICOM bytes -> Radiograph: parsing, padding, modality and VOI LUT, photometric interpretation.

What the header alone rules out is in header.py, decoding pixel data in pixel_data.py. No header value leaves this
module but the fields of Source.
"""

import hashlib
import hmac
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from edge.errors import TooLarge, Truncated, Unreadable
from edge.imaging import header
from edge.imaging.grey import pixels_digest, stored_range, to_levels
from edge.imaging.pixel_data import decode
from edge.values import Radiograph, Source

_DISPLAY_KEYWORDS = (
    "ModalityLUTSequence",
    "RescaleSlope",
    "RescaleIntercept",
    "VOILUTSequence",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
)


def read_dicom(content: bytes, *, sha256: str, site_key: bytes, max_pixels: int) -> Radiograph:
    """Read a radiograph. Raises a RadiographError; any other exception means a damaged file."""
    with _quiet():
        dataset = _parse(content)
        header.check_header(dataset)
        if dataset.Rows * dataset.Columns > max_pixels:
            raise TooLarge(f"the header says {dataset.Rows} x {dataset.Columns}; at most {max_pixels} pixels are read")
        _drop_unusable(dataset)
        stored = decode(dataset)
        valid = padding_mask(stored, dataset)
        pixels = displayed_levels(stored, valid, dataset)
        row_spacing, column_spacing = header.pixel_aspect(dataset)
        source = Source(
            sha256=sha256,
            format="dicom",
            rows=int(dataset.Rows),
            columns=int(dataset.Columns),
            pixels_sha256=pixels_digest(pixels),
            view_position=header.view_position(dataset),
            lossy=header.is_lossy(dataset),
            minor=header.is_minor(dataset),
            instance_key=_keyed(site_key, "instance", header.text(dataset, "SOPInstanceUID")),
            patient_key=_keyed(site_key, "patient", header.text(dataset, "PatientID")),
        )
        return Radiograph(source, pixels, valid, row_spacing, column_spacing)


@contextmanager
def _quiet() -> Iterator[None]:
    """pydicom's warnings and log lines quote header values, which must reach no log."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _parse(content: bytes) -> Dataset:
    config.settings.reading_validation_mode = config.IGNORE
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset = dcmread(io.BytesIO(content), force=True)
    # pydicom returns what it has, or nothing, with only a warning when a file ends inside an element.
    if any("end of file" in str(warning.message).lower() for warning in caught):
        raise Truncated("the DICOM file ends inside an element; send it again")
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        raise Unreadable("the DICOM header holds neither SOP class nor image; send it again")
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = _encoding_seen(dataset)
    return dataset


def _encoding_seen(dataset: Dataset) -> str:
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def _keyed(site_key: bytes, kind: str, identifier: str) -> str | None:
    if not identifier:
        return None
    return hmac.new(site_key, f"{kind}:{identifier}".encode(), hashlib.sha256).hexdigest()


def padding_mask(stored: NDArray[np.integer], dataset: Dataset) -> NDArray[np.bool_] | None:
    """False where PixelPaddingValue (and PixelPaddingRangeLimit) marks pixels outside the image (PS3.3 C.7.5.1.1.2)."""
    padding = dataset.get("PixelPaddingValue")
    if padding is None:
        return None
    first = _as_stored(int(padding), dataset)
    limit = dataset.get("PixelPaddingRangeLimit")
    last = first if limit is None else _as_stored(int(limit), dataset)
    valid = (stored < min(first, last)) | (stored > max(first, last))
    return None if valid.all() else valid


def _as_stored(value: int, dataset: Dataset) -> int:
    """Some writers give the padding of signed pixels as an unsigned number."""
    signed = dataset.get("PixelRepresentation") == 1
    return value - (1 << dataset.BitsAllocated) if signed and value >= 1 << (dataset.BitsAllocated - 1) else value


def displayed_levels(
    stored: NDArray[np.integer], valid: NDArray[np.bool_] | None, dataset: Dataset
) -> NDArray[np.uint16]:
    """Modality LUT or rescale, VOI LUT or window, then MONOCHROME1 to MONOCHROME2 (PS3.4 N.2, PS3.3 C.11.1, C.11.2)."""
    lowest, greatest = stored_range(stored, valid)
    ramp = np.arange(lowest, greatest + 1, dtype=stored.dtype)
    values = apply_voi_lut(apply_modality_lut(ramp, dataset), dataset).astype(np.float64)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return to_levels(stored, values, lowest=lowest, inverted=inverted, valid=valid)


def _drop_unusable(dataset: Dataset) -> None:
    """Take out display elements that were left empty, and a window of no width: both mean that there is none.

    An empty type 3 element is legal and says nothing (PS3.5 7.4.5); a width below 1 is not legal (PS3.3 C.11.2.1.2).
    """
    for keyword in _DISPLAY_KEYWORDS:
        if keyword in dataset and dataset[keyword].is_empty:
            del dataset[keyword]
    if "RescaleIntercept" in dataset and "RescaleSlope" not in dataset:
        dataset.RescaleSlope = 1
    widths = dataset.get("WindowWidth", 1)
    first = widths[0] if isinstance(widths, MultiValue) else widths
    if first <= 0 or (first < 1 and dataset.get("VOILUTFunction", "LINEAR") == "LINEAR"):
        del dataset.WindowWidth
