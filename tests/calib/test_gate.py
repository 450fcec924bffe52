"""The accuracy gate, worked out by hand: what flips, what the bound is, whose neighbours stay, and each limit alone."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from calib.gate import Asked, Labels, Limits, judge, recall, same_decisions, table, upper_bound
from edge.engines.base import Outputs
from edge.errors import UsageError

COUNT = 400
RANDOM = np.random.default_rng(7)
POSITIVE = np.arange(COUNT) % 4 == 0
SCORES = np.where(POSITIVE, 0.8, 0.2) + RANDOM.uniform(-0.15, 0.15, COUNT)
LABELS = Labels(POSITIVE, np.arange(COUNT) < 40)
EMBEDDINGS = RANDOM.normal(0, 1, (COUNT, 128)).astype(np.float32)
CASES = RANDOM.normal(0, 1, (30, 128)).astype(np.float32)


def outputs(scores: np.ndarray, embeddings: np.ndarray) -> Outputs:
    count = len(scores)
    return Outputs(
        score=scores.astype(np.float32),
        member_scores=scores.astype(np.float32)[:, None],
        embedding=embeddings,
        lung_mask=np.ones((count, 1, 4, 4), np.float32),
        evidence_map=np.zeros((count, 1, 2, 2), np.float32),
    )


FP32 = Asked(outputs(SCORES, EMBEDDINGS), outputs(np.linspace(0, 1, 30), CASES))


def with_scores(scores: np.ndarray) -> Asked:
    return replace(FP32, gate=outputs(scores, EMBEDDINGS))


def test_fp32_is_what_the_others_are_measured_by() -> None:
    few = Labels(POSITIVE[:8], np.ones(8, bool))
    small = replace(FP32, gate=outputs(SCORES[:8], EMBEDDINGS[:8]))
    outcome = judge(small, small, few)
    assert outcome.passed and (outcome.flipped, outcome.recall, outcome.auc) == (0, 1.0, 1.0)


def test_the_same_answers_pass() -> None:
    outcome = judge(FP32, with_scores(SCORES + 1e-6), LABELS)
    assert outcome.passed, outcome.failures
    assert (outcome.sensitivity, outcome.specificity, outcome.flipped) == (1.0, 1.0, 0)


@pytest.mark.parametrize(("flips", "passed"), [(0, True), (1, False), (9, False)])
def test_decisions_that_flip_fail_by_their_upper_bound(flips: int, passed: bool) -> None:
    """Of 400, none may flip: the bound of one is 1.2 %."""
    point = judge(FP32, FP32, LABELS).operating_point
    moved = SCORES.copy()
    moved[np.flatnonzero(~POSITIVE)[-flips:] if flips else []] = point + 0.001
    outcome = judge(FP32, with_scores(moved), LABELS, limits=Limits(auc_loss=1.0))
    assert (outcome.flipped, outcome.passed) == (flips, passed)
    assert passed or f"{flips} of 400 decisions flip" in outcome.failures[0]


def test_without_an_operating_point_flips_are_counted_and_not_judged() -> None:
    moved = SCORES.copy()
    moved[np.flatnonzero(~POSITIVE)[-9:]] = judge(FP32, FP32, LABELS).operating_point + 0.001
    outcome = judge(FP32, with_scores(moved), LABELS, limits=Limits(flipped=None))
    assert (outcome.flipped, outcome.passed, outcome.decisions_judged) == (9, True, False)
    assert "counted, not judged" in table({"int8": outcome})
    judged = judge(FP32, with_scores(moved), LABELS)
    assert judged.decisions_judged and not judged.passed
    assert "counted, not judged" not in table({"int8": judged})


def test_auc_that_falls_fails() -> None:
    moved = SCORES.copy()
    moved[np.flatnonzero(~POSITIVE)[-3:]] = 0.99
    outcome = judge(FP32, with_scores(moved), LABELS, limits=Limits(flipped=1.0))
    assert outcome.failures == ("AUC falls by 0.0100, more than 0.005",)
    # A gain is no failure.
    assert judge(with_scores(moved), FP32, LABELS, limits=Limits(flipped=1.0)).passed


def test_neighbours_that_change_fail() -> None:
    other = replace(FP32, gate=replace(FP32.gate, embedding=EMBEDDINGS[::-1].copy()))
    outcome = judge(FP32, other, LABELS)
    assert outcome.recall < 0.3
    assert outcome.failures and "nearest cases stay" in outcome.failures[0]


def test_recall_by_hand() -> None:
    """The query moves along a line of cases: three of the four nearest stay. All cases are as fp32 embeds them."""
    line = np.zeros((8, 128), np.float32)
    line[:, 0] = np.arange(8)
    cases = outputs(np.zeros(8), line)

    def at(place: float) -> Asked:
        return Asked(outputs(np.array([0.5]), np.full((1, 128), 0, np.float32) + np.eye(1, 128) * place), cases)

    assert recall(at(1.4), at(2.6)) == 0.75
    elsewhere = replace(at(1.4), cases=outputs(np.zeros(8), line[::-1].copy()))
    assert recall(at(1.4), elsewhere) == 1.0


def test_what_is_not_finite_fails_and_counts_as_zero() -> None:
    broken, cases = SCORES.copy(), CASES.copy()
    broken[3], cases[0, 5] = np.nan, np.inf
    outcome = judge(FP32, Asked(outputs(broken, EMBEDDINGS), outputs(np.linspace(0, 1, 30), cases)), LABELS)
    assert outcome.failures[0] == "2 answers are not finite" and not outcome.passed
    assert outcome.auc == pytest.approx(1.0) and np.isfinite(outcome.parity.score_change_max)


def test_where_nobody_asked_the_cases_both_decide_at_one_point() -> None:
    outcome = judge(FP32, replace(with_scores(SCORES - 0.25), cases=None), LABELS, limits=Limits(flipped=None))
    assert outcome.operating_point == judge(FP32, FP32, LABELS).operating_point
    assert outcome.flipped > 0 and outcome.recall == 1.0


def test_points_that_a_bundle_has_set_decide() -> None:
    """All scores fall by 0.25: at a refitted point nothing flips, at the bundle's own much does."""
    lower = with_scores(SCORES - 0.25)
    shifted = replace(lower, cases=outputs(np.linspace(0, 1, 30) - 0.25, CASES))
    assert judge(FP32, shifted, LABELS).flipped == 0
    set_by_bundle = judge(FP32, shifted, LABELS, points=(0.6, 0.6))
    assert set_by_bundle.operating_point == 0.6
    assert set_by_bundle.flipped == int(((SCORES >= 0.6) != (SCORES - 0.25 >= 0.6)).sum()) > 0


