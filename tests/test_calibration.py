"""Calibration worked out by hand, against scikit-learn, and its laws."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from edge.calibration import Proof, fit_scaling, fit_temperature, proven_scaling, reliability, scaled_by_others
from edge.statistics import auc
from edge.temperature import TEMPERATURES, apply_temperature

PROBABILITIES = st.floats(0, 1)
ROWS = st.lists(st.tuples(PROBABILITIES, st.booleans()), min_size=1, max_size=20)
THOUSANDTHS = st.lists(st.integers(1, 999).map(lambda number: number / 1000), min_size=2, max_size=20)


def test_a_diagram_worked_out_by_hand() -> None:
    diagram = reliability([0.1, 0.3, 0.5, 0.9, 1.0], [0, 1, 0, 1, 1], list("abcde"), bins=2)
    assert diagram.counts.tolist() == [2, 3]  # 0.5 is of the upper bin, and 1 too
    assert diagram.confidence == pytest.approx([0.2, 0.8])
    assert diagram.observed == pytest.approx([0.5, 2 / 3])
    assert diagram.ece.value == pytest.approx(2 / 5 * 0.3 + 3 / 5 * (0.8 - 2 / 3))


def test_empty_bins_have_no_number() -> None:
    diagram = reliability([0.05, 0.95], [False, True], ["a", "b"])
    assert diagram.counts.tolist() == [1, *[0] * 8, 1]
    assert np.isnan(diagram.confidence[1:9]).all() and np.isnan(diagram.observed[1:9]).all()
    assert diagram.observed[[0, 9]].tolist() == [0, 1]


def test_error_of_certain_scores() -> None:
    """Certain and right: no error. Certain and wrong: 1, which chance would never give."""
    right, wrong = (reliability([0, 1, 1], flags, list("abc")) for flags in ([0, 1, 1], [1, 0, 0]))
    assert (right.ece.value, right.ece.low, right.ece.high) == (0, 0, 0)
    assert (wrong.ece.value, wrong.ece.low, wrong.ece.high) == (1, 1, 1)
    assert right.by_chance == wrong.by_chance == 0


def test_few_radiographs_alone_make_an_error() -> None:
    """One score of 0.3: the error is 0.3 in 7 of 10 draws and 0.7 in 3, so 0.42 by chance."""
    assert reliability([0.3], [False], ["a"]).by_chance == pytest.approx(0.42, abs=0.02)
    random = np.random.default_rng(0)
    scores = random.random(4000)
    calibrated = reliability(scores, random.random(4000) < scores, np.arange(4000))
    assert calibrated.ece.value < 0.03 and calibrated.by_chance < 0.03


def test_the_interval_redraws_clusters() -> None:
    """Five patients, each right or wrong as a whole. A redraw's error is the share of the wrong one's radiographs."""
    scores, positive = [1.0] * 10, [True] * 8 + [False] * 2
    diagram = reliability(scores, positive, np.repeat(list("abcde"), 2))
    assert diagram.ece.value == pytest.approx(0.2)
    assert (diagram.ece.low, diagram.ece.high) == pytest.approx((0, 0.6))


def test_the_interval_holds_a_value_that_redrawing_only_makes_larger() -> None:
    """Scores that are right to the last radiograph: any redraw is further off."""
    scores, positive = np.repeat([0.25, 0.5, 0.75], 4), [1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0]
    ece = reliability(scores, positive, np.arange(12)).ece
    assert (ece.value, ece.low) == (0, 0)
    assert ece.high > 0.1


def test_error_is_a_mean_over_the_radiographs_of_a_redraw() -> None:
    """Always wrong is an error of 1 however many radiographs the drawn patients have."""
    diagram = reliability([0.0] * 10, [True] * 10, ["a", *["b"] * 9])
    assert (diagram.ece.low, diagram.ece.high) == (1, 1)


@settings(max_examples=25)
@given(ROWS, st.integers(1, 12))
def test_laws_of_the_diagram(rows: list[tuple[float, bool]], bins: int) -> None:
    scores, positive = map(np.array, zip(*rows, strict=True))
    diagram = reliability(scores, positive, np.arange(len(rows)) // 2, bins=bins)
    assert -1e-9 <= diagram.ece.low <= diagram.ece.value <= diagram.ece.high <= 1 + 1e-9
    assert diagram.counts.sum() == len(rows)
    filled = diagram.counts > 0
    assert diagram.observed[filled] @ diagram.counts[filled] == pytest.approx(positive.sum())
    edges = np.linspace(0, 1, bins + 1)
    assert (diagram.confidence[filled] >= edges[:-1][filled] - 1e-9).all()
    assert (diagram.confidence[filled] <= edges[1:][filled] + 1e-9).all()


def test_what_has_no_diagram_is_refused() -> None:
    with pytest.raises(ValueError, match=r"probabilities in 0..1; they reach -0.5 to 1.5"):
        reliability([-0.5, 1.5], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="there are 0 and 10"):
        reliability([], [], [])
    with pytest.raises(ValueError, match="scores has nan at row 0"):
        reliability([float("nan")], [True], ["a"])


def test_temperature_is_the_one_coefficient_of_a_logistic_regression() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, 200)
    positive = random.random(200) < 1 / (1 + np.exp(-logits / 3))  # overconfident threefold
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=1000)
    expected = 1 / regression.fit(logits[:, None], positive).coef_[0, 0]
    assert fit_temperature(1 / (1 + np.exp(-logits)), positive) == pytest.approx(expected, rel=1e-4)
    assert expected > 2


def test_temperature_worked_out_by_hand() -> None:
    """A score of 0.9 that is right in 3 of 4 must become 0.75: T = ln 9 / ln 3 = 2."""
    assert fit_temperature([0.9] * 4, [1, 1, 1, 0]) == pytest.approx(2)
    assert apply_temperature([0.9], 2)[0] == pytest.approx(0.75)
    certain = fit_temperature(
        [0, 1, *[0.9] * 4], [0, 1, 1, 1, 1, 0]
    )  # right at any temperature: they tell little of it
    assert certain == pytest.approx(2, abs=0.05)


def drawn(count: int, *, overconfident: float | np.ndarray, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores mostly near 0 and 1, labels drawn from the logits divided by `overconfident`, and a patient each."""
    random = np.random.default_rng(seed)
    logits = random.choice([-9.0, 9.0], count) + random.normal(0, 0.5, count)
    positive = random.random(count) < 1 / (1 + np.exp(-logits / overconfident))
    return 1 / (1 + np.exp(-logits)), positive, np.arange(count)


