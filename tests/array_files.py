"""Cached arrays of standardised radiographs, as training.arrays keeps them."""

from pathlib import Path

import numpy as np


def write_array(path: Path, pixels: np.ndarray) -> Path:
    """pixels: uint8 [1024, 1024], the whole picture."""
    np.savez(path, pixels=pixels, crop=np.array([0, 0, 1024, 1024] * 2), sha256=np.array("0" * 64))
    return path