def test_few_radiographs_prove_nothing() -> None:
    few = Labels(POSITIVE[:299], np.arange(299) < 40)
    asked = [replace(FP32, gate=outputs(SCORES[:299] + step, EMBEDDINGS[:299])) for step in (0, 1e-6)]
    assert judge(*asked, few).failures[0] == "299 radiographs prove nothing; the gate needs 300"


@pytest.mark.parametrize(("count", "total"), [(0, 300), (3, 1000), (7, 500)])
def test_the_bound_is_clopper_and_pearsons(count: int, total: int) -> None:
    """The share at which as few as `count` would be seen once in twenty times."""
    assert binom.cdf(count, total, upper_bound(count, total)) == pytest.approx(0.05, abs=1e-9)
    assert upper_bound(total, total) == 1.0


def test_the_point_of_another_precision_decides_as_fp32_did() -> None:
    before = np.linspace(0, 1, 101)
    shifted = (before * 0.8 + 0.15).astype(np.float32)
    point = same_decisions(before >= 0.6, shifted, 0.6)
    assert ((shifted >= point) == (before >= 0.6)).all()
    assert same_decisions(before >= 0.6, before.astype(np.float32), 0.6) == pytest.approx(0.6, abs=1e-6)


def test_labels_need_val_rows_of_both_labels() -> None:
    with pytest.raises(UsageError, match="val rows of both labels"):
        Labels(POSITIVE, POSITIVE)


def test_a_record_is_what_a_manifest_holds() -> None:
    """Its flips are at the precision's own point, not those at one half that stand in the parity."""
    outcome = judge(FP32, with_scores(SCORES + 1e-6), LABELS)
    record = replace(outcome, flipped=3).as_record()
    assert record["passed"] is True and record["failures"] == [] and record["radiographs"] == COUNT
    assert (record["flipped"], outcome.parity.flipped) == (3, 0) and "parity" not in record
