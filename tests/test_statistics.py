"""Figures against values known from elsewhere."""

from itertools import islice
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from edge.statistics import (
    Proportion,
    Ranking,
    auc,
    auc_interval,
    bootstrap_interval,
    finite,
    precision_interval,
    redraws,
    same_length,
)

# Few levels, so that ties are the rule.
SCORED = st.lists(st.tuples(st.integers(0, 6).map(lambda level: level / 6), st.booleans()), min_size=2, max_size=30)
BOTH_LABELS = SCORED.filter(lambda rows: len({positive for _, positive in rows}) == 2)


def test_auc_agrees_with_scikit_learn_ties_included() -> None:
    random = np.random.default_rng(0)
    positive = random.random(200) < 0.4
    scores = np.round(random.random(200) + 0.3 * positive, 1)
    assert auc(list(scores), list(positive)) == pytest.approx(roc_auc_score(positive, scores))


def test_auc_needs_both_labels() -> None:
    with pytest.raises(ValueError, match="both labels"):
        auc([0.1, 0.2], [True, True])


def test_the_interval_widens_when_radiographs_share_patients() -> None:
    random = np.random.default_rng(1)
    positive = np.repeat(np.arange(40) % 2 == 1, 5)
    scores = np.repeat(random.random(40), 5) + 0.3 * positive
    apart = auc_interval(list(scores), list(positive), [str(row) for row in range(200)])
    together = auc_interval(list(scores), list(positive), [str(row // 5) for row in range(200)])
    assert apart.value == together.value
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert together.low < together.value < together.high


def test_wilson_interval_as_published() -> None:
    """81 of 263: 0.2553 to 0.3662 (Newcombe 1998, table I, method 3)."""
    interval = Proportion(81, 263).interval
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


@given(st.integers(1, 10_000))
def test_a_share_of_none_and_of_all_stays_within_bounds(total: int) -> None:
    """And its interval ends there; none of 7 had the low end -0.000."""
    none, every = Proportion(0, total).interval, Proportion(total, total).interval
    assert (none.low, every.high) == pytest.approx((0, 1))
    assert 0 <= none.low <= none.value < none.high < 1
    assert 0 < every.low < every.value <= every.high <= 1


@given(BOTH_LABELS, st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_areas_of_a_redraw_are_those_of_the_repeated_radiographs(
    rows: list[tuple[float, bool]], drawn: list[int]
) -> None:
    """scikit-learn counts a radiograph drawn three times as three."""
    scores, positive = map(np.array, zip(*rows, strict=True))
    times = np.array(drawn[: len(rows)])
    ranking = Ranking.of(scores, positive)
    kept_scores, kept_flags = np.repeat(scores, times), np.repeat(positive, times)
    if len(set(kept_flags)) < 2:
        assert ranking.roc_area(times) is None
        assert ranking.average_precision(times) is None
    else:
        assert ranking.roc_area(times) == pytest.approx(roc_auc_score(kept_flags, kept_scores))
        assert ranking.average_precision(times) == pytest.approx(average_precision_score(kept_flags, kept_scores))


@settings(max_examples=8)
@given(BOTH_LABELS, st.randoms(use_true_random=False))
def test_intervals_do_not_depend_on_the_order_of_radiographs(rows: list[tuple[float, bool]], random: Random) -> None:
    clustered = [(score, positive, f"p{number // 2}") for number, (score, positive) in enumerate(rows)]
    shuffled = random.sample(clustered, len(clustered))
    for interval in (auc_interval, precision_interval):
        one, other = (interval(*zip(*order, strict=True)) for order in (clustered, shuffled))
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_a_redraw_takes_whole_clusters() -> None:
    clusters = ["a", "b", "a", "c", "b", "a"]
    drawn = list(islice(redraws(clusters, seed=0), 50))
    for times in drawn:
        assert times[0] == times[2] == times[5] and times[1] == times[4]
        assert times[0] + times[1] + times[3] == 3  # as many clusters as there are
    assert len({tuple(times) for times in drawn}) > 5


def test_bootstrap_of_a_mean_has_its_known_spread() -> None:
    """The mean of 400 draws of standard deviation 1 lies within 1.96 / 20 of the truth in 95% of samples."""
    values = np.random.default_rng(0).normal(size=400)
    values = (values - values.mean()) / values.std()
    interval = bootstrap_interval(lambda times: float(np.average(values, weights=times)), np.arange(400))
    assert interval.value == pytest.approx(0, abs=1e-12)
    assert (interval.low, interval.high) == pytest.approx((-0.098, 0.098), abs=0.01)


def test_a_redraw_without_an_answer_is_left_out() -> None:
    """Where `a` is not drawn there is no figure; where it is, it is 1 or 2."""
    interval = bootstrap_interval(lambda times: float(times[0]) or None, ["a", "b"])
    assert (interval.low, interval.high) == (1, 2)
    with pytest.raises(ValueError, match="cannot be told of these 2"):
        bootstrap_interval(lambda times: None, ["a", "b"])


def test_numbers_that_are_none_are_named() -> None:
    with pytest.raises(ValueError, match="scores has nan at row 1"):
        auc([0.1, float("nan")], [True, False])
    with pytest.raises(ValueError, match="embeddings has inf at row 2"):
        finite("embeddings", [[0, 1], [2, 3], [4, float("inf")]])
    with pytest.raises(ValueError, match="scores 2, clusters 3"):
        same_length(scores=[1, 2], clusters=["a", "b", "c"])
    with pytest.raises(ValueError, match="labels true or false"):
        auc([0.1, 0.2], [1, 2])
