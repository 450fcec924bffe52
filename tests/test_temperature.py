"""A temperature is a number of its range, and nothing else."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.temperature import apply_temperature, require_temperature, rescaled

temperatures = st.floats(0.05, 20)


@pytest.mark.parametrize("temperature", [float("nan"), float("inf"), 0.0, -1.0, 0.049, 20.1])
def test_what_is_outside_the_range_or_no_number_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"must be within 0\.05 and 20\.0; it is"):
        require_temperature(temperature)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_the_range_itself_is_not(temperature: float) -> None:
    assert require_temperature(temperature) == temperature


@given(st.floats(0.001, 0.999), temperatures, temperatures)
def test_a_score_is_rescaled_as_if_it_had_been_scaled_otherwise(score: float, of: float, to: float) -> None:
    shown, wanted = float(apply_temperature(score, of)), float(apply_temperature(score, to))
    assert rescaled(score, of=None, to=None) == score == rescaled(score, of=of, to=of)
    assert rescaled(score, of=None, to=to) == pytest.approx(wanted)
    assume(1e-9 < shown < 1 - 1e-9)  # nearer to 0 or 1 nothing is left to tell it by
    assert rescaled(shown, of=of, to=to) == pytest.approx(wanted, abs=1e-4)
