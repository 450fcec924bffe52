"""DICOM bytes -> Radiograph: parsing, padding, modality and VOI LUT, photometric interpretation.

What the header alone rules out is in header.py, decoding pixel data in pixel_data.py. No header value leaves this
module but the fields of Source.
"""

import hashlib
import hmac
from dataclasses import replace
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_rescale, apply_windowing
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from edge.errors import Truncated, Unreadable
from edge.imaging import header
from edge.imaging.body import Body
from edge.imaging.elements import check_elements
from edge.imaging.file_meta import check_preamble, locate
from edge.imaging.grey import pixels_digest, stored_range, to_levels
from edge.imaging.inflate import inflate
from edge.imaging.limits import PictureSize, check_size
from edge.imaging.pixel_data import NATIVE, decode
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
# All that header.py, pixel_data.py and this module ask for. Nothing else of a header is ever turned into a value.
_LOOKED_AT = """
    SpecificCharacterSet SOPClassUID SOPInstanceUID StudyDate SeriesDate AcquisitionDate ContentDate Modality
    AnatomicRegionSequence PatientID PatientBirthDate PatientAge BodyPartExamined ViewPosition ViewCodeSequence
    PresentationIntentType ImagerPixelSpacing SamplesPerPixel PhotometricInterpretation PlanarConfiguration
    NumberOfFrames Rows Columns PixelSpacing PixelAspectRatio BitsAllocated BitsStored HighBit PixelRepresentation
    PixelPaddingValue PixelPaddingRangeLimit WindowCenter WindowWidth RescaleIntercept RescaleSlope VOILUTFunction
    LossyImageCompression ModalityLUTSequence VOILUTSequence ExtendedOffsetTable ExtendedOffsetTableLengths PixelData
"""
_TAGS = [Tag(keyword) for keyword in _LOOKED_AT.split()]
_MOST_ENTRIES = 65536  # of a LUT, which 16 bits give as 0
_WINDOW_KEYWORDS = (
    "PhotometricInterpretation",
    "BitsStored",
    "PixelRepresentation",
    "VOILUTFunction",
    "WindowCenter",
    "WindowWidth",
)


def read_dicom(content: bytes, *, sha256: str, site_key: bytes) -> Radiograph:
    """Read a radiograph. Raises a RadiographError; any other exception means a damaged file."""
    dataset = _parse(content)
    header.check_header(dataset)
    check_size(PictureSize(dataset.Rows, dataset.Columns, 1, dataset.BitsAllocated))
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


def _parse(content: bytes) -> Dataset:
    """Only the elements that are looked at are kept: names and texts are never parsed."""
    check_preamble(content)
    found = locate(content)
    body: bytes | bytearray = content
    if found.transfer_syntax == DeflatedExplicitVRLittleEndian:
        body = inflate(memoryview(content)[found.start :])
        found = replace(found, start=0)
    check_elements(body, found.start, implicit_vr=found.implicit_vr, little_endian=found.little_endian)
    opened = Body(body, found.start, views=found.transfer_syntax is None or found.transfer_syntax in NATIVE)
    config.settings.reading_validation_mode = config.IGNORE
    dataset = read_dataset(
        cast(BinaryIO, opened),
        found.implicit_vr,
        found.little_endian,
        stop_when=opened.ends,
        specific_tags=_TAGS,
    )
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        raise Unreadable("the DICOM header holds neither SOP class nor image; send it again")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = found.transfer_syntax or _encoding_seen(dataset)
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
    little_endian = dataset.file_meta.TransferSyntaxUID != ExplicitVRBigEndian
    values: NDArray[np.number] = np.arange(lowest, greatest + 1)
    if "ModalityLUTSequence" in dataset:
        values = looked_up(values, dataset.ModalityLUTSequence[0], little_endian=little_endian)
    else:
        values = apply_rescale(values, dataset)
    if "VOILUTSequence" in dataset:
        values = looked_up(values, dataset.VOILUTSequence[0], little_endian=little_endian)
    elif "WindowCenter" in dataset and "WindowWidth" in dataset:
        values = _windowed(values, dataset)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return to_levels(stored, values.astype(np.float64), lowest=lowest, inverted=inverted, valid=valid)


def looked_up(values: NDArray[np.number], lut: Dataset, *, little_endian: bool) -> NDArray[np.number]:
    """The entry of each value; below and beyond the LUT its first and last (PS3.3 C.11.1.1.1, C.11.2.1.1).

    Raises Truncated when LUTData are shorter than LUTDescriptor says, Unreadable when that makes no sense.
    """
    entries, first, _ = (int(part) for part in lut.LUTDescriptor)
    entries = entries or _MOST_ENTRIES
    if not 0 < entries <= _MOST_ENTRIES:
        raise Unreadable("a LUT has no number of entries that makes sense; send it again")
    if first >= 32768 and values.max() < first:
        first -= 65536  # a negative value read as unsigned: taken at its word, it would make all one grey
    stored = lut.LUTData
    if isinstance(stored, bytes):
        words = np.frombuffer(stored, "<u2" if little_endian else ">u2").astype("<u2")
    else:
        words = np.atleast_1d(np.asarray(stored, np.int64)).astype("<u2")
    # Entries of 8 bits may have a word each: the length tells, not the descriptor.
    table = words if len(words) >= entries else words.view(np.uint8)
    if len(table) < entries:
        raise Truncated(f"a LUT holds {len(table)} of {entries} entries; send it again")
    return table[np.clip(np.floor(values).astype(np.int64) - first, 0, entries - 1)]


def _windowed(values: NDArray[np.number], dataset: Dataset) -> NDArray[np.number]:
    # pydicom spreads a window over the range that slope and intercept give: upside down where the slope is negative.
    window = Dataset()
    for keyword in _WINDOW_KEYWORDS:
        if keyword in dataset:
            window.add(dataset[keyword])
    return apply_windowing(values, window)


def _drop_unusable(dataset: Dataset) -> None:
    """Take out display elements that were left empty, and a window of no width: both mean that there is none.

    An empty type 3 element is legal and says nothing (PS3.5 7.4.5); a width below 1 is not legal (PS3.3 C.11.2.1.2).
    """
    for keyword in _DISPLAY_KEYWORDS:
        if keyword in dataset and dataset[keyword].is_empty:
            del dataset[keyword]
    if "VOILUTSequence" in dataset and dataset.VOILUTSequence[0].get("LUTData") is None:
        del dataset.VOILUTSequence
    if "RescaleIntercept" in dataset and "RescaleSlope" not in dataset:
        dataset.RescaleSlope = 1
    if "RescaleSlope" in dataset and "RescaleIntercept" not in dataset:
        dataset.RescaleIntercept = 0
    widths = dataset.get("WindowWidth", 1)
    first = widths[0] if isinstance(widths, MultiValue) else widths
    if first <= 0 or (first < 1 and dataset.get("VOILUTFunction", "LINEAR") == "LINEAR"):
        del dataset.WindowWidth
