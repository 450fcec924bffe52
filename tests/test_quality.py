"""Gates: pure functions with limits from the bundle."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import scored, source

from edge.frontal import LENGTH, FrontalRule, likeness
from edge.gate_limits import GateLimits, Limits
from edge.quality import (
    DETAILS,
    Gate,
    Measures,
    assess,
    check,
    check_age,
    judge,
    lung_fraction,
    nearest_distance,
    source_warnings,
)
from edge.values import Crop, Decoded, ModelInput, Reason, Warn

SIDE = 1024
WHOLE = Crop(0, 0, 100, 100, 0, 0, SIDE, SIDE)
LIMITS = Limits(low=0.1, high=0.6, margin=0.05)
NONE = np.zeros((0, 128), np.float32)
SPAN = st.tuples(st.integers(0, SIDE - 1), st.integers(1, SIDE)).map(
    lambda span: (span[0], min(span[1], SIDE - span[0]))
)


@given(SPAN, SPAN, st.sampled_from([0.0, 0.5, 0.51, 1.0]))
def test_an_even_mask_counts_whole_or_not_at_all(
    rows: tuple[int, int], columns: tuple[int, int], probability: float
) -> None:
    crop = replace(WHOLE, model_top=rows[0], model_height=rows[1], model_left=columns[0], model_width=columns[1])
    mask = np.full((256, 256), probability, np.float32)
    assert lung_fraction(mask, crop, SIDE) == float(probability > 0.5)


@given(SPAN, SPAN)
def test_lungs_in_the_padding_do_not_count(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    crop = replace(WHOLE, model_top=rows[0], model_height=rows[1], model_left=columns[0], model_width=columns[1])
    mask = np.ones((256, 256), np.float32)
    mask[rows[0] // 4 : -(-(rows[0] + rows[1]) // 4), columns[0] // 4 : -(-(columns[0] + columns[1]) // 4)] = 0
    assert lung_fraction(mask, crop, SIDE) == 0


def test_the_share_is_of_the_content() -> None:
    crop = replace(WHOLE, model_left=256, model_width=512)
    mask = np.zeros((256, 256), np.float32)
    mask[:128, 64:192] = 0.9  # the upper half of the content
    mask[:, :64] = 0.9  # padding
    assert lung_fraction(mask, crop, SIDE) == 0.5


@given(st.integers(0, 2**32 - 1))
def test_more_lung_is_a_greater_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((256, 256)).astype(np.float32)
    assert lung_fraction(mask, WHOLE, SIDE) <= lung_fraction(np.minimum(mask + 0.1, 1), WHOLE, SIDE)
    assert lung_fraction(mask, WHOLE, SIDE) == pytest.approx(float((mask > 0.5).mean()))


@pytest.mark.parametrize(
    ("fraction", "reason", "warning"),
    [
        (0.0, Reason.NO_LUNGS, None),
        (0.0999, Reason.NO_LUNGS, None),
        (0.1, None, Warn.BORDERLINE_LUNGS),
        (0.1499, None, Warn.BORDERLINE_LUNGS),
        (0.151, None, None),
        (0.3, None, None),
        (0.549, None, None),
        (0.5501, None, Warn.BORDERLINE_LUNGS),
        (0.6, None, Warn.BORDERLINE_LUNGS),
        (0.6001, Reason.NO_LUNGS, None),
        (float("nan"), Reason.NO_LUNGS, None),
    ],
)
def test_lung_limits(fraction: float, reason: Reason | None, warning: Warn | None) -> None:
    finding = check("lung_fraction", fraction, LIMITS)
    assert (finding.low, finding.high) == (LIMITS.low, LIMITS.high)
    assert (finding.reason, finding.warning) == (reason, warning)


def test_minors_are_outside_the_intended_use() -> None:
    assert check_age(replace(source(1), minor=True)).reason is Reason.OUTSIDE_INTENDED_USE
    assert check_age(source(1)).reason is None


def test_what_the_picture_is_counts_before_whom_it_is_for() -> None:
    model_input = ModelInput(np.zeros((1, SIDE, SIDE), np.float32), WHOLE, "digest")
    decoded = Decoded(replace(source(1), minor=True), model_input)
    prediction = scored(1).prediction
    assert prediction is not None
    findings = assess(
        decoded, replace(prediction, lung_mask=np.zeros((256, 256), np.float32)), Gate(GateLimits(LIMITS), None, NONE)
    )
    assert [finding.reason for finding in findings] == [Reason.NO_LUNGS, Reason.OUTSIDE_INTENDED_USE]
    assert all(finding.reason in DETAILS for finding in findings)


GOOD = Measures(lung_fraction=0.3, contrast=0.25, distance=0.5, inverted=0.7, not_frontal=-3.0)
ALL = GateLimits(
    LIMITS,
    contrast=Limits(low=0.1, margin=0.02),
    inverted=Limits(low=-0.2, margin=0.1),
    not_frontal=Limits(high=1.0, margin=2.0),
    distance=Limits(high=1.5, margin=0.2),
)


@pytest.mark.parametrize(
    ("change", "reason", "warning"),
    [
        ({"contrast": 0.09}, Reason.POOR_QUALITY, None),
        ({"contrast": 0.11}, None, Warn.BORDERLINE_CONTRAST),
        ({"inverted": -0.3}, Reason.INVERTED, None),
        ({"inverted": -0.15}, None, Warn.BORDERLINE_INVERTED),
        ({"not_frontal": 1.1}, Reason.NOT_FRONTAL_CHEST, None),
        ({"not_frontal": float("nan")}, Reason.NOT_FRONTAL_CHEST, None),
        ({"not_frontal": -0.9}, None, Warn.BORDERLINE_FRONTAL),
        ({"distance": 1.6}, Reason.UNLIKE_REFERENCE, None),
        ({"distance": 1.4}, None, Warn.BORDERLINE_REFERENCE),
        ({}, None, None),
    ],
)
def test_each_check_has_its_reason_and_its_warning(
    change: dict[str, float], reason: Reason | None, warning: Warn | None
) -> None:
    findings = judge(replace(GOOD, **change), ALL)
    assert [finding.reason for finding in findings if finding.reason] == ([reason] if reason else [])
    assert [finding.warning for finding in findings if finding.warning] == ([warning] if warning else [])
    assert reason is None or reason in DETAILS


def test_an_inverted_picture_is_called_inverted_before_anything_else_it_is_not() -> None:
    findings = judge(replace(GOOD, inverted=-0.8, not_frontal=9.0, lung_fraction=0.0), ALL)
    reasons = [finding.reason for finding in findings if finding.reason]
    assert reasons == [Reason.INVERTED, Reason.NOT_FRONTAL_CHEST, Reason.NO_LUNGS]


def test_without_a_limit_a_check_is_not_made() -> None:
    spoilt = Measures(lung_fraction=0.3, contrast=0.0, distance=99.0, inverted=-1.0, not_frontal=99.0)
    assert [finding.check for finding in judge(spoilt, GateLimits(LIMITS))] == ["lung_fraction"]


def test_without_a_rule_what_it_measures_is_not_known() -> None:
    assert judge(replace(GOOD, inverted=None, not_frontal=None, distance=None), ALL) == judge(
        GOOD, replace(ALL, inverted=None, not_frontal=None, distance=None)
    )


def test_the_rule_judges_what_the_box_sees() -> None:
    """Weights on the lung's share alone: a picture all of lung is refused, one without is not."""
    weights = np.zeros(LENGTH, np.float32)
    weights[0] = 10
    rule = FrontalRule(weights, np.zeros_like(weights), np.ones_like(weights), -5.0, np.zeros((32, 32), np.float32))
    gate = Gate(GateLimits(Limits(), not_frontal=Limits(high=0.0)), rule, NONE)
    decoded = Decoded(source(1), ModelInput(np.zeros((1, SIDE, SIDE), np.float32), WHOLE, "digest"))
    prediction = scored(1).prediction
    assert prediction is not None
    for level, reason in ((0.0, None), (1.0, Reason.NOT_FRONTAL_CHEST)):
        findings = assess(decoded, replace(prediction, lung_mask=np.full((256, 256), level, np.float32)), gate)
        assert next(finding for finding in findings if finding.check == "not_frontal").reason is reason


