"""Figures of a split and of its shortcut baselines, against values worked out by hand."""

from pathlib import Path

import pytest

from edge.errors import UsageError
from edge.statistics import Proportion, auc_interval
from training.evaluate import Answer, Scored, known_sizes, shortcut_figures, split_figures
from training.row import Row


def scored(
    label: str, score: float | None, *, patient: str = "p", group: str = "", width: int = 100, height: int = 100,
    view: str = "AP",
) -> Scored:  # fmt: skip
    row = Row(2, Path("a.png"), patient, label, "test", view, "", None, {"group_id": group})
    return Scored(row, Answer(score, "" if score is not None else "no_lungs", rows=height, columns=width))


def test_figures_of_a_split() -> None:
    part = [
        scored("covid", 0.9), scored("covid", 0.5), scored("covid", 0.3), scored("covid", None),
        scored("other", 0.4), scored("other", 0.1),
    ]  # fmt: skip
    figures = split_figures(part, positive_label="covid", point=0.5)
    assert (figures["n_covid"], figures["n_other"], figures["n_refused"]) == (3, 2, 1)
    assert figures["auc"] == pytest.approx(5 / 6)  # of six pairs only 0.3 against 0.4 is in the wrong order
    assert (figures["sensitivity"]["count"], figures["sensitivity"]["total"]) == (2, 3)  # at the point is positive
    assert (figures["specificity"]["count"], figures["specificity"]["total"]) == (2, 2)
    assert figures["sensitivity"]["low"] == Proportion(2, 3).interval.low


def test_a_split_of_one_label_has_no_auc() -> None:
    figures = split_figures([scored("covid", 0.9), scored("covid", 0.2)], positive_label="covid", point=0.5)
    assert figures["sensitivity"]["value"] == 0.5
    assert not {"auc", "specificity"} & figures.keys()


def test_the_interval_redraws_groups_of_patients_together() -> None:
    values = [(number % 7 / 7 + 0.2 * (number // 5 % 2), number // 5 % 2) for number in range(40)]
    part = [
        scored(("other", "covid")[label], score, patient=f"p{number}", group=f"g{number // 10}-{label}")
        for number, (score, label) in enumerate(values)
    ]
    figures = split_figures(part, positive_label="covid", point=0.5)
    scores, flags = [score for score, _ in values], [label == 1 for _, label in values]
    by_group = auc_interval(scores, flags, [item.row.group_id for item in part])
    by_patient = auc_interval(scores, flags, [item.row.patient_id for item in part])
    assert (figures["auc_low"], figures["auc_high"]) == (by_group.low, by_group.high)
    assert by_group != by_patient


def test_shortcuts_worked_out_by_hand() -> None:
    """In training COVID-19 is wide, flat and AP; the order of one feature is then the order of the guesses."""
    training = [
        scored("covid", None, width=200, height=100, view="AP"), scored("covid", None, width=220, view="AP"),
        scored("other", None, width=100, height=100, view="PA"), scored("other", None, width=110, view="PA"),
    ]  # fmt: skip
    measured = [
        scored("covid", 0.5, patient="a", width=180, height=90, view="AP"),  # aspect 2
        scored("covid", 0.5, patient="b", width=120, height=120, view="PA"),  # aspect 1
        scored("other", 0.5, patient="c", width=150, height=50, view="PA"),  # aspect 3
        scored("other", 0.5, patient="d", width=90, height=180, view="PA"),  # aspect one half
        scored("covid", None, patient="e", width=10, height=100, view="PA"),  # refused: no baseline answers for it
    ]
    figures = shortcut_figures(training, measured, positive_label="covid")
    assert figures["n_fitted"] == 4
    areas = figures["areas"]
    assert list(areas) == ["width", "aspect", "view", "width+aspect+view"]
    assert areas["width"]["auc"] == 3 / 4  # only 120 against 150 is in the wrong order
    assert areas["aspect"]["auc"] == 2 / 4
    assert areas["view"]["auc"] == 3 / 4  # AP wins twice, PA ties twice
    guessed = auc_interval([180, 120, 150, 90], [True, True, False, False], ["a", "b", "c", "d"])
    assert areas["width"] == {"auc": guessed.value, "auc_low": guessed.low, "auc_high": guessed.high}


def test_baselines_need_readable_training_rows_of_both_labels() -> None:
    unreadable = scored("other", None, width=0, height=0)
    with pytest.raises(UsageError, match="both labels"):
        known_sizes([scored("covid", None), unreadable], positive_label="covid")
    known = known_sizes([scored("covid", None), scored("other", None), unreadable], positive_label="covid")
    assert len(known) == 2
