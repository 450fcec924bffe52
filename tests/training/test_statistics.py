"""Figures against values known from elsewhere."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from training.statistics import Proportion, auc, auc_interval, youden_point


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


def test_youden_point_of_a_set_made_by_hand() -> None:
    """At 0.45: sensitivity 3/4, specificity 3/3, the greatest sum; the mean score, 0.5, would lose one of them."""
    scores = [0.1, 0.2, 0.4, 0.3, 0.5, 0.9, 0.95]
    assert youden_point(scores, [False, False, False, True, True, True, True]) == pytest.approx(0.45)


def test_youden_point_lies_between_separated_scores() -> None:
    assert 0.3 < youden_point([0.1, 0.3, 0.8, 0.9], [False, False, True, True]) < 0.8
