"""Who falls into which group, and that each group's figures are those of its own radiographs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.statistics import Proportion
from training.measures import measure
from training.row import Row
from training.subgroups import Subgroup, by_abnormal, by_age, by_day, by_hospital, by_sex, hard_cases


def row(label: str = "covid", *, patient: str = "p", **columns: str) -> Row:
    return Row(2, Path("a.png"), patient, label, "test", "AP", "", None, columns)


def counted(groups: tuple[Subgroup, ...]) -> dict[str, tuple[int, int]]:
    return {group.name: (group.n_positive, group.n_negative) for group in groups}


def test_by_sex_worked_out_by_hand() -> None:
    rows = [
        row(sex="M"), row("other", sex="F"), row(sex="female"), row("other", sex="F"), row("other"), row(sex="m"),
    ]  # fmt: skip
    groups = by_sex(rows, [0.9, 0.8, 0.7, 0.2, 0.1, 0.4], "covid", point=0.5)
    assert counted(groups) == {"women": (1, 2), "men": (2, 0), "unknown": (0, 1)}
    women, men, unknown = groups
    assert women.measures.accuracy == Proportion(2, 3)
    assert women.measures.specificity == Proportion(1, 2)
    assert women.measures.roc_auc is not None and women.measures.roc_auc.value == 0.5
    assert men.measures.sensitivity == Proportion(1, 2)
    assert unknown.measures.specificity == Proportion(1, 1)
    assert men.measures.roc_auc is None


def test_a_group_is_measured_at_the_point_and_by_its_own_patients() -> None:
    rows = [
        row(("other", "covid")[place % 2], patient=f"p{place // 4}", sex="MF"[place % 3 == 0]) for place in range(24)
    ]
    scores = np.linspace(0, 1, 24)[np.arange(24) * 7 % 24]
    women = by_sex(rows, scores, "covid", point=0.3)[0]
    places = [place for place, one in enumerate(rows) if one.sex == "F"]
    flags = [rows[place].label == "covid" for place in places]
    assert women.measures == measure(scores[places], flags, [rows[place].cluster for place in places], point=0.3)
    apart = measure(scores[places], flags, np.arange(len(places)), point=0.3)
    assert women.measures.roc_auc != apart.roc_auc  # patients with several radiographs are redrawn whole


def test_by_age_at_the_edges() -> None:
    ages = ["17.9", "18", "39.5", "40", "79", "80", "199", "200", ""]
    groups = by_age([row(age=age) for age in ages], [0.6] * 9, "covid", point=0.5)
    assert counted(groups) == {
        "18-39": (2, 0), "40-49": (1, 0), "70-79": (1, 0), "80 and over": (2, 0), "unknown": (1, 0),
        "other ages": (2, 0),
    }  # fmt: skip
    two = by_age([row(age="30"), row(age="70")], [0.6, 0.2], "covid", point=0.5, edges=(18, 50, 120))
    assert counted(two) == {"18-49": (1, 0), "50 and over": (1, 0)}


def test_faulty_ages_are_refused() -> None:
    with pytest.raises(ValueError, match="age of line 2 has nan"):
        by_age([row(age="nan")], [0.6], "covid", point=0.5)
    with pytest.raises(ValueError, match="ascending"):
        by_age([row(age="20")], [0.6], "covid", point=0.5, edges=(50, 18))


def test_by_hospital_the_unknown_last() -> None:
    rows = [row(hospital="Zion"), row(), row("other", hospital="Haifa"), row(hospital="Zion")]
    groups = by_hospital(rows, [0.9, 0.9, 0.9, 0.1], "covid", point=0.5)
    assert counted(groups) == {"Haifa": (0, 1), "Zion": (2, 0), "unknown": (1, 0)}
    assert list(counted(groups)) == ["Haifa", "Zion", "unknown"]


def test_normal_and_abnormal_negatives_of_each_hospital() -> None:
    """Of Zion's negatives two are normal, one abnormal and one not said; Haifa says nothing; positives do not count."""
    rows = [
        row("other", hospital="Haifa"), row("covid", hospital="Zion", abnormal="yes"),
        row("other", hospital="Zion", abnormal="no"), row("other", hospital="Zion", abnormal="yes"),
        row("other", hospital="Zion", abnormal="no"), row("other", hospital="Zion"),
    ]  # fmt: skip
    groups = by_abnormal(rows, [0.3, 0.9, 0.1, 0.7, 0.8, 0.2], "covid", point=0.5)
    assert [(group.hospital, group.name, group.n_positive, group.n_negative) for group in groups] == [
        ("Zion", "normal", 0, 2),
        ("Zion", "abnormal", 0, 1),
        ("Zion", "unknown", 0, 1),
    ]
    assert [group.measures.specificity for group in groups] == [Proportion(1, 2), Proportion(0, 1), Proportion(1, 1)]


def test_hard_cases() -> None:
    rows = [row(hard="yes"), row("other", hard="1"), row(), row("other", hard="no")]
    group = hard_cases(rows, [0.4, 0.3, 0.9, 0.9], "covid", point=0.5)
    assert group is not None
    assert (group.n_positive, group.n_negative) == (1, 1)
    assert group.measures.accuracy == Proportion(1, 2)
    assert hard_cases(rows[2:], [0.9, 0.9], "covid", point=0.5) is None
    assert hard_cases([], [], "covid", point=0.5) is None


@settings(max_examples=8)
@given(st.lists(st.tuples(st.sampled_from(["M", "F", ""]), st.floats(0, 120), st.booleans()), max_size=12))
def test_no_radiograph_is_lost_or_counted_twice(people: list[tuple[str, float, bool]]) -> None:
    rows = [row("covid" if ill else "other", sex=sex, age=str(age), hospital=sex) for sex, age, ill in people]
    scores = np.linspace(0, 1, len(rows))
    for grouped in (by_sex, by_age, by_hospital):
        groups = grouped(rows, scores, "covid", point=0.5)
        assert sum(group.n_positive for group in groups) == sum(ill for _, _, ill in people)
        assert sum(group.n_negative for group in groups) == sum(not ill for _, _, ill in people)


def test_scores_by_day_worked_out_by_hand() -> None:
    rows = [
        row(patient="a", days_since_admission="3"), row(patient="b", days_since_admission="0"),
        row("other", days_since_admission="0"), row(patient="c"), row(patient="d", days_since_admission="3"),
        row(patient="e", group_id="g", days_since_admission="-1"),
    ]  # fmt: skip
    course = by_day(rows, [0.8, 0.4, 0.1, 0.9, 0.6, 0.2], "covid")
    assert course.days.tolist() == [-1, 0, 3, 3]
    assert course.scores.tolist() == [0.2, 0.4, 0.8, 0.6]
    assert course.clusters == ("g", "b", "a", "d")
    assert course.means == ((-1, 0.2, 1), (0, 0.4, 1), (3, pytest.approx(0.7), 2))
    assert len(by_day(rows, [0.8, 0.4, 0.1, 0.9, 0.6, 0.2]).days) == 5  # without a label all are taken for positive
    assert by_day([], []).means == ()


def test_faulty_scores_are_refused() -> None:
    for grouped in (by_sex, by_age, by_hospital, by_abnormal, hard_cases):
        with pytest.raises(ValueError, match="scores has nan at row 0"):
            grouped([row(), row()], [float("nan"), 0.2], "covid", point=0.5)
        with pytest.raises(ValueError, match="rows 1, scores 2"):
            grouped([row()], [0.1, 0.2], "covid", point=0.5)
    with pytest.raises(ValueError, match="days_since_admission has nan"):
        by_day([row(days_since_admission="nan")], [0.3])
