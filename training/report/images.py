"""What a report needs to see of a radiograph. The study implements it; nothing here reads files."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.row import Row

# Of figure s3, in the paper's order after the original.
AUGMENTATIONS: Mapping[str, str] = {
    "brighten": "Brighten",
    "sharpen": "Sharpen",
    "gamma": "Gamma contrast",
    "shear": "Shear",
    "rotate": "Rotate",
    "clahe": "CLAHE",
    "blur": "Gaussian blur",
    "scale": "Scale",
    "flip": "Flip",
}


class Images(Protocol):
    """Pictures and measures of a manifest's rows, by the weights of draws[0]."""

    def pixels(self, row: Row) -> NDArray[np.uint8]:
        """uint8 [1024, 1024]: the standardised radiograph."""

    def lungs(self, row: Row) -> NDArray[np.float32]:
        """float32 [256, 256]: probability of lung."""

    def evidence(self, row: Row) -> NDArray[np.float32] | None:
        """float32 [32, 32]: the decision head at every position of the last feature map; None where not made."""

    def size(self, row: Row) -> tuple[int, int]:
        """(rows, columns) of the file's pixels."""

    def frozen_features(self, row: Row) -> NDArray[np.float32] | None:
        """float32 [f]: features of a network that never saw a radiograph; None where there is no such network."""

    def augmented(self, row: Row, names: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
        """By name, of AUGMENTATIONS: uint8 [s, s], each at the end of its range. Unknown names are left out."""
