"""Small pictures of a bundle's reference cases, for contact sheets on the box that made it.

They are radiographs: a bundle that holds them is patient data, and stays where it was made.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.case_pictures import THUMBNAILS
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing, standardise_brightness
from edge.imaging.read import read
from edge.outputs.durable import write_durably
from edge.values import Radiograph, case_id_of

LONGEST_SIDE = 768  # pixels


def write_thumbnails(bundle_folder: Path, paths: Sequence[Path]) -> int:
    """One for each file, before the manifest is written, which lists them. Returns how many bytes they take."""
    size_bytes = 0
    for path in paths:
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        encoded, picture = cv2.imencode(".png", thumbnail(read(content, sha256=sha256)))
        if not encoded:
            raise UsageError(f"the reference case {case_id_of(sha256)} cannot be encoded as PNG; leave it out")
        write_durably(bundle_folder / THUMBNAILS / f"{case_id_of(sha256)}.png", picture.tobytes())
        size_bytes += len(picture)
    return size_bytes


def thumbnail(radiograph: Radiograph) -> NDArray[np.uint8]:
    """uint8 [rows, columns], in the radiograph's own proportions, margins and all."""
    levels = standardise_brightness(radiograph.pixels, radiograph.valid, Preprocessing())
    rows, columns = levels.shape
    height, width = rows * radiograph.row_spacing, columns * radiograph.column_spacing
    scale = min(LONGEST_SIDE, max(rows, columns)) / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(levels, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
