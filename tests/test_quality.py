"""Gates: pure functions with limits from the bundle."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import scored, source

from edge.bundle import LungLimits
from edge.quality import DETAILS, assess, check_age, check_lungs, lung_fraction, source_warnings
from edge.values import Crop, Decoded, ModelInput, Reason, Warn

SIDE = 1024
WHOLE = Crop(0, 0, 100, 100, 0, 0, SIDE, SIDE)
LIMITS = LungLimits(low=0.1, high=0.6, margin=0.05)
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
    finding = check_lungs(fraction, LIMITS)
    assert (finding.reason, finding.warning) == (reason, warning)


def test_minors_are_outside_the_intended_use() -> None:
    assert check_age(replace(source(1), minor=True)).reason is Reason.OUTSIDE_INTENDED_USE
    assert check_age(source(1)).reason is None


def test_what_the_picture_is_counts_before_whom_it_is_for() -> None:
    model_input = ModelInput(np.zeros((1, SIDE, SIDE), np.float32), WHOLE, "digest")
    decoded = Decoded(replace(source(1), minor=True), model_input)
    prediction = scored(1).prediction
    assert prediction is not None
    findings = assess(decoded, replace(prediction, lung_mask=np.zeros((256, 256), np.float32)), LIMITS)
    assert [finding.reason for finding in findings] == [Reason.NO_LUNGS, Reason.OUTSIDE_INTENDED_USE]
    assert all(finding.reason in DETAILS for finding in findings)


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
