"""Radiographs as files, made in memory: DICOM of any stored pixels, header and transfer syntax; PNG, JPEG, TIFF."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import partial

import cv2
import imagecodecs
import numpy as np
import tifffile
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder

from edge.imaging.read import read
from edge.phantom import render
from edge.values import Radiograph

PATIENT = "CANARY^PATIENT"
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)


def phantom_pixels(seed: int = 9, *, longest_side: int = 96) -> np.ndarray:
    """A chest, uint16 [rows, columns], 0..4095, with as many rows as columns in no syntax's blocks."""
    return render(seed, "covid", longest_side=longest_side).pixels


def chest(stored: np.ndarray, *, bits_stored: int | None = None, **elements: object) -> Dataset:
    """A frontal chest, Computed Radiography, around stored pixels. `elements` set header fields, None removes one."""
    bits_allocated = stored.dtype.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = uid.ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "2.25.42"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.PatientName, dataset.PatientID, dataset.PatientAge = PATIENT, "CANARY-ID", "054Y"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored = bits_allocated, bits_stored or bits_allocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    # Every native value is padded to an even length (PS3.5 section 8.1.1).
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OW" if bits_allocated > 8 else "OB"
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def dicom_file(dataset: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """The bytes of a native file (PS3.10). dataset: as chest() makes it, little endian."""
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    implicit_vr, little_endian = syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    opened = io.BytesIO()
    with warnings.catch_warnings():  # a header may be wrong on purpose
        warnings.simplefilter("ignore")
        dataset.save_as(opened, implicit_vr=implicit_vr, little_endian=little_endian, enforce_file_format=True)
    return opened.getvalue()


def encapsulated_file(dataset: Dataset, syntax: str, frame: bytes) -> bytes:
    """The bytes of a file that carries a compressed frame."""
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    return dicom_file(dataset, syntax)


def _stored(dataset: Dataset) -> np.ndarray:
    count = dataset.Rows * dataset.Columns
    stored = np.frombuffer(dataset.PixelData, f"<u{dataset.BitsAllocated // 8}", count)
    return stored.reshape(dataset.Rows, dataset.Columns)


def _by_pydicom(dataset: Dataset, syntax: uid.UID, plugin: str) -> bytes:
    return get_encoder(syntax).encode(
        _stored(dataset),
        encoding_plugin=plugin,  # left to choose, pydicom may take gdcm, which aborts the process on some sizes
        rows=dataset.Rows,
        columns=dataset.Columns,
        bits_allocated=dataset.BitsAllocated,
        bits_stored=dataset.BitsStored,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=0,
        number_of_frames=1,
    )


def _by_imagecodecs(encode: Callable[..., bytes], dataset: Dataset, **options: object) -> bytes:
    return bytes(encode(_stored(dataset), **options))


def _jpeg(dataset: Dataset, **options: object) -> bytes:
    return _by_imagecodecs(imagecodecs.jpeg8_encode, dataset, bitspersample=dataset.BitsStored, **options)


def _jpeg_2000_lossy(dataset: Dataset) -> bytes:
    options = {"level": 50, "codecformat": "j2k", "reversible": False, "bitspersample": dataset.BitsStored}
    return _by_imagecodecs(imagecodecs.jpeg2k_encode, dataset, **options)


# Transfer syntax -> compressed frame of an unsigned single-sample dataset.
LOSSLESS: dict[uid.UID, Callable[[Dataset], bytes]] = {
    uid.RLELossless: partial(_by_pydicom, syntax=uid.RLELossless, plugin="pydicom"),
    uid.JPEGLSLossless: partial(_by_pydicom, syntax=uid.JPEGLSLossless, plugin="pyjpegls"),
    uid.JPEG2000Lossless: partial(_by_pydicom, syntax=uid.JPEG2000Lossless, plugin="pylibjpeg"),
    uid.JPEGLosslessSV1: partial(_jpeg, lossless=True, predictor=1),
    uid.JPEGLossless: partial(_jpeg, lossless=True, predictor=6),
    uid.HTJ2KLossless: partial(_by_imagecodecs, imagecodecs.htj2k_encode),
}
LOSSY: dict[uid.UID, Callable[[Dataset], bytes]] = {
    uid.JPEGBaseline8Bit: partial(_jpeg, level=92),  # of 8 bits
    uid.JPEGExtended12Bit: partial(_jpeg, level=92),  # of 12 bits
    uid.JPEGLSNearLossless: partial(_by_imagecodecs, imagecodecs.jpegls_encode, level=3),
    uid.JPEG2000: _jpeg_2000_lossy,
}
SYNTAXES = (*NATIVE, *LOSSLESS)


def chest_file(stored: np.ndarray, syntax: uid.UID, *, bits_stored: int = 12, **elements: object) -> bytes:
    """A chest in any transfer syntax that this module knows."""
    dataset = chest(stored, bits_stored=bits_stored, **elements)
    encode = (LOSSLESS | LOSSY).get(syntax)
    return dicom_file(dataset, syntax) if encode is None else encapsulated_file(dataset, syntax, encode(dataset))


def code(meaning: str) -> Dataset:
    item = Dataset()
    item.CodeMeaning = meaning
    return item


def radiograph_of(stored: np.ndarray, *, bits_stored: int = 12, **elements: object) -> Radiograph:
    return read(dicom_file(chest(stored, bits_stored=bits_stored, **elements)))


def picture(pixels: np.ndarray, suffix: str, *options: int) -> bytes:
    """A PNG, JPEG or TIFF as OpenCV writes it."""
    written, encoded = cv2.imencode(suffix, pixels, list(options))
    assert written
    return encoded.tobytes()


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    """A TIFF of any layout."""
    opened = io.BytesIO()
    tifffile.imwrite(opened, pixels, **{"photometric": "minisblack", **options})
    return opened.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
