"""Copies of a radiograph are new to the box, show the same pixels, and can be read in every format."""

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from benchmarks.copies import distinct
from edge.errors import UsageError
from edge.imaging.read import read
from edge.phantom import Phantom, render
from edge.phantom_dicom import write_dicom, write_png


def compressed(phantom: Phantom, path: Path) -> None:
    write_dicom(phantom, path, transfer_syntax=JPEG2000Lossless)


def picture(phantom: Phantom, path: Path) -> None:
    path.write_bytes(cv2.imencode(f".{path.name}", (phantom.pixels >> 4).astype(np.uint8))[1].tobytes())


WRITERS: dict[str, Callable[[Phantom, Path], None]] = {
    "dcm": write_dicom, "j2k.dcm": compressed, "png": write_png, "jpg": picture, "tif": picture,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_copies_differ_in_bytes_and_not_in_pixels(tmp_path: Path, name: str) -> None:
    WRITERS[name](render(1, "covid", longest_side=96), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    copies = [distinct(content, number) for number in (0, 1, 1)]
    assert copies[1] == copies[2]
    assert len({hashlib.sha256(each).digest() for each in (content, *copies)}) == 3
    pixels = [read(each).pixels for each in (content, *copies)]
    assert all(np.array_equal(pixels[0], other) for other in pixels[1:])


def test_a_dicom_copy_is_another_instance(tmp_path: Path) -> None:
    write_dicom(render(1, "covid", longest_side=96), tmp_path / "0.dcm")
    uids = set()
    for number in range(2):
        (tmp_path / "copy.dcm").write_bytes(distinct((tmp_path / "0.dcm").read_bytes(), number))
        copy = dcmread(tmp_path / "copy.dcm")
        assert copy.file_meta.MediaStorageSOPInstanceUID == copy.SOPInstanceUID
        uids.add(copy.SOPInstanceUID)
    assert len(uids | {dcmread(tmp_path / "0.dcm").SOPInstanceUID}) == 3


def test_the_chunks_of_a_png_copy_are_sound(tmp_path: Path) -> None:
    write_png(render(1, "covid", longest_side=96), tmp_path / "0.png")
    copy, names = distinct((tmp_path / "0.png").read_bytes(), 1)[8:], []
    while copy:
        length = int.from_bytes(copy[:4], "big")
        names.append(copy[4:8])
        assert int.from_bytes(copy[8 + length : 12 + length], "big") == zlib.crc32(copy[4 : 8 + length])
        copy = copy[12 + length :]
    assert names[0] == b"IHDR" and names[-2:] == [b"tEXt", b"IEND"]


def test_what_is_no_radiograph_is_refused() -> None:
    with pytest.raises(UsageError, match="name radiographs"):
        distinct(b"not a radiograph", 1)