def test_the_nearest_reference_case_counts() -> None:
    cases = np.zeros((3, 128), np.float32)
    cases[:, 0] = [3, 1, 2]
    assert nearest_distance(np.zeros(128, np.float32), cases) == 1
    assert nearest_distance(np.zeros(128, np.float32), NONE) is None


@pytest.mark.parametrize(
    ("lossy", "view", "warnings"),
    [
        (False, "AP", ()),
        (True, "PA", (Warn.LOSSY_SOURCE,)),
        (False, None, (Warn.NO_VIEW,)),
        (True, None, (Warn.LOSSY_SOURCE, Warn.NO_VIEW)),
    ],
)
def test_source_warnings(lossy: bool, view: str | None, warnings: tuple[Warn, ...]) -> None:
    assert source_warnings(replace(source(1), lossy=lossy, view_position=view)) == warnings


def test_who_is_told_of_an_inverted_picture_hears_that_it_may_stand_on_its_head() -> None:
    """A chest upside down is as unlike the mean chest as an inverted one; no photometric interpretation mends it."""
    rows = np.linspace(-1, 1, 32, dtype=np.float32)[:, None] * np.ones((1, 32), np.float32)
    assert likeness(rows[::-1], rows) == likeness(-rows, rows) == pytest.approx(-1)
    assert "on its head" in DETAILS[Reason.INVERTED]