def test_a_temperature_is_proven_by_many_radiographs_it_was_not_fitted_on() -> None:
    scores, positive, patients = drawn(3000, overconfident=3)
    scaling = proven_scaling(scores, positive, patients)
    assert scaling is not None and scaling.held_out is not None and scaling.proof is not None
    assert scaling.temperature == pytest.approx(3, rel=0.15)
    assert (scaling.proof.radiographs, scaling.proof.ece_high) == (
        3000,
        pytest.approx(scaling.held_out.ece.high, abs=1e-6),
    )
    # One patient in all: nothing is left that the temperature was not fitted on.
    assert proven_scaling(scores, positive, np.zeros(3000)) is None


def test_no_temperature_without_proof() -> None:
    scores, positive, patients = drawn(3000, overconfident=3)
    assert proven_scaling(scores[:299], positive[:299], patients[:299]) is None  # too few
    assert proven_scaling(scores, np.ones(3000, bool), patients) is None  # one label
    assert proven_scaling(scores, scores > 0.5, patients) is None  # separated: any small temperature would do
    wrong = np.where(scores > 0.5, np.arange(3000) % 2 == 0, positive)  # half of what it is sure of is not so
    assert proven_scaling(scores, wrong, patients) is None


def test_a_temperature_is_judged_by_patients_that_it_was_not_fitted_on() -> None:
    """Of two groups one is far more overconfident: each alone proves a temperature, and each is a half."""
    scores, positive, patients = drawn(6000, overconfident=np.tile([2.0, 5.0], 3000))
    groups, halves = patients % 2, (patients % 2 == 0, patients % 2 == 1)
    scaled = scaled_by_others(scores, positive, groups)
    assert scaled is not None
    for own, other in (halves, halves[::-1]):
        assert proven_scaling(scores[own], positive[own], patients[own]) is not None
        assert (scaled[own] == apply_temperature(scores[own], fit_temperature(scores[other], positive[other]))).all()
    assert proven_scaling(scores, positive, groups) is None


