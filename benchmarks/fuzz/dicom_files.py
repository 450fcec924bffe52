"""A small chest as a DICOM file in any transfer syntax that the box reads. Every identifying element holds a canary."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder

from benchmarks.fuzz.canary import NUMBER, WORD
from edge.imaging.pixel_data import PLUGINS
from edge.phantom import render

Stored = NDArray[np.integer]
SIDE = 48  # pixels of the longest side: JPEG 2000 of pylibjpeg wants more than 32
_TEXTS = (
    "PatientName", "PatientID", "OtherPatientIDs", "PatientAddress", "PatientMotherBirthName", "MedicalRecordLocator",
    "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "InstitutionName", "InstitutionAddress",
    "StationName", "AccessionNumber", "StudyID", "StudyDescription", "SeriesDescription", "ImageComments",
    "PatientComments", "AdditionalPatientHistory", "RequestingPhysician", "DeviceSerialNumber", "ProtocolName",
)  # fmt: skip
_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "DeviceUID")


def phantom() -> Stored:
    """uint16 [rows, columns], 0..4095."""
    return render(9, "covid", longest_side=SIDE).pixels


def chest(stored: Stored, **elements: object) -> Dataset:
    """A frontal chest with a canary in every identifying element; `elements` set header fields, None removes one."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = uid.ComputedRadiographyImageStorage
    for number, keyword in enumerate(_UIDS):
        setattr(dataset, keyword, f"2.25.{NUMBER}{number}")
    for keyword in _TEXTS:
        setattr(dataset, keyword, f"{WORD}^{keyword.upper()[:9]}")
    dataset.PatientBirthDate, dataset.StudyDate, dataset.PatientAge, dataset.PatientSex = (
        "19500101",
        "20200101",
        "054Y",
        "F",
    )
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = 12 if dataset.BitsAllocated == 16 else 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.ImagerPixelSpacing = [0.1, 0.1]
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def dicom_file(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian, *, fragments: int = 1) -> bytes:
    """The bytes of a file (PS3.10) in any transfer syntax of the box."""
    if syntax in PLUGINS:
        frame = _FRAMES[uid.UID(syntax)](dataset)
        dataset.PixelData = encapsulate([frame], fragments_per_frame=fragments)
        dataset["PixelData"].VR = "OB"
    if syntax == uid.ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return save(dataset, syntax, enforce_file_format=True)


def without_meta(dataset: Dataset) -> bytes:
    del dataset.file_meta
    return save(dataset, uid.ExplicitVRLittleEndian, enforce_file_format=False)


def save(dataset: Dataset, syntax: str, *, enforce_file_format: bool) -> bytes:
    """The bytes of a dataset whose pixels are in that syntax already."""
    opened = io.BytesIO()
    dataset.save_as(
        opened,
        implicit_vr=syntax == uid.ImplicitVRLittleEndian,
        little_endian=syntax != uid.ExplicitVRBigEndian,
        enforce_file_format=enforce_file_format,
    )
    return opened.getvalue()


def _pixels(dataset: Dataset) -> Stored:
    kind = "i" if dataset.PixelRepresentation else "u"
    count = dataset.Rows * dataset.Columns
    stored = np.frombuffer(dataset.PixelData, f"<{kind}{dataset.BitsAllocated // 8}", count)
    return stored.reshape(dataset.Rows, dataset.Columns)


def _by_pydicom(dataset: Dataset, *, syntax: uid.UID, plugin: str) -> bytes:
    return get_encoder(syntax).encode(
        _pixels(dataset),
        encoding_plugin=plugin,
        rows=dataset.Rows,
        columns=dataset.Columns,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=dataset.PixelRepresentation,
        number_of_frames=1,
    )


def _jpeg(dataset: Dataset, **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(_pixels(dataset), bitspersample=dataset.BitsStored, **options))


def _lossy_wavelet(dataset: Dataset) -> bytes:
    options = {"level": 50, "codecformat": "j2k", "reversible": False, "bitspersample": dataset.BitsStored}
    return bytes(imagecodecs.jpeg2k_encode(_pixels(dataset), **options))


def _htj2k(dataset: Dataset) -> bytes:
    return bytes(imagecodecs.htj2k_encode(_pixels(dataset)))


# Transfer syntax -> compressed frame.
_FRAMES: dict[uid.UID, Callable[[Dataset], bytes]] = {
    uid.RLELossless: partial(_by_pydicom, syntax=uid.RLELossless, plugin="pydicom"),
    uid.JPEGBaseline8Bit: partial(_jpeg, level=92),
    uid.JPEGExtended12Bit: partial(_jpeg, level=92),
    uid.JPEGLossless: partial(_jpeg, lossless=True, predictor=6),
    uid.JPEGLosslessSV1: partial(_jpeg, lossless=True, predictor=1),
    uid.JPEGLSLossless: partial(_by_pydicom, syntax=uid.JPEGLSLossless, plugin="pyjpegls"),
    uid.JPEGLSNearLossless: lambda dataset: bytes(imagecodecs.jpegls_encode(_pixels(dataset), level=3)),
    uid.JPEG2000Lossless: partial(_by_pydicom, syntax=uid.JPEG2000Lossless, plugin="pylibjpeg"),
    uid.JPEG2000: _lossy_wavelet,
    uid.HTJ2KLossless: _htj2k,
    uid.HTJ2KLosslessRPCL: _htj2k,
    uid.HTJ2K: _htj2k,
}
