"""Files that are two things at once: read as a radiograph only where nothing can hide in them."""

import io
import struct
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from pydicom import uid
from radiograph_files import chest, dicom_file, phantom_pixels

from edge.errors import Unreadable
from edge.imaging.file_meta import check_preamble
from edge.imaging.read import read

CHEST = phantom_pixels()
DICOM = dicom_file(chest(CHEST, bits_stored=12))
PNG = cv2.imencode(".png", CHEST)[1].tobytes()
PROGRAMS = {
    "Windows": b"MZ\x90\0\3\0\0\0",
    "Linux": b"\x7fELF\2\1\1\0",
    "script": b"#!/bin/sh\nexit 0\n",
    "Mach-O": b"\xcf\xfa\xed\xfe\x07\0\0\1",
    "fat Mach-O": b"\xca\xfe\xba\xbe\0\0\0\2",
    "PDF": b"%PDF-1.7\n",
    "zip": b"PK\3\4",
    "batch": b"@echo off\r\n",
    "HTML": b"<html><script>",
    "late": bytes(100) + b"MZ",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "no TIFF": b"II*x",
}


def with_preamble(begin: bytes, content: bytes = DICOM) -> bytes:
    return begin.ljust(128, b"\0") + content[128:]


@pytest.mark.parametrize("begin", PROGRAMS.values(), ids=PROGRAMS.keys())
def test_a_dicom_file_that_may_be_a_program_is_refused(begin: bytes) -> None:
    with pytest.raises(Unreadable, match="programs hide there; send it with an empty preamble"):
        read(with_preamble(begin))


@pytest.mark.parametrize("magic", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_a_dicom_file_that_is_a_tiff_too_is_read_as_dicom(magic: bytes) -> None:
    both = with_preamble(magic + b"\x08\0\0\0")
    assert replace(read(both).source, sha256="") == replace(read(DICOM).source, sha256="")


def test_both_faces_of_a_real_dicom_tiff_show_the_same_pixels() -> None:
    """The TIFF's directory comes after the data set and points at its pixels."""
    plain = dicom_file(chest(CHEST, bits_stored=12))
    pixels_at = plain.index(CHEST.tobytes())
    tags = [(256, CHEST.shape[1]), (257, CHEST.shape[0]), (258, 16), (259, 1), (262, 1), (273, pixels_at), (277, 1)]
    tags += [(278, CHEST.shape[0]), (279, CHEST.nbytes)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
    both = with_preamble(struct.pack("<4sL", b"II*\0", len(plain)), plain) + directory + bytes(4)
    with tifffile.TiffFile(io.BytesIO(both)) as opened:
        np.testing.assert_array_equal(opened.pages.first.asarray(), CHEST)
    assert read(both).source.format == "dicom"
    np.testing.assert_array_equal(read(both).pixels, read(DICOM).pixels)


def zipped() -> bytes:
    opened = io.BytesIO()
    with zipfile.ZipFile(opened, "w") as archive:
        archive.writestr("program", b"\x7fELF")
    return opened.getvalue()


@pytest.mark.parametrize("other", [zipped(), b"MZ" + bytes(4000), DICOM, PNG], ids=["zip", "program", "DICOM", "PNG"])
def test_a_png_that_another_file_follows_is_refused(other: bytes) -> None:
    with pytest.raises(Unreadable, match="another file follows the PNG"):
        read(PNG + other)


@pytest.mark.parametrize("padding", [b"\0", bytes(511), b"\r\n", b"\x1a"])
def test_padding_after_a_png_is_none(padding: bytes) -> None:
    np.testing.assert_array_equal(read(PNG + padding).pixels, read(PNG).pixels)


def test_a_file_without_prefix_has_no_preamble() -> None:
    check_preamble(DICOM[132:])
    assert read(DICOM[132:]).pixels.shape == CHEST.shape


def test_a_dicom_file_inside_a_png_is_never_read_as_dicom() -> None:
    """The prefix DICM at 128 counts before the magic of a picture: with a PNG's begin it is no preamble."""
    with pytest.raises(Unreadable, match="programs hide there"):
        read(PNG[:128] + DICOM[128:])


def test_a_zip_in_a_private_element_is_only_an_element() -> None:
    dataset = chest(CHEST, bits_stored=12)
    dataset.add_new(0x00111001, "OB", zipped())
    np.testing.assert_array_equal(read(dicom_file(dataset, uid.ImplicitVRLittleEndian)).pixels, read(DICOM).pixels)
