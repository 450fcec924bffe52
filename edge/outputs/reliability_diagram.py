"""A reliability diagram: how often radiographs of a score are positive, against that score. Drawn with OpenCV."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.calibration import Reliability
from edge.errors import StateError
from edge.statistics import Proportion

Colour = NDArray[np.uint8]  # BGR [rows, columns, 3]
Ink = tuple[int, int, int]

_SIDE, _LEFT, _TOP, _BARS, _WIDTH = 560, 90, 150, 110, 720
_HEIGHT = _TOP + _SIDE + 70 + _BARS + 50
_WHITE, _INK, _DIM, _GRID = (255, 255, 255), (30, 30, 30), (110, 110, 110), (225, 225, 225)
# Blue and orange, which the colour-blind tell apart (Okabe and Ito); their marks differ too.
_INKS = ((178, 114, 0), (0, 94, 213))
_SHIFT = 5  # pixels by which series stand apart, so that no interval hides another


@dataclass(frozen=True)
class Series:
    name: str
    reliability: Reliability


def draw_reliability(series: Sequence[Series], *, heading: str) -> Colour:
    """One or two series as BGR [rows, columns, 3]. Vertical bars: Wilson's 95 % interval of each bin."""
    sheet = np.full((_HEIGHT, _WIDTH, 3), _WHITE, np.uint8)
    _write(sheet, heading, (_LEFT, 34), size=0.62)
    _draw_axes(sheet)
    for number, one in enumerate(series):
        _draw_legend(sheet, one, number)
        _draw_points(sheet, one.reliability, number)
        _draw_counts(sheet, one.reliability, number, most=max(int(each.reliability.counts.max()) for each in series))
    _write(sheet, "score", (_LEFT + _SIDE // 2 - 20, _TOP + _SIDE + 46), size=0.5)
    _write(sheet, "radiographs in each tenth of the scores", (_LEFT, _HEIGHT - 16), size=0.45, ink=_DIM)
    return sheet


def encode_png(sheet: Colour) -> bytes:
    encoded, content = cv2.imencode(".png", sheet)
    if not encoded:
        raise StateError("a reliability diagram cannot be encoded as PNG; run: edge-cxr doctor")
    return bytes(content.tobytes())


def _place(score: float, observed: float, number: int = 0) -> tuple[int, int]:
    return round(_LEFT + score * _SIDE) + (2 * number - 1) * _SHIFT, round(_TOP + (1 - observed) * _SIDE)


def _draw_axes(sheet: Colour) -> None:
    for tick in range(0, 11, 2):
        x, y = _LEFT + tick * _SIDE // 10, _TOP + _SIDE - tick * _SIDE // 10
        cv2.line(sheet, (x, _TOP), (x, _TOP + _SIDE), _GRID, 1)
        cv2.line(sheet, (_LEFT, y), (_LEFT + _SIDE, y), _GRID, 1)
        _write(sheet, f"{tick / 10:.1f}", (x - 12, _TOP + _SIDE + 22), size=0.45, ink=_DIM)
        _write(sheet, f"{tick / 10:.1f}", (_LEFT - 38, y + 5), size=0.45, ink=_DIM)
    cv2.rectangle(sheet, (_LEFT, _TOP), (_LEFT + _SIDE, _TOP + _SIDE), _DIM, 1)
    cv2.line(sheet, (_LEFT, _TOP + _SIDE), (_LEFT + _SIDE, _TOP), _DIM, 1, cv2.LINE_AA)
    _write(sheet, "share that is positive; on the line, a score is a probability", (_LEFT, _TOP - 14), size=0.5)


def _draw_legend(sheet: Colour, one: Series, number: int) -> None:
    ece, y = one.reliability.ece, 66 + 26 * number
    _mark(sheet, (_LEFT + 8, y - 5), number)
    told = f"{one.name}: calibration error {ece.value:.3f} ({ece.low:.3f} to {ece.high:.3f})"
    _write(sheet, told, (_LEFT + 26, y), size=0.47)


def _draw_points(sheet: Colour, found: Reliability, number: int) -> None:
    filled = np.flatnonzero(found.counts)
    places = [_place(found.confidence[place], found.observed[place], number) for place in filled]
    cv2.polylines(sheet, [np.array(places, np.int32)], False, _INKS[number], 1, cv2.LINE_AA)
    for place, (x, y) in zip(filled, places, strict=True):
        count = int(found.counts[place])
        interval = Proportion(round(found.observed[place] * count), count).interval
        ends = (_place(0, max(interval.low, 0))[1], _place(0, min(interval.high, 1))[1])
        cv2.line(sheet, (x, ends[0]), (x, ends[1]), _INKS[number], 1, cv2.LINE_AA)
        _mark(sheet, (x, y), number)


def _draw_counts(sheet: Colour, found: Reliability, number: int, *, most: int) -> None:
    bottom, width = _HEIGHT - 40, _SIDE / len(found.counts)
    for place, count in enumerate(found.counts):
        left = round(_LEFT + place * width + 4 + number * (width - 8) / 2)
        top = round(bottom - count / max(most, 1) * (_BARS - 20))
        cv2.rectangle(sheet, (left, top), (round(left + (width - 8) / 2) - 2, bottom), _INKS[number], -1)
        _write(sheet, str(count), (left, top - 4), size=0.32, ink=_DIM)


def _mark(sheet: Colour, centre: tuple[int, int], number: int) -> None:
    if number == 0:
        cv2.circle(sheet, centre, 6, _WHITE, -1, cv2.LINE_AA)
        cv2.circle(sheet, centre, 6, _INKS[0], 2, cv2.LINE_AA)
    else:
        x, y = centre
        cv2.rectangle(sheet, (x - 6, y - 6), (x + 6, y + 6), _INKS[1], -1)


def _write(sheet: Colour, text: str, place: tuple[int, int], *, size: float, ink: Ink = _INK) -> None:
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
