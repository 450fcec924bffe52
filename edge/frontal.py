"""How far a picture is from a frontal chest: a few numbers of lung mask and picture, weighed by a bundle's own rule.

A left-right mirrored picture gives the same numbers: the rule cannot tell, and does not try to tell, a swapped side.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.values import Crop

FEATURES = 1  # version of `features`; a rule that was fitted on another does not open
SMALL = 128  # pixels: what is looked at, content only, whatever the framing
PICTURE_SIDE = 32  # cells
MASK_SIDE = 16  # cells
NUMBERS = 19  # of shape and contrast, before the cells
LENGTH = NUMBERS + (MASK_SIDE**2 + PICTURE_SIDE**2) // 2
_LEAST_SPREAD = 0.02  # grey levels 0..1; a flat picture must not be blown up to noise
_PICTURE_WEIGHT = 0.3  # hundreds of cells must not drown a few numbers

Cells = NDArray[np.float32]


@dataclass(frozen=True)
class FrontalRule:
    """A linear rule on standardised features. weights, mean, scale: float32 [LENGTH].

    template: float32 [32, 32], the mean picture of frontal chests, standardised.
    """

    weights: Cells
    mean: Cells
    scale: Cells
    bias: float
    template: Cells

    def distance(self, seen: Cells) -> float:
        """How far from a frontal chest, in log odds; below the bundle's limit it is one. seen: `features`."""
        return float((seen - self.mean) / self.scale @ self.weights + self.bias)


@dataclass(frozen=True)
class Look:
    """What the gate sees of one picture. features: float32 [LENGTH]; picture: float32 [32, 32]; contrast: 0..0.5."""

    features: Cells
    picture: Cells
    contrast: float


def look(lung_mask: Cells, pixels: Cells, crop: Crop) -> Look:
    """lung_mask: [256, 256] over the whole model input, pixels: [1, 1024, 1024] in 0..1. Padding is left out."""
    return look_small(*small(lung_mask, pixels, crop))


def small(lung_mask: Cells, pixels: Cells, crop: Crop) -> tuple[Cells, Cells]:
    """Mask and picture, content alone, both reduced to [128, 128]."""
    side = pixels.shape[-1]
    mask, picture = crop.content_of(lung_mask, side), crop.content_of(pixels[0], side)
    return _reduced(mask, SMALL), _reduced(picture, SMALL)


def look_small(mask: Cells, picture: Cells) -> Look:
    """mask, picture: as `small` gives them."""
    cells = standardised(picture)
    contrast = float(picture.std())
    features = np.concatenate([
        [*_shape(mask), _lung_contrast(mask, picture), contrast],
        _folded(_reduced(mask, MASK_SIDE)),
        _PICTURE_WEIGHT * _folded(cells),
    ]).astype(np.float32)  # fmt: skip
    return Look(features, cells, contrast)


def standardised(picture: Cells) -> Cells:
    """float32 [32, 32] of mean 0 and deviation about 1."""
    cells = _reduced(picture, PICTURE_SIDE)
    return (cells - cells.mean()) / (cells.std() + _LEAST_SPREAD)


def likeness(picture: Cells, template: Cells) -> float:
    """Correlation of two [32, 32] pictures, -1 to 1; 0 where one is flat. An inverted chest is near -1."""
    one, two = picture - picture.mean(), template - template.mean()
    norms = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float((one * two).sum()) / norms if norms > 0 else 0.0


def rule_of(arrays: Mapping[str, NDArray[Any]]) -> FrontalRule:
    """The arrays of gate.npz. Raises ValueError when they are not what they should be."""
    version = arrays["features"]
    if version.shape != () or int(version) != FEATURES:
        raise ValueError(f"the gate was fitted on features {version}, this version has {FEATURES}")
    shapes = {"weights": (LENGTH,), "mean": (LENGTH,), "scale": (LENGTH,), "bias": (),
              "template": (PICTURE_SIDE, PICTURE_SIDE)}  # fmt: skip
    for name, shape in shapes.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.float32 or not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} of the gate are not {list(shape)} finite float32 numbers")
    if not (arrays["scale"] > 0).all():
        raise ValueError("a scale of the gate is not above 0")
    named = {name: arrays[name] for name in shapes if name != "bias"}
    return FrontalRule(**named, bias=float(arrays["bias"]))


def _reduced(cells: Cells, side: int) -> Cells:
    return np.asarray(cv2.resize(cells, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _folded(cells: Cells) -> Cells:
    """The mean of each cell and its mirror image: half as many. Mirroring changes nothing."""
    half = cells.shape[1] // 2
    return np.asarray((cells[:, :half] + cells[:, ::-1][:, :half]) / 2, np.float32).ravel()


def _lung_contrast(mask: Cells, picture: Cells) -> float:
    """How much brighter it is around the lungs than in them; 0 where there is nothing to compare."""
    lung = mask > 0.5
    if lung.all() or not lung.any():
        return 0.0
    return 2 * float(picture[~lung].mean() - picture[lung].mean())


def _shape(mask: Cells) -> list[float]:
    """Shares of the content: lung, its two greatest parts and the rest, where they lie; how unsure the network is."""
    lung = (mask > 0.5).astype(np.uint8)
    total = int(lung.sum())
    _, _, boxes, centres = cv2.connectedComponentsWithStats(lung)
    order = sorted(range(1, len(boxes)), key=lambda part: -boxes[part, cv2.CC_STAT_AREA])[:2]
    parts = [_part(boxes[number], centres[number], lung.size) for number in order]
    parts += [(0.0,) * 6] * (2 - len(parts))
    great, little = parts
    unsure = math.log(((mask > 0.2) & (mask < 0.8)).sum() / max(total, 1) + 0.02)
    rest = 1 - (great[0] + little[0]) * lung.size / total if total else 1.0
    balance = little[0] / great[0] if great[0] else 0.0
    return [total / lung.size, balance, rest, unsure, *great, *little, _tilt(parts)]


def _part(box: NDArray[np.int32], centre: NDArray[np.float64], cells: int) -> tuple[float, ...]:
    """Share, distance from the midline, height of the centre, width, height, top: of one connected part."""
    _, top, width, height, area = (int(value) for value in box)
    side = math.isqrt(cells)
    off_middle = abs((centre[0] + 0.5) / side - 0.5)
    return area / cells, float(off_middle), float(centre[1] / side), width / side, height / side, top / side


def _tilt(parts: list[tuple[float, ...]]) -> float:
    """How much higher one lung lies than the other."""
    return abs(parts[0][2] - parts[1][2]) if parts[1][0] else 0.0
