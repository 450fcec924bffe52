"""Phantoms as files, as a modality or an archive would send them: DICOM (Computed Radiography) and PNG.

The same phantom and options give the same bytes: UIDs come from the phantom, the date is fixed, no patient exists.
"""

from pathlib import Path

import cv2
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from edge.phantom import MAX_GREY, Phantom

DATE, TIME = "20200101", "120000"
BITS_STORED = 12
PHOTOMETRIC_INTERPRETATIONS = ("MONOCHROME1", "MONOCHROME2")


def write_png(phantom: Phantom, path: Path, *, bits: int = 16) -> None:
    """A grey PNG over the full range of its bits: 0..65535 (the top 4 of the 12 bits repeated below) or 0..255.

    Raises ValueError for any other number of bits.
    """
    if bits not in (8, 16):
        raise ValueError(f"a phantom cannot be written as a PNG of {bits} bits. Use one of: 8, 16")
    stretched = (phantom.pixels << 4) | (phantom.pixels >> 8)  # 0 -> 0, 4095 -> 65535
    written, encoded = cv2.imencode(".png", stretched if bits == 16 else (stretched >> 8).astype(np.uint8))
    if not written:
        raise OSError(f"OpenCV could not encode a PNG of {phantom.pixels.shape}")
    path.write_bytes(encoded.tobytes())


def write_dicom(
    phantom: Phantom,
    path: Path,
    *,
    photometric_interpretation: str = "MONOCHROME2",
    transfer_syntax: str = ExplicitVRLittleEndian,
    view_position: str = "AP",
    patient_age: str = "054Y",
    sop_instance_uid: str | None = None,
) -> None:
    """A Computed Radiography image, 12 bits stored; MONOCHROME1 stores 4095 - value and displays the same.

    transfer_syntax: UID of an uncompressed or deflated syntax, or of any that pydicom can encode with what is installed
    (RLE, JPEG-LS lossless, JPEG 2000 lossless). sop_instance_uid: taken from seed, label and variant unless given.
    Raises ValueError for another photometric_interpretation, and RuntimeError if pydicom cannot encode the syntax.
    """
    if photometric_interpretation not in PHOTOMETRIC_INTERPRETATIONS:
        allowed = ", ".join(PHOTOMETRIC_INTERPRETATIONS)
        raise ValueError(f"a phantom cannot be {photometric_interpretation!r}. Use one of: {allowed}")
    dataset = _header(phantom, sop_instance_uid or _uid(phantom, "instance"))
    dataset.ViewPosition = view_position
    dataset.PatientAge = patient_age
    dataset.PhotometricInterpretation = photometric_interpretation
    stored = MAX_GREY - phantom.pixels if photometric_interpretation == "MONOCHROME1" else phantom.pixels
    _add_pixels(dataset, stored.astype(np.uint16))
    _save(dataset, path, transfer_syntax)


def _uid(phantom: Phantom, level: str) -> str:
    return str(generate_uid(entropy_srcs=[str(phantom.seed), phantom.label, phantom.variant, level]))


def _header(phantom: Phantom, sop_instance_uid: str) -> Dataset:
    """Patient, study, series and equipment of a phantom (PS3.3 A.2, the Computed Radiography IOD)."""
    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    file_meta.MediaStorageSOPInstanceUID = sop_instance_uid
    dataset = Dataset()
    dataset.file_meta = file_meta
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.StudyInstanceUID = _uid(phantom, "study")
    dataset.SeriesInstanceUID = _uid(phantom, "series")
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = TIME
    dataset.Modality = "CR"
    dataset.Manufacturer = "edge-cxr phantom"
    dataset.PatientName = f"PHANTOM^{phantom.seed}"
    dataset.PatientID = f"PHANTOM-{phantom.seed}"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.ReferringPhysicianName = ""
    dataset.AccessionNumber = dataset.StudyID = dataset.Laterality = ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientOrientation = ["P", "F"] if phantom.variant == "lateral" else ["L", "F"]
    dataset.BurnedInAnnotation = "YES"  # markers only, but a reader cannot know that
    return dataset


def _add_pixels(dataset: Dataset, stored: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> None:
    """Image Pixel and VOI LUT modules. stored: uint16 [rows, columns], 0..4095."""
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, BITS_STORED, BITS_STORED - 1
    dataset.PixelRepresentation = 0
    dataset.ImagerPixelSpacing = [round(400 / max(stored.shape), 6)] * 2  # the longest side is 40 cm of detector
    # The LINEAR window that maps 0..4095 exactly onto the display (PS3.3 C.11.2.1.2.1); inverting leaves it as it is.
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.add_new("PixelData", "OW", stored.astype("<u2").tobytes())


def _save(dataset: Dataset, path: Path, transfer_syntax: str) -> None:
    """Encode the pixels for the transfer syntax and write the file, with preamble and file meta information."""
    plain = {ImplicitVRLittleEndian: (True, True), ExplicitVRBigEndian: (False, False)}
    syntax = UID(transfer_syntax)
    implicit_vr, little_endian = plain.get(syntax, (False, True))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax.is_encapsulated else syntax
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    if not little_endian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.save_as(path, implicit_vr=implicit_vr, little_endian=little_endian, enforce_file_format=True)
