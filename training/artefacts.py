"""Rectangular artefacts: boxes of one grey that cover part of a radiograph (a name blacked out, a pasted panel).

The paper leaves such images out. Looked for on the standardised array: there CLAHE and the resize have turned one grey
into a field whose slope hardly changes from pixel to pixel, while tissue and detector noise bend it. Collimation and
padding run along a whole side and are none; neither are arrows, letters and side markers (below 5 % of the side).

Measured with both framings. Wrongly found: 0 of 937 NIH radiographs. Found in covid.csv: 5 of 359 (padded: 4), all true
(blacked-out corners and strips, a panel letter, a text panel). Boxes of black, white or a constant grey pasted into 200
of these files, half of them saved as JPEG again: with sides of 12 to 30 % of the shorter side 421 of 434 (97 %) are
found inside and 154 of 166 (93 %) at an edge; of 8 % 134 of 158 inside and 33 of 42; of 5 % 5 of 200. The thresholds
were chosen on the same radiographs with other boxes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SMALLEST_SIDE = 40  # pixels of 1024 that are flat; a box loses about 5 more on each side
LARGEST_SHARE = 0.9  # of a side of the content: what runs along more is collimation
BEND = 2  # grey levels of second difference that rounding and CLAHE's bilinear tiles leave on a flat box
WINDOW = 9  # pixels on a side that must all be flat: noise rarely leaves so many
RAGGED = 12  # pixels inside the outline where JPEG blocks may have gnawed
CORE_FLAT, BOX_FLAT = 0.99, 0.8  # shares; an ellipse fills 0.785 of its box
STEP = 8  # grey levels between a box and what lies around it,
REACH = 16  # pixels beyond its flat part,
LEAST_STEPPED, MEAN_STEPPED = 0.6, 0.8  # on these shares of each side and of all


@dataclass(frozen=True)
class Rectangle:
    """The flat part of a box, in pixels of the standardised array."""

    top: int
    left: int
    height: int
    width: int


def has_rectangle(pixels: NDArray[np.uint8]) -> Rectangle | None:
    """The largest rectangular artefact, if there is any.

    pixels: uint8 [1024, 1024], a standardised radiograph.
    """
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    content = pixels[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.int16)
    found = [box for box in _flat_boxes(content) if _stands_out(content, box)]
    if not found:
        return None
    largest = max(found, key=lambda box: box.height * box.width)
    return Rectangle(largest.top + top, largest.left + left, largest.height, largest.width)


def _flat_boxes(content: NDArray[np.int16]) -> Iterator[Rectangle]:
    """Flat regions of the content whose outline is an upright rectangle, whatever is written inside."""
    flat = np.ones(content.shape, np.uint8)
    flat[:, 1:-1] &= np.abs(np.diff(content, 2, axis=1)) <= BEND
    flat[1:-1] &= np.abs(np.diff(content, 2, axis=0)) <= BEND
    flat = cv2.erode(flat, np.ones((WINDOW, WINDOW), np.uint8))  # beyond the content everything counts as flat
    outlines, family = cv2.findContours(flat, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline, (*_, parent) in zip(outlines, () if family is None else family[0], strict=True):
        if parent >= 0:  # the outline of a hole
            continue
        left, top, width, height = cv2.boundingRect(outline)
        spans = height > LARGEST_SHARE * content.shape[0] or width > LARGEST_SHARE * content.shape[1]
        if min(width, height) < SMALLEST_SIDE or spans:
            continue
        inside = np.zeros((height, width), np.uint8)
        cv2.drawContours(inside, [outline], -1, 1, cv2.FILLED, offset=(-left, -top))
        margin = min(RAGGED, min(width, height) // 4)
        core = inside[margin : height - margin, margin : width - margin]
        if inside.mean() >= BOX_FLAT and core.mean() >= CORE_FLAT:
            yield Rectangle(top, left, height, width)


def _stands_out(content: NDArray[np.int16], box: Rectangle) -> bool:
    """Whether the grey steps along the sides, of which two at least lie within the content."""
    columns, rows = slice(box.left, box.left + box.width), slice(box.top, box.top + box.height)
    sides = [
        *_stepped(content[:, columns], box.top, box.top + box.height - 1),
        *_stepped(content[rows].T, box.left, box.left + box.width - 1),
    ]
    return len(sides) >= 2 and min(sides) >= LEAST_STEPPED and float(np.mean(sides)) >= MEAN_STEPPED


def _stepped(lines: NDArray[np.int16], first: int, last: int) -> Iterator[float]:
    """The share of the first and of the last line of a box that differs from the line `REACH` beyond it."""
    for inner, outer in ((first, first - REACH), (last, last + REACH)):
        if 0 <= outer < len(lines):
            yield float(np.mean(np.abs(lines[inner] - lines[outer]) >= STEP))
