"""What people read: a number only where it is a probability, or where there is nothing else to tell."""

from dataclasses import replace

import pytest
from reports import refused, scored

from edge.outputs.verdict import verdict
from edge.values import Reason, Report


def made(*, positive: bool | None, calibrated: bool) -> Report:
    report = scored(1)
    assert report.prediction is not None
    return replace(report, positive=positive, prediction=replace(report.prediction, calibrated=calibrated))


@pytest.mark.parametrize(
    ("positive", "calibrated", "told"),
    [
        (True, False, "above the operating point"),
        (False, False, "below the operating point"),
        (None, False, "score 0.750, no operating point"),
        (True, True, "probability 0.750, above the operating point"),
        (False, True, "probability 0.750, below the operating point"),
    ],
)
def test_the_answer_in_words(positive: bool | None, calibrated: bool, told: str) -> None:
    assert verdict(made(positive=positive, calibrated=calibrated)) == told


def test_a_refusal_tells_its_reason() -> None:
    assert verdict(refused(1, Reason.INVERTED)) == "not scored: inverted"
