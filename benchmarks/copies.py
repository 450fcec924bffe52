"""Copies of a radiograph that the box takes for new ones: other bytes, another SOPInstanceUID, the same pixels.

The same bytes, or the same instance, would get no result of their own.
"""

import io
import zlib

from pydicom import dcmread
from pydicom.uid import generate_uid

from edge.errors import UsageError
from edge.imaging.formats import HEAD_BYTES, sniff_format


def distinct(content: bytes, number: int) -> bytes:
    """The `number`-th copy of a file; the same each time. Its pixel data are not decoded or encoded anew.

    Raises UsageError when it is no radiograph's file.
    """
    name = sniff_format(content[:HEAD_BYTES])
    mark = f"copy {number}".encode("ascii")
    if name == "dicom":
        return _other_instance(content, number)
    if name == "png":
        return _with_png_text(content, mark)
    if name == "jpeg":  # a comment segment after SOI (ITU-T T.81 B.2.4.5)
        return content[:2] + b"\xff\xfe" + (len(mark) + 2).to_bytes(2, "big") + mark + content[2:]
    if name == "tiff":  # what follows its directories belongs to none
        return content + mark
    raise UsageError("a file is neither DICOM, PNG, JPEG nor TIFF; name radiographs")


def _other_instance(content: bytes, number: int) -> bytes:
    dataset = dcmread(io.BytesIO(content), force=True)
    uid = generate_uid(entropy_srcs=[str(dataset.get("SOPInstanceUID", "")), str(zlib.crc32(content)), str(number)])
    dataset.SOPInstanceUID = uid
    if "MediaStorageSOPInstanceUID" in dataset.file_meta:
        dataset.file_meta.MediaStorageSOPInstanceUID = uid
    sink = io.BytesIO()
    dataset.save_as(sink)
    return sink.getvalue()


def _with_png_text(content: bytes, mark: bytes) -> bytes:
    """A tEXt chunk before the last one, IEND (PNG specification, 11.3.3.2)."""
    end = content.rfind(b"IEND") - 4
    body = b"tEXtComment\0" + mark
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return content[:end] + chunk + content[end:]
