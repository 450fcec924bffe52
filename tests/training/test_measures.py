"""Figures of a test set, worked out by hand, as published in the paper, or against scikit-learn."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix, recall_score, roc_auc_score
from sklearn.metrics import auc as trapezoid

from edge.statistics import Proportion, auc_interval, redraws
from training.measures import Samples, bootstrap, confusion, measure, pooled, precision_recall_points, roc_points

SCORES = [0.9, 0.5, 0.3, 0.4, 0.1]
POSITIVE = [True, True, True, False, False]
CLUSTERS = ["a", "b", "c", "d", "e"]
ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 8)), min_size=1, max_size=25)


def test_a_set_worked_out_by_hand() -> None:
    measures = measure(SCORES, POSITIVE, CLUSTERS)
    assert measures.accuracy == Proportion(4, 5)
    assert measures.sensitivity == Proportion(2, 3)  # 0.5 is at the point, and so positive
    assert measures.specificity == Proportion(2, 2)
    assert measures.roc_auc is not None and measures.pr_auc is not None
    assert measures.roc_auc == auc_interval(SCORES, POSITIVE, CLUSTERS)
    assert measures.pr_auc.value == pytest.approx((1 + 1 + 3 / 4) / 3)  # precision at each positive found
    assert measures.pr_auc.low < measures.pr_auc.value <= measures.pr_auc.high
    assert measures.point == 0.5


def test_the_point_decides() -> None:
    measures = measure(SCORES, POSITIVE, CLUSTERS, point=0.2)
    assert (measures.sensitivity, measures.specificity, measures.point) == (Proportion(3, 3), Proportion(1, 2), 0.2)


def test_what_the_labels_do_not_allow_is_none() -> None:
    positives, negatives = measure([0.9, 0.2], [True, True], ["a", "b"]), measure([0.9], [False], ["a"])
    assert (positives.accuracy, positives.sensitivity, positives.specificity) == (
        Proportion(1, 2),
        Proportion(1, 2),
        None,
    )
    assert (negatives.sensitivity, negatives.specificity) == (None, Proportion(0, 1))
    assert positives.roc_auc is positives.pr_auc is negatives.roc_auc is negatives.pr_auc is None
    assert measure([], [], []).accuracy is None


def test_constant_scores_know_nothing() -> None:
    measures = measure([0.5] * 4, [True, False, False, False], CLUSTERS[:4])
    assert measures.roc_auc is not None and measures.pr_auc is not None
    assert measures.roc_auc.value == 0.5
    assert measures.pr_auc.value == 0.25  # the share of positives


@settings(max_examples=25)
@given(ROWS, st.floats(0, 1))
def test_counts_agree_with_scikit_learn(rows: list[tuple[float, bool, int]], point: float) -> None:
    scores, positive, clusters = map(np.array, zip(*rows, strict=True))
    counted = confusion(scores, positive, point)
    assert np.array_equal(counted, confusion_matrix(positive, scores >= point, labels=[False, True]))
    measures = measure(scores, positive, clusters, point=point)
    assert measures.accuracy == Proportion(int(np.trace(counted)), len(rows))
    if positive.any():
        assert measures.sensitivity == Proportion(counted[1, 1], counted[1].sum())
    if not positive.all():
        assert measures.specificity == Proportion(counted[0, 0], counted[0].sum())


def test_the_papers_confusion() -> None:
    """Table 2, ensemble: 163 of 180 and 154 of 171 make the 317 of 351 of its accuracy."""
    scores = np.repeat([0.9, 0.1, 0.9, 0.1], [163, 17, 17, 154])
    positive = np.repeat([True, False], [180, 171])
    assert confusion(scores, positive, 0.5).tolist() == [[154, 17], [17, 163]]
    assert measure(scores, positive, np.arange(351)).accuracy == Proportion(317, 351)


def test_bootstrap_samples_of_a_set_of_two_patients() -> None:
    """Both labels are there only when each patient is drawn once: every sample is the set itself."""
    samples = bootstrap([0.9, 0.2, 0.7], [True, True, False], ["a", "a", "b"], samples=20)
    assert len(samples.accuracy) == 20
    assert np.allclose(samples.accuracy, 1 / 3)
    assert np.allclose(samples.sensitivity, 1 / 2)
    assert np.allclose(samples.specificity, 0)
    assert np.allclose(samples.roc_auc, 1 / 2)


def test_bootstrap_samples_spread_around_the_set() -> None:
    random = np.random.default_rng(2)
    positive = random.random(300) < 0.5
    scores = np.clip(0.35 + 0.3 * positive + random.normal(0, 0.2, 300), 0, 1)
    samples = bootstrap(scores, positive, np.arange(300), point=0.6, samples=400)
    counted = confusion(scores, positive, 0.6)
    sensitivity = counted[1, 1] / counted[1].sum()
    assert samples.sensitivity.mean() == pytest.approx(sensitivity, abs=0.01)
    assert samples.specificity.mean() == pytest.approx(counted[0, 0] / counted[0].sum(), abs=0.01)
    assert samples.accuracy.mean() == pytest.approx(np.trace(counted) / 300, abs=0.01)
    assert samples.roc_auc.mean() == pytest.approx(roc_auc_score(positive, scores), abs=0.01)
    binomial = np.sqrt(sensitivity * (1 - sensitivity) / positive.sum())
    assert samples.sensitivity.std() == pytest.approx(binomial, rel=0.2)


def test_each_sample_is_measured_as_scikit_learn_measures_its_radiographs() -> None:
    """Patients with one to four radiographs, so that samples differ in size."""
    random = np.random.default_rng(6)
    clusters = np.repeat(np.arange(12), random.integers(1, 5, 12))
    positive = clusters % 2 == 0
    scores = np.round(random.random(len(clusters)), 1)
    samples = bootstrap(scores, positive, clusters, samples=15, seed=8)
    for sample, times in enumerate(islice(redraws(clusters, seed=8), 15)):  # with 12 patients none lacks a label
        flags, drawn = np.repeat(positive, times), np.repeat(scores, times)
        assert samples.accuracy[sample] == pytest.approx(accuracy_score(flags, drawn >= 0.5))
        assert samples.sensitivity[sample] == pytest.approx(recall_score(flags, drawn >= 0.5))
        assert samples.specificity[sample] == pytest.approx(recall_score(~flags, drawn < 0.5))
        assert samples.roc_auc[sample] == pytest.approx(roc_auc_score(flags, drawn))


def test_the_seed_decides_the_samples() -> None:
    drawn = [bootstrap(SCORES, POSITIVE, CLUSTERS, seed=seed).accuracy.tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 100


def test_bootstrap_needs_both_labels() -> None:
    with pytest.raises(ValueError, match="both labels"):
        bootstrap([0.1, 0.2], [False, False], ["a", "b"])
    with pytest.raises(ValueError, match="samples must be 1 or more"):
        bootstrap(SCORES, POSITIVE, CLUSTERS, samples=0)


def test_pooled_over_divisions() -> None:
    """0 to 100 in two parts: the median is 50, the percentiles 2.5 and 97.5."""
    steps = np.arange(101.0)
    parts = [Samples(part, part + 1, part + 2, part + 3) for part in (steps[:30], steps[30:])]
    intervals = pooled(parts)
    assert list(intervals) == ["accuracy", "sensitivity", "specificity", "roc_auc"]
    for shift, interval in enumerate(intervals.values()):
        assert (interval.value, interval.low, interval.high) == (50 + shift, 2.5 + shift, 97.5 + shift)
    with pytest.raises(ValueError, match="no bootstrap samples"):
        pooled([])


def test_curves_lie_over_their_areas() -> None:
    random = np.random.default_rng(3)
    positive = random.random(80) < 0.4
    scores = np.round(random.random(80) + 0.4 * positive, 1)
    false_positive_rate, true_positive_rate = roc_points(scores, positive)
    assert trapezoid(false_positive_rate, true_positive_rate) == pytest.approx(roc_auc_score(positive, scores))
    recall, precision = precision_recall_points(scores, positive)
    assert (recall[0], recall[-1], precision[0]) == (0, 1, 1)
    steps = float(np.diff(recall) @ precision[1:])
    assert steps == pytest.approx(average_precision_score(positive, scores))


@pytest.mark.parametrize("curve", [roc_points, precision_recall_points])
def test_curves_need_both_labels(curve) -> None:
    with pytest.raises(ValueError, match="both labels"):
        curve([0.2, 0.3], [True, True])


def test_faulty_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="scores has nan at row 0"):
        measure([float("nan"), 0.2], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="point has nan"):
        measure(SCORES, POSITIVE, CLUSTERS, point=float("nan"))
    with pytest.raises(ValueError, match="scores 5, clusters 2"):
        measure(SCORES, POSITIVE, ["a", "b"])
