"""Files that once did harm, made by code: found by the campaigns and by following coverage."""

import struct
from collections.abc import Iterator

from pydicom import uid

from benchmarks.fuzz.canary import WORD
from benchmarks.fuzz.dicom_files import chest, dicom_file, phantom
from benchmarks.fuzz.picture_seeds import PNG_START, chunk
from benchmarks.fuzz.seed import Seed
from edge.imaging.read import quiet


def found_seeds() -> Iterator[Seed]:
    """Which reason each gets may change; that none does harm may not."""
    with quiet():
        yield from list(_found())


def _found() -> Iterator[Seed]:
    stored = phantom()
    rows, columns = stored.shape
    # A picture of three dimensions, which ended the worker.
    for name, syntax in (("little", uid.ExplicitVRLittleEndian), ("deflated", uid.DeflatedExplicitVRLittleEndian)):
        content = dicom_file(chest(stored, Columns=columns // 2), syntax)
        yield Seed(f"found-native-of-two-frames-{name}", content, settled=False)
    # A number that is a name stood in the refusal.
    plain = dicom_file(chest(stored))
    bits = struct.pack("<HH2sH", 0x28, 0x100, b"US", 2) + b"\x10\0"
    named = struct.pack("<HH2sH", 0x28, 0x100, b"LO", 12) + f"{WORD}^BITS ".encode()
    yield Seed("found-bits-are-a-name", plain.replace(bits, named), settled=False)
    # Samples of 255 bits, at which a decoder of JPEG lost its way.
    size = struct.pack(">HH", rows, columns)
    for precision in (76, 255):
        jpeg = dicom_file(chest(stored), uid.JPEGLossless)
        yield Seed(
            f"found-jpeg-of-{precision}-bits",
            jpeg.replace(b"\x0c" + size, bytes([precision]) + size),
            settled=False,
        )
    # A chunk that says it has 4 GB, which were taken for it.
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    long = b"\xff\xff\xff\xf0tEXt" + bytes(64) + chunk(b"IEND", b"")
    yield Seed("found-png-chunk-of-4-gb", PNG_START + chunk(b"IHDR", header) + long, settled=False)
