"""Spreads: percentiles of known times, and an interval that holds the true median as often as it says."""

import numpy as np
import pytest

from benchmarks.spread import interval_rank, spread_of


def test_a_spread_of_known_times() -> None:
    spread = spread_of([number / 100 for number in range(100, 0, -1)])
    assert (spread.count, spread.min_s, spread.max_s) == (100, 0.01, 1.0)
    assert spread.mean_s == pytest.approx(0.505)
    assert spread.median_s == pytest.approx(0.505)
    assert spread.p99_s == pytest.approx(0.9901)
    assert spread.median_s < spread.p90_s < spread.p95_s < spread.p99_s < spread.max_s
    # Tables of the sign test: of 100 values the 40th and the 61st.
    assert spread.median_half_width == pytest.approx((0.61 - 0.40) / 2 / 0.505)


@pytest.mark.parametrize(
    ("count", "rank"), [(1, 0), (5, 0), (6, 1), (9, 2), (20, 6), (50, 18), (100, 40), (5000, 2431)]
)
def test_ranks_are_those_of_the_sign_test(count: int, rank: int) -> None:
    assert interval_rank(count) == rank


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.exponential(size=(4000, 25)), axis=1)
    rank = interval_rank(25)
    held = (drawn[:, rank - 1] <= np.log(2)) & (np.log(2) <= drawn[:, -rank])
    assert 0.945 <= held.mean() <= 0.985  # at least 95 % by its making; the next rank has less


def test_too_few_runs_tell_nothing_of_the_median() -> None:
    assert spread_of([1.0, 2.0, 3.0, 4.0, 5.0]).median_half_width is None
    assert spread_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).median_half_width == pytest.approx(2.5 / 3.5)
