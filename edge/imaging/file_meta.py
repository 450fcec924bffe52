"""What comes before a DICOM data set: preamble, prefix, file meta group and command group (PS3.10 section 7.1).

Of these only the transfer syntax is kept. The data set itself is in elements.py and dicom.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from edge.errors import Truncated, Unreadable
from edge.imaging.elements import UNDEFINED, VRS, Header, element_header, looks_implicit

MAX_META_BYTES = 64 * 1024  # some ten short elements
_PREFIX, _PREFIX_AT = b"DICM", 128
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_TRANSFER_SYNTAX = 0x00020010


@dataclass(frozen=True)
class DataSet:
    """Where the data set begins and how it is written. transfer_syntax: as the file meta group names it, or None."""

    start: int
    transfer_syntax: str | None
    implicit_vr: bool
    little_endian: bool


def check_preamble(content: bytes) -> None:
    """Raises Unreadable unless the preamble is empty or a TIFF's: others make a program of the file (PS3.10 7.1)."""
    preamble = content[:_PREFIX_AT]
    if content[_PREFIX_AT : _PREFIX_AT + 4] != _PREFIX or not any(preamble) or preamble.startswith(_TIFF_MAGIC):
        return
    raise Unreadable(
        "the preamble of the DICOM file is neither empty nor a TIFF's: programs hide there; "
        "send it with an empty preamble"
    )


def locate(content: bytes) -> DataSet:
    """Find the data set behind preamble, file meta group and command group.

    Raises Truncated or Unreadable when these do not end where they must.
    """
    start = _PREFIX_AT + 4 if content[_PREFIX_AT : _PREFIX_AT + 4] == _PREFIX else 0
    syntax = None
    implicit = looks_implicit(content, start, assumed=False, in_sequence=False)
    end = start
    for header in _group(content, start, 0x0002, implicit_vr=implicit):
        end = header.value_at + header.length
        if header.tag == _TRANSFER_SYNTAX:
            syntax = content[header.value_at : end].decode("latin-1").rstrip("\0 ")
    for header in _group(content, end, 0x0000, implicit_vr=True):  # always implicit VR (PS3.7 6.3)
        end = header.value_at + header.length
    return DataSet(end, syntax, *_encoding(content, end, syntax))


def _group(content: bytes, start: int, group: int, *, implicit_vr: bool) -> Iterator[Header]:
    at = start
    while at + 8 <= len(content):
        header = element_header(content, at, implicit_vr, True)
        if header is None or header.tag >> 16 != group:
            return
        at = header.value_at + header.length
        if header.length == UNDEFINED or at - start > MAX_META_BYTES:
            raise Unreadable(f"group {group:04x} holds more than {MAX_META_BYTES} bytes; send it again")
        if at > len(content):
            raise Truncated("the DICOM file ends inside its first elements; send it again")
        yield header


def _encoding(content: bytes, start: int, syntax: str | None) -> tuple[bool, bool]:
    """Implicit VR, little endian. Without a transfer syntax it is guessed from the first element, as pydicom does."""
    if syntax is not None:
        return syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    if content[start + 4 : start + 6] not in VRS:
        return True, True
    return False, content[start + 1] < 4  # the group of a first element is below 0400, if its bytes are not swapped
