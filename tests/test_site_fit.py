"""What is found on a site's scores: exact where it can be known, true as often as it says."""

from dataclasses import replace

import numpy as np
import pytest

from edge.errors import UsageError
from edge.operating_point import operating_point
from edge.recalibration import series_of
from edge.site_fit import LabelledScore, called_by_others, fit_site, found_and_passed, share_of

UNSURE = 1 / (1 + np.exp(-np.log(9) * 2))  # 0.988: what says 0.9 when its logit is halved


def cases(scores: np.ndarray, positive: np.ndarray, *, each: int = 1) -> list[LabelledScore]:
    """each: radiographs of one patient."""
    rows = zip(scores, positive, strict=True)
    return [LabelledScore(float(score), bool(flag), f"p{place // each}") for place, (score, flag) in enumerate(rows)]


def two_scores(count: int, *, score: float = UNSURE) -> list[LabelledScore]:
    """A high score and a low one, of which one in ten is wrong, in either half of the patients."""
    place = np.arange(count)
    scores = np.where(place % 4 < 2, score, 1 - score)
    return cases(scores, (scores > 0.5) != (place % 40 < 4))


def test_scores_made_by_hand() -> None:
    """Negatives 0.01 to 0.40, positives 0.31 to 0.70: the positives' fourth from below stands at 0.34."""
    scores = np.concatenate([np.arange(1, 41), np.arange(31, 71)]) / 100
    fit = fit_site(cases(scores, np.arange(80) >= 40), "sensitivity=0.90")
    assert fit.operating_point.value == pytest.approx(0.345)  # 36 of 40 score 0.35 or more
    assert fit.operating_point.low < 0.345 < fit.operating_point.high
    assert (fit.positives, fit.negatives, fit.patients) == (40, 40, 80)
    assert fit.auc.value == pytest.approx((1600 - 45 - 5) / 1600)  # 45 pairs the wrong way round, 10 ties
    assert fit.temperature is None
    assert fit_site(cases(scores, np.arange(80) >= 40), "specificity=0.90").operating_point.value == pytest.approx(
        0.365
    )


def test_a_temperature_is_used_where_it_is_proven_and_the_point_is_scaled_with_it() -> None:
    fit = fit_site(two_scores(4000), "youden")
    assert fit.temperature == pytest.approx(2, rel=1e-3)
    assert fit.scaling.held_out is not None
    assert fit.scaling.held_out.ece.high <= 0.03 < fit.unscaled.ece.low
    assert fit.operating_point.value == pytest.approx(0.5)
    assert fit.sensitivity.value == fit.specificity.value == pytest.approx(0.9)
    tilted = fit_site(two_scores(4000), "sensitivity=1")  # all are called positive from the lower score on
    assert tilted.operating_point.value == pytest.approx(0.1, rel=1e-3)


def test_the_diagram_says_what_was_scaled_by_what_and_whether_it_is_used() -> None:
    """By 40 patients of each label no temperature is proven, and those of the halves are not that of all."""
    scores = np.concatenate([np.arange(1, 41), np.arange(31, 71)]) / 100
    fit = fit_site(cases(scores, np.arange(80) >= 40), "youden")
    scaling = replace(fit.scaling, hindrance=None)
    assert [one.name for one in series_of(fit)] == [
        "the network's scores",
        "scaled by the other half's temperature, not used",
    ]
    assert series_of(replace(fit, scaling=scaling))[1].name == "scaled by the other half's temperature"
    assert len(series_of(replace(fit, scaling=replace(scaling, held_out=None)))) == 1


@pytest.mark.parametrize(("count", "why"), [(280, "280 radiographs are fewer than 300"), (320, "may be 0.0")])
def test_no_temperature_by_few_radiographs_and_yet_a_point(count: int, why: str) -> None:
    fit = fit_site(two_scores(count), "youden")
    assert fit.temperature is None
    assert why in str(fit.scaling.hindrance)
    assert fit.operating_point.value == pytest.approx(0.5)


def test_no_temperature_that_would_make_scores_and_point_one_number() -> None:
    """Half of the scores are timid, 0.52 and 0.48, four in five of them right; the others are all right, and surer.

    What is true of the timid would make 0.97, 0.98 and 0.99 all one number, and the point lies at 0.98.
    """
    place = np.arange(800)
    timid = np.where(place % 4 < 2, 0.52, 0.48)
    sure = np.where(place % 4 < 2, np.where(place % 8 < 4, 0.97, 0.99), 0.01)
    flags = np.concatenate([(timid > 0.5) != (place % 20 < 4), sure > 0.5])
    fit = fit_site(cases(np.concatenate([timid, sure]), flags), "sensitivity=0.25")
    assert fit.scaling.temperature == pytest.approx(np.log(0.52 / 0.48) / np.log(4), rel=1e-3)
    assert fit.scaling.hindrance == "scaled scores cannot be told from the operating point"
    assert (fit.temperature, fit.operating_point.value) == (None, pytest.approx(0.98))
    assert fit_site(cases(np.concatenate([timid, sure]), flags), "youden").temperature is not None