def test_cases_and_controls_that_are_listed_in_turn_are_halved_as_any_others() -> None:
    """Every other name is a positive's, as in a study of matched pairs."""
    scores, positive, _ = drawn(4000, overconfident=3)
    most = min(positive.sum(), (~positive).sum())
    pairs = np.stack([np.flatnonzero(positive)[:most], np.flatnonzero(~positive)[:most]], axis=1).ravel()
    names = [f"P{place:05d}" for place in range(2 * most)]
    assert fit_scaling(scores[pairs], positive[pairs], names).hindrance is None


@pytest.mark.parametrize(("count", "proven"), [(4000, pytest.approx(1)), (400, None)])
def test_the_error_is_at_most_that_by_its_upper_bound(count: int, proven: float | None) -> None:
    """Scores of 0.9 and 0.1, of which one in ten is wrong in either half: no error, but few leave room for one."""
    place = np.arange(count)
    scores = np.where(place % 4 < 2, 0.9, 0.1)
    positive = (scores > 0.5) != (place % 40 < 4)
    assert reliability(scores, positive, place).ece.value == pytest.approx(0)
    scaling = proven_scaling(scores, positive, place)
    assert (scaling and scaling.temperature) == proven


@pytest.mark.parametrize("told", [(299, 0.01, 0.02), (300, 0.01, 0.031), (300, 0.02, 0.01), (300, -0.1, 0.01)])
def test_a_proof_is_of_enough_radiographs_and_of_a_small_error(told: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="at least 300 radiographs"):
        Proof(*told)
    Proof(300, 0.01, 0.03)


def test_temperature_stays_within_its_bounds() -> None:
    assert fit_temperature([0.2, 0.8], [False, True]) == pytest.approx(TEMPERATURES[0])
    assert fit_temperature([0.2, 0.8], [True, False]) == pytest.approx(TEMPERATURES[1])
    assert fit_temperature([0, 1], [True, False]) == pytest.approx(TEMPERATURES[1])
    assert fit_temperature([0.5, 0.5, 0.5], [True, False, False]) == 1
    with pytest.raises(ValueError, match="both labels"):
        fit_temperature([0.2, 0.8], [True, True])


@given(THOUSANDTHS, st.floats(0.2, 20), st.data())
def test_temperature_keeps_the_order_and_the_area(scores: list[float], temperature: float, data: st.DataObject) -> None:
    cooled = apply_temperature(scores, temperature)
    assert np.array_equal(np.unique(scores, return_inverse=True)[1], np.unique(cooled, return_inverse=True)[1])
    positive = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    assume(len(set(positive)) == 2)
    assert auc(cooled, positive) == auc(scores, positive)


@given(PROBABILITIES, st.floats(*TEMPERATURES))
def test_temperature_has_an_inverse(score: float, temperature: float) -> None:
    cooled = float(apply_temperature([score], temperature)[0])
    assert 0 <= cooled <= 1
    assert float(apply_temperature([score], 1)[0]) == pytest.approx(score)
    if 1e-6 < cooled < 1 - 1e-6:
        assert float(apply_temperature([cooled], 1 / temperature)[0]) == pytest.approx(score)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_no_such_temperature(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"temperature must be within 0\.05 and 20"):
        apply_temperature([0.5], temperature)
