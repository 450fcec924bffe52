"""Drawing in body units: 1 is half the width of the ribs, x to the patient's left, y down from the top of the lungs.

A frame says where the body lies on the detector; curves are points in body units; fields are what is drawn of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Field = NDArray[np.float32]  # [rows, columns]
Curve = NDArray[np.float64]  # [points, 2] as (x, y), body units
SIDES = (-1.0, 1.0)  # the patient's right lies on the left of the radiograph


@dataclass(frozen=True)
class Frame:
    """Where the body lies on the detector. matrix: float64 [2, 3], body units to pixels. unit: pixels per body unit."""

    rows: int
    columns: int
    unit: float
    matrix: NDArray[np.float64]

    def place(self, curve: Curve) -> NDArray[np.int32]:
        """Pixels in 1/16: the fixed point that OpenCV's drawing takes for positions between pixels."""
        pixels = curve @ self.matrix[:, :2].T + self.matrix[:, 2]
        return np.asarray(np.rint(pixels * 16), dtype=np.int32)

    def fill(self, outlines: Sequence[Curve], *, grey: float = 1.0, edge: int = cv2.LINE_AA) -> Field:
        """Outlines filled one after the other, 0..1; where they overlap they do not add."""
        layer = np.zeros((self.rows, self.columns), np.uint8)
        for outline in outlines:
            cv2.fillPoly(layer, [self.place(outline)], round(255 * grey), edge, 4)
        return to_field(layer)

    def stroke(self, curves: Sequence[tuple[Curve, float, float]]) -> Field:
        """Curves as (points, width in body units, grey 0..1); a line thinner than a pixel is drawn fainter instead."""
        layer = np.zeros((self.rows, self.columns), np.uint8)
        for curve, width, grey in curves:
            thickness = width * self.unit
            level = round(255 * grey * min(1.0, thickness))
            cv2.polylines(layer, [self.place(curve)], False, level, max(1, round(thickness)), cv2.LINE_AA, 4)
        return to_field(layer)

    def blur(self, field: Field, sigma: float) -> Field:
        """Gaussian, sigma in body units. Wide ones run on a reduced copy: the same picture, sooner."""
        pixels = sigma * self.unit
        step = max(1, int(pixels / 3))
        if step == 1:
            return np.asarray(cv2.GaussianBlur(field, (0, 0), max(pixels, 0.3)), dtype=np.float32)
        small = cv2.resize(field, (-(-self.columns // step), -(-self.rows // step)), interpolation=cv2.INTER_AREA)
        return self.stretch(np.asarray(cv2.GaussianBlur(small, (0, 0), pixels / step), dtype=np.float32))

    def dome(self, mask: NDArray[Any], depth: float) -> Field:
        """How thick a round body looks from the front: 0 at its outline, 1 from `depth` (body units) inwards."""
        distance = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        inwards = 1 - np.minimum(distance / (depth * self.unit), 1)
        return np.asarray(np.sqrt(1 - inwards * inwards), dtype=np.float32)

    def mottle(self, rng: Generator, cells: int, octaves: int) -> Field:
        """Cloudy noise of about unit spread; its grid does not depend on the size of the radiograph."""
        total = np.zeros((self.rows, self.columns), np.float32)
        for octave in range(octaves):
            grid = rng.standard_normal((cells << octave, cells << octave)).astype(np.float32)
            total += self.stretch(grid) * np.float32(0.6**octave)
        return total

    def stretch(self, field: Field) -> Field:
        """A coarse field [any, any] over the whole radiograph."""
        stretched = cv2.resize(field, (self.columns, self.rows), interpolation=cv2.INTER_CUBIC)
        return np.asarray(stretched, dtype=np.float32)


def to_field(layer: NDArray[np.uint8]) -> Field:
    return np.multiply(layer, np.float32(1 / 255), dtype=np.float32)


def points(*pairs: tuple[float, float]) -> Curve:
    return np.array(pairs, dtype=np.float64)


def smooth(knots: Curve, *, closed: bool = True, steps: int = 12) -> Curve:
    """Catmull-Rom curve through the knots; a knot given twice is a corner."""
    padded = np.vstack([knots[-1:], knots, knots[:2]]) if closed else np.vstack([knots[:1], knots, knots[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    spans = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.vstack(spans)


def ellipse(x: float, y: float, width: float, height: float) -> Curve:
    turn = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    return np.stack([x + width * np.cos(turn), y + height * np.sin(turn)], axis=1)


def mirror(curve: Curve, side: float) -> Curve:
    """A curve given for the patient's left (x > 0), on the side asked for."""
    return curve * (side, 1.0)
