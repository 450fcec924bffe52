"""One radiograph as DICOM in every transfer syntax, of the size and depth that a portable detector delivers."""

import io
from collections.abc import Callable
from functools import partial

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder

from edge.phantom import render

ROWS, COLUMNS = 3000, 2500
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
Stored = NDArray[np.uint8] | NDArray[np.uint16]


def stored_values(rows: int, columns: int, *, bits: int, seed: int = 0) -> Stored:
    """A phantom of that size, unsigned, its values over the whole range of the bits.

    More than a phantom's 12 bits are filled with noise: a detector's least bits are.
    """
    pixels = cv2.resize(render(seed, "covid", longest_side=max(rows, columns)).pixels, (columns, rows))
    if bits <= 12:
        return (pixels >> (12 - bits)).astype(np.uint8 if bits <= 8 else np.uint16)
    noise = np.random.default_rng(seed).integers(0, 1 << (bits - 12), pixels.shape, dtype=np.uint16)
    return (pixels.astype(np.uint16) << (bits - 12)) | noise


def dataset_of(stored: Stored, bits: int) -> Dataset:
    """A Computed Radiography image of a chest around stored values; no patient is named."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = uid.ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "2.25.42"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientAge = "CR", "CHEST", "AP", "054Y"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = stored.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.ImagerPixelSpacing = [0.14, 0.14]
    dataset.WindowCenter, dataset.WindowWidth = 1 << (bits - 1), 1 << bits
    return dataset


def dicom_bytes(stored: Stored, syntax: uid.UID, *, bits: int) -> bytes:
    """A whole file (PS3.10)."""
    dataset = dataset_of(stored, bits)
    dataset.file_meta.TransferSyntaxUID = syntax
    encoded = frame(stored, syntax, bits=bits) if syntax in ENCODERS else None
    word = stored.dtype.newbyteorder(">" if syntax == uid.ExplicitVRBigEndian else "<")
    native = stored.astype(word).tobytes()
    dataset.PixelData = encapsulate([encoded]) if encoded is not None else native + b"\0" * (len(native) % 2)
    dataset["PixelData"].VR = "OW" if encoded is None and stored.itemsize == 2 else "OB"
    opened = io.BytesIO()
    implicit_vr, little_endian = syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    dataset.save_as(opened, implicit_vr=implicit_vr, little_endian=little_endian, enforce_file_format=True)
    return opened.getvalue()


def frame(stored: Stored, syntax: uid.UID, *, bits: int) -> bytes:
    """The compressed frame, by one encoder for each syntax, so that every decoder reads the same bytes."""
    return bytes(ENCODERS[syntax](stored, bits))


def bits_of(syntax: uid.UID) -> int:
    """12, as most detectors deliver, but for the syntax that has room for 8 alone."""
    return 8 if syntax == uid.JPEGBaseline8Bit else 12


def _by_pydicom(stored: Stored, bits: int, *, syntax: uid.UID, plugin: str) -> bytes:
    return get_encoder(syntax).encode(
        stored,
        encoding_plugin=plugin,
        rows=stored.shape[0],
        columns=stored.shape[1],
        bits_allocated=stored.itemsize * 8,
        bits_stored=bits,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        pixel_representation=0,
        number_of_frames=1,
    )


def _jpeg(stored: Stored, bits: int, **options: object) -> bytes:
    return imagecodecs.jpeg8_encode(stored, bitspersample=bits, **options)


def _jpeg_ls(stored: Stored, bits: int, *, level: int) -> bytes:
    return imagecodecs.jpegls_encode(stored, level=level)


def _jpeg_2000_lossy(stored: Stored, bits: int) -> bytes:
    return imagecodecs.jpeg2k_encode(stored, level=50, codecformat="j2k", reversible=False, bitspersample=bits)


def _htj2k(stored: Stored, bits: int) -> bytes:
    return imagecodecs.htj2k_encode(stored)


ENCODERS: dict[uid.UID, Callable[[Stored, int], bytes]] = {
    uid.RLELossless: partial(_by_pydicom, syntax=uid.RLELossless, plugin="pydicom"),
    uid.JPEGBaseline8Bit: partial(_jpeg, level=92),
    uid.JPEGExtended12Bit: partial(_jpeg, level=92),
    uid.JPEGLossless: partial(_jpeg, lossless=True, predictor=6),
    uid.JPEGLosslessSV1: partial(_jpeg, lossless=True, predictor=1),
    uid.JPEGLSLossless: partial(_by_pydicom, syntax=uid.JPEGLSLossless, plugin="pyjpegls"),
    uid.JPEGLSNearLossless: partial(_jpeg_ls, level=3),
    uid.JPEG2000Lossless: partial(_by_pydicom, syntax=uid.JPEG2000Lossless, plugin="pylibjpeg"),
    uid.JPEG2000: _jpeg_2000_lossy,
    uid.HTJ2KLossless: _htj2k,
}
SYNTAXES = (*NATIVE, *ENCODERS)
