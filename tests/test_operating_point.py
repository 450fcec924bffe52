"""Operating points by each rule: worked out by hand, their laws, and how often an interval holds the truth."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.operating_point import operating_point, operating_point_interval, operating_points, youden_point

PROBABILITIES = st.floats(0, 1)
ROWS = st.lists(st.tuples(PROBABILITIES, st.booleans()), min_size=1, max_size=20)
BOTH_LABELS = ROWS.filter(lambda rows: len({positive for _, positive in rows}) == 2)
TARGETS = st.lists(st.integers(1, 100), min_size=2, max_size=2).map(sorted)


def test_youden_point_of_a_set_made_by_hand() -> None:
    """At 0.45: sensitivity 3/4, specificity 3/3, the greatest sum; the mean score, 0.5, would lose one of them."""
    scores = [0.1, 0.2, 0.4, 0.3, 0.5, 0.9, 0.95]
    assert youden_point(scores, [False, False, False, True, True, True, True]) == pytest.approx(0.45)


def test_youden_point_lies_between_separated_scores() -> None:
    assert 0.3 < youden_point([0.1, 0.3, 0.8, 0.9], [False, False, True, True]) < 0.8


def test_youden_point_needs_both_labels() -> None:
    with pytest.raises(ValueError, match="both labels; 2 of 2"):
        youden_point([0.1, 0.2], [True, True])


def test_operating_points_divide_even_neighbouring_numbers() -> None:
    low, high = 0.5, float(np.nextafter(0.5, 1))
    assert list(operating_points(np.array([high, low, low]))) == [low, high]
    assert list(operating_points(np.array([0.25, 0.75]))) == [0.25, 0.5]


def test_operating_points_by_each_rule() -> None:
    scores, positive = [0.1, 0.2, 0.35, 0.6, 0.7, 0.8, 0.95], [0, 1, 0, 1, 1, 1, 1]
    assert operating_point(scores, positive, "half") == 0.5
    assert operating_point(scores, positive, "youden") == youden_point(scores, positive)
    assert operating_point(scores, positive, "sensitivity=0.80") == pytest.approx((0.35 + 0.6) / 2)  # 4 of 5
    assert operating_point(scores, positive, "sensitivity=0.81") == pytest.approx((0.1 + 0.2) / 2)  # so all 5
    assert operating_point(scores, positive, "sensitivity=1") == pytest.approx((0.1 + 0.2) / 2)
    assert operating_point([0.4, 0.4], [1, 1], "sensitivity=0.5") == 0.4
    tenths = np.arange(1, 11) / 10
    assert operating_point(tenths, [True] * 10, "sensitivity=0.10") == pytest.approx(0.95)  # 1 - 0.9 is less than 0.1


@given(ROWS, st.sampled_from(["0.05", "0.5", "0.90", ".95", "1.0"]))
def test_a_target_sensitivity_is_reached_and_no_higher_point_does(rows: list[tuple[float, bool]], target: str) -> None:
    scores, positive = map(np.array, zip(*rows, strict=True))
    assume(positive.any())
    point = operating_point(scores, positive, f"sensitivity={target}")
    assert (scores[positive] >= point).mean() >= float(target) - 1e-9
    for higher in scores[scores > point]:
        found = (scores[positive] >= higher).mean()
        assert found < float(target) - 1e-9 or (scores >= higher).sum() == (scores >= point).sum()


@pytest.mark.parametrize("rule", ["", "Half", "specificity=0", "sensitivity=0", "sensitivity=1.5", "sensitivity=90"])
def test_another_rule_is_refused(rule: str) -> None:
    with pytest.raises(ValueError, match=r"use half, youden, sensitivity=0\.90 or specificity=0\.95"):
        operating_point([0.1, 0.9], [False, True], rule)


def test_rules_that_the_labels_do_not_allow() -> None:
    with pytest.raises(ValueError, match="both labels"):
        operating_point([0.1, 0.9], [False, False], "youden")
    with pytest.raises(ValueError, match="none among 2"):
        operating_point([0.1, 0.9], [False, False], "sensitivity=0.9")


@given(ROWS, st.sampled_from(["0.05", "0.5", "0.90", ".95", "1.0"]))
def test_a_target_specificity_is_reached_and_no_lower_point_does(rows: list[tuple[float, bool]], target: str) -> None:
    scores, positive = map(np.array, zip(*rows, strict=True))
    assume(not positive.all() and positive.any())
    try:
        point = operating_point(scores, positive, f"specificity={target}")
    except ValueError:  # every point that has it passes all the positives too
        assert (scores[~positive] >= scores[positive].max()).mean() > 1 - float(target) + 1e-9
        return
    assert (scores[~positive] < point).mean() >= float(target) - 1e-9
    assert (scores[positive] >= point).any()
    for lower in scores[scores < point]:
        assert (scores[~positive] < lower).mean() < float(target) - 1e-9


def test_a_specificity_that_only_a_point_without_positives_has() -> None:
    scores, positive = [0.2, 0.8, 0.9], [False, True, False]
    assert operating_point(scores, positive, "specificity=0.5") == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"no point has the specificity=0\.9 and finds a positive"):
        operating_point(scores, positive, "specificity=0.9")


@given(BOTH_LABELS, TARGETS)
def test_the_point_falls_with_the_target_sensitivity_and_rises_with_the_specificity(
    rows: list[tuple[float, bool]], targets: list[int]
) -> None:
    scores, positive = map(np.array, zip(*rows, strict=True))
    less, more = (f"={target / 100:.2f}" for target in targets)
    assert operating_point(scores, positive, "sensitivity" + less) >= operating_point(
        scores, positive, "sensitivity" + more
    )
    try:
        high = operating_point(scores, positive, "specificity" + more)
    except ValueError:
        return
    assert operating_point(scores, positive, "specificity" + less) <= high


@given(BOTH_LABELS, st.sampled_from(["youden", "sensitivity=0.90", "specificity=0.50"]))
def test_no_score_lies_between_the_point_and_its_neighbours(rows: list[tuple[float, bool]], rule: str) -> None:
    scores, positive = map(np.array, zip(*rows, strict=True))
    try:
        point = operating_point(scores, positive, rule)
    except ValueError:
        return
    assert point in operating_points(scores)
    order = np.random.default_rng(0).permutation(len(scores))
    assert operating_point(scores[order], positive[order], rule) == point


def test_an_interval_redraws_patients_and_holds_the_point() -> None:
    """Two patients, and each redraw of both or of one alone; who is drawn alone has one label, and tells no point."""
    moved = operating_point_interval([0.2, 0.4, 0.6, 0.8], [0, 0, 1, 1], list("aabb"), "youden")
    assert (moved.low, moved.value, moved.high) == (0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="half has no interval"):
        operating_point_interval([0.2, 0.8], [0, 1], list("ab"), "half")


def redrawn_sites(count: int, patients: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Sites whose negatives score evenly over 0..1, and whose positives are the greater of two such scores."""
    random = np.random.default_rng(0)
    for _ in range(count):
        positive = np.arange(patients) % 2 == 0
        yield np.where(positive, random.random((2, patients)).max(axis=0), random.random(patients)), positive


def test_the_interval_of_a_point_holds_the_true_one_about_as_often_as_it_says() -> None:
    """Nine in ten positives score above the root of 0.1; 95 of 100 intervals hold it, within what 40 sites can tell."""
    held = 0
    for scores, positive in redrawn_sites(40, 200):
        moved = operating_point_interval(scores, positive, np.arange(200), "sensitivity=0.90")
        held += moved.low <= np.sqrt(0.1) <= moved.high
    assert 34 <= held <= 40
