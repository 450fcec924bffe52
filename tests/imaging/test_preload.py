"""A process that has preloaded needs nothing from the file system, and little memory, whatever it decodes."""

import pickle
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import uid
from pydicom.charset import python_encoding
from radiograph_files import LOSSY, SYNTAXES, chest, chest_file, dicom_file, phantom_pixels, picture, tiff

from edge.imaging.limits import MAX_PIXELS

CHEST = phantom_pixels(longest_side=64)
SHALLOW = (CHEST >> 4).astype(np.uint8)
# Anything that would open a file, import, connect or start a thread's or a process's work fails from then on.
CONFINED = """
import pickle, sys, threading
from edge.errors import RadiographError
from edge.imaging.preload import preload
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
import cv2
with open(sys.argv[1], "rb") as opened:
    contents = pickle.load(opened)
cv2.setNumThreads(1)
preload()
parameters = Preprocessing()
parameters.digest
FORBIDDEN = ("open", "import", "socket.", "subprocess.", "os.", "ctypes.", "glob.", "shutil.", "tempfile.", "_thread.")
current, denied = "", []
def deny(event, arguments):
    if current and event.startswith(FORBIDDEN):
        denied.append(f"{current}: {event} {str(arguments)[:100]}")
        raise PermissionError(event)
sys.addaudithook(deny)
outcomes = []
for current, content in contents.items():
    try:
        radiograph = read(content)
        preprocess(radiograph, parameters)
        outcomes.append((current, radiograph.source.pixels_sha256))
    except RadiographError as refusal:
        outcomes.append((current, str(refusal)))
current = ""
print(pickle.dumps((outcomes, denied)).hex())
"""
# With so many bytes of address space beyond the imports; prints the peak of memory in kilobytes.
LIMITED = """
import resource, sys
import edge.imaging.worker
from edge.imaging.preload import preload
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
import cv2
cv2.setNumThreads(1)
preload()
status = lambda key: next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(key))
most = status("VmSize") * 1024 + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (most, most))
with open(sys.argv[1], "rb") as opened:
    content = opened.read()
radiograph = read(content, sha256="0" * 64)
preprocess(radiograph, Preprocessing())
print(radiograph.pixels.size, status("VmHWM"))
"""


def run(script: str, path: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", script, str(path), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def in_every_syntax() -> dict[str, bytes]:
    stored = {syntax: (CHEST, 12) for syntax in (*SYNTAXES, *LOSSY)} | {uid.JPEGBaseline8Bit: (SHALLOW, 8)}
    return {syntax.keyword: chest_file(pixels, syntax, bits_stored=bits) for syntax, (pixels, bits) in stored.items()}


def in_every_character_set() -> dict[str, bytes]:
    names = [*python_encoding, r"\ISO 2022 IR 87", r"ISO 2022 IR 13\ISO 2022 IR 87\ISO 2022 IR 159", "cp1252", "idna"]
    content = {}
    for name in names:
        dataset = chest(CHEST, bits_stored=12, PatientID="A-1", PatientName="A^B")
        whole = bytearray(dicom_file(dataset))
        written = name.encode() + b" " * (len(name) % 2)
        at = whole.index(b"\x08\0\x16\0UI")  # SOPClassUID
        whole[at:at] = b"\x08\0\x05\0CS" + len(written).to_bytes(2, "little") + written
        content[f"character set {name}"] = bytes(whole)
    return content


def with_what_is_rare() -> dict[str, bytes]:
    window = {"WindowCenter": 2000, "WindowWidth": 1000, "RescaleSlope": 2, "RescaleIntercept": 1}
    whole = chest_file(CHEST, uid.ImplicitVRLittleEndian, PixelPaddingValue=0, **window)
    return {
        "implicit with window and padding": whole,
        "cut": whole[:-50],
        "damaged": whole[:400] + b"\xff" * 60 + whole[460:],
        "no radiograph": dicom_file(chest(CHEST, Modality="CT")),
        "neither": b"hello",
    }


def pictures() -> dict[str, bytes]:
    colour = np.repeat(SHALLOW[..., None], 3, axis=2)
    return {
        "png 8": picture(SHALLOW, ".png"),
        "png 16": picture(CHEST, ".png"),
        "jpeg": picture(SHALLOW, ".jpg"),
        "progressive jpeg": picture(SHALLOW, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "tiff": tiff(CHEST, rowsperstrip=7),
        "tiff big endian": tiff(CHEST, byteorder=">"),
        "big tiff": tiff(CHEST, bigtiff=True),
        "tiff deflate": tiff(CHEST, compression="zlib"),
        "tiff lzw": tiff(CHEST, compression="lzw"),
        "tiff tiles": tiff(CHEST, tile=(32, 32)),
        "colour png": picture(colour, ".png"),
        "colour jpeg": picture(colour, ".jpg"),
        "colour tiff": tiff(colour, photometric="rgb"),
        "tiff packbits": tiff(CHEST, compression="packbits"),
        "tiff jpeg": tiff(SHALLOW, compression="jpeg"),
        "tiff predictor": tiff(CHEST, compression="zlib", predictor=True),
        "tiff lzw predictor": tiff(CHEST, compression="lzw", predictor=True),
        "cut tiff": tiff(CHEST)[:-9],
    }


def test_decoding_opens_nothing_and_imports_nothing(tmp_path: Path) -> None:
    contents = in_every_syntax() | in_every_character_set() | with_what_is_rare() | pictures()
    path = tmp_path / "contents"
    path.write_bytes(pickle.dumps(contents))
    outcomes, denied = pickle.loads(bytes.fromhex(run(CONFINED, path)))
    assert denied == []
    read_well = [name for name, outcome in outcomes if len(outcome) == 64]
    assert len(read_well) == len(contents) - 5, [outcome for outcome in outcomes if outcome[0] not in read_well]


def largest(kind: str) -> bytes:
    rows, columns = 6400, MAX_PIXELS // 6400
    pixels = cv2.resize(phantom_pixels(longest_side=256), (columns, rows), interpolation=cv2.INTER_NEAREST)
    match kind:
        case "native":
            return chest_file(pixels, uid.ExplicitVRLittleEndian, PixelPaddingValue=0)
        case "jpeg 2000":
            return chest_file(np.full_like(pixels, 7), uid.HTJ2KLossless)
        case "jpeg lossless":
            return chest_file(pixels, uid.JPEGLosslessSV1)
    return picture(np.repeat((pixels >> 4).astype(np.uint8)[..., None], 3, axis=2), ".png", 16, 1)


@pytest.mark.parametrize(
    ("kind", "heap_bytes"),
    [("native", 500_000_000), ("jpeg 2000", 700_000_000), ("jpeg lossless", 550_000_000), ("colour png", 500_000_000)],
)
def test_the_largest_picture_fits_into_a_worker(kind: str, heap_bytes: int, tmp_path: Path) -> None:
    """A worker has 800 MB beyond its imports."""
    path = tmp_path / "largest"
    path.write_bytes(largest(kind))
    pixels, peak_kb = run(LIMITED, path, str(heap_bytes)).split()
    assert int(pixels) == MAX_PIXELS
    assert int(peak_kb) * 1024 < 1_000_000_000
