"""A temperature is a number of its range, and nothing else."""

import pytest

from edge.temperature import require_temperature


@pytest.mark.parametrize("temperature", [float("nan"), float("inf"), 0.0, -1.0, 0.049, 20.1])
def test_what_is_outside_the_range_or_no_number_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"must be within 0\.05 and 20\.0; it is"):
        require_temperature(temperature)


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_the_range_itself_is_not(temperature: float) -> None:
    assert require_temperature(temperature) == temperature
