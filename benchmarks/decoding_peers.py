"""Every maintained decoder of each DICOM transfer syntax on the same codestream, beside the one that the box uses.

The box's own time includes what it checks first, and for JPEG a second decoding that proves that nothing is missing.
"""

import io
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset, uid
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder, pixel_array

from benchmarks.pictures import COLUMNS, ENCODERS, ROWS, SYNTAXES, bits_of, dicom_bytes, stored_values
from benchmarks.race import Race
from benchmarks.resident import Opened, Peer
from edge.imaging.pixel_data import decode
from edge.imaging.read import quiet

OURS = "edge.imaging"
NATIVE = "pydicom"
_PLUGIN, _CODEC = "pydicom with ", "imagecodecs."
_LOSSLESS_JPEG = ("jpeg8_decode", "jpegsof3_decode", "ljpeg_decode")
# pydicom has no plugin for imagecodecs: it is called on the frame itself.
CODECS: dict[uid.UID, tuple[str, ...]] = {
    uid.JPEGBaseline8Bit: ("jpeg8_decode",),
    uid.JPEGExtended12Bit: ("jpeg8_decode",),
    uid.JPEGLossless: _LOSSLESS_JPEG,
    uid.JPEGLosslessSV1: _LOSSLESS_JPEG,
    uid.JPEGLSLossless: ("jpegls_decode",),
    uid.JPEGLSNearLossless: ("jpegls_decode",),
    uid.JPEG2000Lossless: ("jpeg2k_decode",),
    uid.JPEG2000: ("jpeg2k_decode",),
    uid.HTJ2KLossless: ("htj2k_decode", "jpeg2k_decode"),
}
WITH_CHECKS = "with the checks that come first"


def decoders(syntax: uid.UID) -> tuple[str, ...]:
    """The names of those that are installed, ours first."""
    if syntax not in ENCODERS:
        return OURS, NATIVE
    plugins = sorted(get_decoder(syntax).available_plugins)
    return (OURS, *(_PLUGIN + name for name in plugins), *(_CODEC + name for name in CODECS.get(syntax, ())))


def missing(syntax: uid.UID) -> list[str]:
    """What pydicom would decode with if it were installed. pylibjpeg-libjpeg is GPL and never is."""
    return list(get_decoder(syntax).missing_dependencies)


def decode_with(name: str, dataset: Dataset) -> NDArray[Any]:
    """Stored values. Raises whatever that decoder raises."""
    if name == OURS:
        return decode(dataset)
    if name.startswith(_CODEC):
        codec = getattr(imagecodecs, name.removeprefix(_CODEC))
        return codec(get_frame(dataset.PixelData, 0, number_of_frames=1))
    plugin = name.removeprefix(_PLUGIN) if name.startswith(_PLUGIN) else ""
    return pixel_array(dataset, raw=True, decoding_plugin=plugin)


def open_decoder(name: str, path: Path) -> Opened:
    """It decodes the pixel data of one file again and again."""
    dataset = pydicom.dcmread(io.BytesIO(path.read_bytes()))

    def call(number: int) -> NDArray[Any]:
        with quiet():
            return decode_with(name, dataset)

    return Opened(call, told=lambda stored: stored)


def decoding_race(syntax: uid.UID, folder: Path, calls: int, *, rows: int = ROWS, columns: int = COLUMNS) -> Race:
    """One picture in one transfer syntax, on one core; differences are of stored values."""
    bits = bits_of(syntax)
    path = folder / f"{syntax.keyword}.dcm"
    path.write_bytes(dicom_bytes(stored_values(rows, columns, bits=bits), syntax, bits=bits))
    peers = [Peer(name, partial(open_decoder, name, path), WITH_CHECKS if name == OURS else "")
             for name in decoders(syntax)]  # fmt: skip
    return Race(f"decoding {syntax.keyword}, {rows} x {columns}, {bits} bits", tuple(peers), 1, calls, cores=1)


def decoding_races(folder: Path, calls: int) -> list[Race]:
    return [decoding_race(syntax, folder, calls) for syntax in SYNTAXES]