@pytest.mark.parametrize(("positives", "negatives"), [(29, 60), (60, 29)])
def test_too_few_patients_are_refused(positives: int, negatives: int) -> None:
    flags = np.arange(positives + negatives) < positives
    scores = np.where(flags, 0.8, 0.2)
    with pytest.raises(UsageError, match=rf"{positives} patients .* and {negatives} with .* at least 30 of each"):
        fit_site(cases(scores, flags), "youden")
    assert fit_site(cases(np.where(np.arange(60) < 30, 0.8, 0.2), np.arange(60) < 30), "youden").patients == 60


def test_many_radiographs_of_few_patients_are_few() -> None:
    flags = np.arange(400) < 200
    with pytest.raises(UsageError, match="20 patients with a positive radiograph and 20"):
        fit_site(cases(np.where(flags, 0.8, 0.2), flags, each=10), "youden")


def test_scores_that_do_not_tell_the_labels_apart_give_no_point() -> None:
    """As of a bundle whose labels were swapped, or of another disease."""
    flags = np.arange(200) % 2 == 0
    for scores in (np.arange(200) / 200, np.where(flags, 0.2, 0.8)):
        with pytest.raises(UsageError, match=r"do not tell these labels apart \(AUC 0\.[04]"):
            fit_site(cases(scores, flags), "youden")


@pytest.mark.parametrize("rule", ["half", "sensitivity=90", "f1", ""])
def test_rules_that_do_not_look_at_the_site(rule: str) -> None:
    with pytest.raises(UsageError, match="is no rule for a site; use youden"):
        fit_site(two_scores(100), rule)


def test_a_specificity_out_of_reach() -> None:
    flags = np.arange(200) % 2 == 0
    scores = np.where(flags, 0.6 + np.arange(200) / 1000, 0.3)
    scores[[1, 3, 5]] = 0.95  # three negatives score highest
    with pytest.raises(UsageError, match=r"no operating point: no point has the specificity=0\.99"):
        fit_site(cases(scores, flags), "specificity=0.99")


def test_nobody_is_judged_by_a_point_that_they_helped_to_choose() -> None:
    random = np.random.default_rng(1)
    flags, patients = np.arange(120) % 2 == 0, np.arange(120) // 3
    scores = random.random(120) * 0.6 + 0.4 * flags
    called = called_by_others(scores, flags, patients, "youden")
    for patient in range(40):
        own, turned = patients == patient, flags.copy()
        turned[own] = ~turned[own]
        assert (called_by_others(scores, turned, patients, "youden")[own] == called[own]).all()


def test_a_share_is_as_unsure_as_its_patients_are_few() -> None:
    alone = share_of(np.arange(100) % 10 < 8, np.arange(100).astype(str))
    together = share_of(np.arange(100) % 10 < 8, (np.arange(100) % 10).astype(str))
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
    all_of_them = share_of(np.ones(30, bool), np.arange(30).astype(str))
    assert (all_of_them.value, all_of_them.high) == (1, pytest.approx(1))
    assert all_of_them.low == pytest.approx(0.886, abs=0.001)  # Wilson's: thirty hits of thirty prove no certainty


@pytest.mark.parametrize("rule", ["youden", "sensitivity=0.80"])
def test_intervals_hold_the_truth_about_as_often_as_they_say(rule: str) -> None:
    """Patients of two radiographs each, alike: negatives score evenly over 0..1, positives as the fourth root of that.

    A point finds 1 - point⁴ of the positives and passes `point` of the negatives. 95 of 100 intervals must hold the
    truth of the point that was chosen; of 30, at least 25 do so in all but three of a thousand runs.
    """
    random, held = np.random.default_rng(2), np.zeros(2)
    patients, flags = np.repeat(np.arange(120), 2).astype(str), np.repeat(np.arange(120) % 2 == 0, 2)
    for _ in range(30):
        drawn = np.repeat(random.random(120), 2)
        scores = np.where(flags, drawn**0.25, drawn)
        point = operating_point(scores, flags, rule)
        found, passed = found_and_passed(scores, flags, patients, rule)
        held += [found.low <= 1 - point**4 <= found.high, passed.low <= point <= passed.high]
    assert (held >= 25).all()


def test_the_interval_holds_what_the_chosen_point_itself_does() -> None:
    """Youden's points lie far apart: those of four fifths of the patients may do less than that of all, or more."""
    flags = np.arange(120) % 2 == 0
    random, patients = np.random.default_rng(3), np.arange(120).astype(str)
    for _ in range(3):
        scores = np.where(flags, random.random(120) ** 0.25, random.random(120))
        called = scores >= operating_point(scores, flags, "youden")
        by_all = share_of(called[flags], patients[flags]), share_of(~called[~flags], patients[~flags])
        for wide, narrow in zip(found_and_passed(scores, flags, patients, "youden"), by_all, strict=True):
            assert wide.low <= narrow.low and narrow.high <= wide.high
