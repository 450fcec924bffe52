"""The reliability diagram: every filled bin has its mark where its numbers are, and no other has one."""

import cv2
import numpy as np

from edge.calibration import reliability
from edge.outputs.reliability_diagram import Series, draw_reliability, encode_png

BLUE, ORANGE = (178, 114, 0), (0, 94, 213)
LEFT, TOP, SIDE = 90, 150, 560


def ink_at(sheet: np.ndarray, score: float, observed: float, colour: tuple[int, int, int]) -> bool:
    """Whether there is this colour within a few pixels of where a point stands."""
    x, y = round(LEFT + score * SIDE), round(TOP + (1 - observed) * SIDE)
    near = sheet[max(y - 12, 0) : y + 13, x - 14 : x + 15]
    return int((near == colour).all(axis=-1).sum()) > 20


def test_marks_stand_where_the_numbers_are() -> None:
    scores = np.repeat([0.05, 0.75], 20)
    positive = np.arange(40) % 20 < np.where(scores > 0.5, 15, 4)
    sheet = draw_reliability([Series("plain", reliability(scores, positive, np.arange(40)))], heading="tiny, int8")
    assert sheet.dtype == np.uint8
    assert ink_at(sheet, 0.05, 0.2, BLUE) and ink_at(sheet, 0.75, 0.75, BLUE)
    for score, observed in ((0.45, 0.45), (0.05, 0.9), (0.75, 0.2)):
        assert not ink_at(sheet, score, observed, BLUE)
    assert not (sheet == ORANGE).all(axis=-1).any()


def test_two_series_and_certain_scores() -> None:
    """Wilson's interval of certain bins ends at the border, and nothing is drawn outside it."""
    certain = reliability([0.0, 1.0, 1.0], [0, 1, 1], list("abc"))
    other = reliability([0.35] * 4, [1, 1, 0, 0], list("abcd"))
    sheet = draw_reliability([Series("one", certain), Series("two", other)], heading="tiny")
    assert ink_at(sheet, 0, 0, BLUE) and ink_at(sheet, 1, 1, BLUE)
    assert ink_at(sheet, 0.35, 0.5, ORANGE)
    assert (cv2.imdecode(np.frombuffer(encode_png(sheet), np.uint8), cv2.IMREAD_COLOR) == sheet).all()
