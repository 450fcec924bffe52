"""The measure of drift: what a distance is, and what a bundle may say of a reference."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.reference_levels import Levels, levels_from_json

seeds = st.integers(0, 2**32 - 1)


def spread(seed: int) -> list[float]:
    """Some hundred values, many of them equal."""
    rng = np.random.default_rng(seed)
    values = rng.normal(rng.normal(), rng.exponential(), size=rng.integers(100, 300))
    return np.round(values, int(rng.integers(0, 4))).tolist()


def test_a_distance_by_hand() -> None:
    levels = Levels((1.0, 2.0), (0.5, 0.25, 0.25), 100)
    assert levels.distance([0.0, 0.0, 1.5, 3.0]) == 0
    assert levels.distance([2.0, 2.0, 3.0, 9.0]) == pytest.approx(0.75)  # an edge belongs to the class above it
    assert levels.distance([0.0, 1.5, 1.0, 1.9]) == pytest.approx(0.25)


@given(seed=seeds, other=seeds)
def test_the_reference_is_at_no_distance_from_itself_and_nothing_is_further_than_one(seed: int, other: int) -> None:
    levels = Levels.of(spread(seed))
    assert levels.distance(spread(seed)) == pytest.approx(0, abs=1e-9)
    assert 0 <= levels.distance(spread(other)) <= 1 + 1e-9


@given(seed=seeds, other=seeds)
def test_a_mixture_lies_as_far_as_its_share(seed: int, other: int) -> None:
    """Of the reference's own values and as many others: half as far as the others alone."""
    values, others = spread(seed), spread(other)
    levels = Levels.of(values)
    mixed = values * len(others) + others * len(values)
    assert levels.distance(mixed) == pytest.approx(levels.distance(others) / 2)


def test_tenths_are_of_equal_size() -> None:
    levels = Levels.of(np.random.default_rng(0).permutation(1000).tolist())
    assert levels.shares == pytest.approx([0.1] * 10)
    assert levels.count == 1000


def test_kinds_have_their_own_classes_also_where_one_never_came() -> None:
    levels = Levels.of([0.0] * 200, (0.5,))
    assert levels.shares == (1.0, 0.0)
    assert levels.distance([0.0, 1.0]) == 0.5


def test_a_limit_is_lower_the_more_radiographs_there_are() -> None:
    small, large = Levels((0.5,), (0.5, 0.5), 100), Levels((0.5,), (0.5, 0.5), 10_000)
    assert small.limit(50) > small.limit(200) > large.limit(200) > 0.07


def test_levels_survive_json() -> None:
    levels = Levels.of(np.random.default_rng(0).normal(size=500).tolist())
    assert levels_from_json(levels.to_json()) == levels


@pytest.mark.parametrize(
    "change",
    [
        {"edges": []},
        {"edges": [2.0, 1.0]},
        {"edges": [1.0, 1.0]},
        {"edges": [1.0, float("nan")]},
        {"edges": ["1.0", 2.0]},
        {"shares": [0.5, 0.5]},
        {"shares": [0.5, 0.25, 0.5]},
        {"shares": [1.5, -0.25, -0.25]},
        {"count": 99},
        {"count": 500.0},
        {"count": True},
    ],
)
def test_what_is_no_reference_is_refused(change: dict[str, Any]) -> None:
    told = {"edges": [1.0, 2.0], "shares": [0.5, 0.25, 0.25], "count": 500}
    assert levels_from_json(told)
    with pytest.raises((ValueError, TypeError)):
        levels_from_json({**told, **change})


def test_what_lacks_a_part_is_refused() -> None:
    with pytest.raises(KeyError):
        levels_from_json({"edges": [1.0], "shares": [0.5, 0.5]})
