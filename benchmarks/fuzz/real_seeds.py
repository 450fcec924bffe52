"""Real DICOM files as seeds where they are at hand: small ones as they are, of larger ones the header and few pixels.

Nothing of them is kept in the repository.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread, uid
from pydicom.pixels import pixel_array

from benchmarks.fuzz.dicom_files import SIDE, save
from benchmarks.fuzz.seed import Seed
from edge.imaging.read import quiet

REAL_FOLDER = Path(__file__).parents[3] / "shared" / "data" / "dicom"
_SMALL_BYTES = 48_000
_HEADER_BYTES = 12_000  # of a file whose pixels cannot be made few


def real_seeds(folder: Path = REAL_FOLDER) -> Iterator[Seed]:
    """By name; nothing where the folder is absent."""
    for path in sorted(folder.glob("*.dcm")):
        content = path.read_bytes()
        if len(content) > _SMALL_BYTES:
            content = _reduced(path) or content[:_HEADER_BYTES]
        yield Seed(f"real-{path.stem}", content, settled=False)


def _reduced(path: Path) -> bytes | None:
    """Every n-th pixel under the same header, native, said to be a chest; None when it cannot be decoded."""
    try:
        with quiet():
            dataset = dcmread(path, force=True)
            stored = pixel_array(dataset, raw=True)
            if stored.ndim != 2:
                return None
            step = max(1, max(stored.shape) // SIDE)
            return _with_pixels(dataset, np.ascontiguousarray(stored[::step, ::step]))
    except Exception:  # a file that is meant to be a problem: its header serves as well
        return None


def _with_pixels(dataset: Dataset, stored: np.ndarray) -> bytes | None:
    syntax = dataset.file_meta.TransferSyntaxUID
    native = (
        syntax if syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian) else uid.ExplicitVRLittleEndian
    )
    # Or most would end at these, and their headers would try nothing further.
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.file_meta.TransferSyntaxUID = native
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OW"
    dataset["PixelData"].is_undefined_length = False
    content = save(dataset, native, enforce_file_format=True)
    return content if len(content) <= _SMALL_BYTES else None
