"""Which phantoms become golden cases: by their scores alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.golden import PLACES, mid_range


def test_they_lie_at_a_quarter_half_and_three_quarters_of_the_way() -> None:
    assert mid_range([0.5, 0.9, 0.1, 0.55, 0.28, 0.72]) == [4, 0, 5]
    assert mid_range([0.9, 0.1, 0.11, 0.12, 0.88]) == [3, 4, 0]  # none twice


@given(st.lists(st.floats(0, 1), min_size=3, max_size=30))
def test_there_are_always_three_none_twice_and_they_rise(scores: list[float]) -> None:
    low, middle, high = chosen = mid_range(scores)
    assert len({*chosen}) == len(PLACES)
    assert scores[low] <= scores[middle] <= scores[high]


@pytest.mark.parametrize("count", [3, 30])
def test_a_network_that_answers_alike_to_all_has_them_too(count: int) -> None:
    assert mid_range([0.5] * count) == [0, 1, 2]
