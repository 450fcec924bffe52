"""How figures are written, and the paper's figures as it prints them."""

import math

from edge.statistics import Interval, Proportion
from training.report import paper
from training.report.wording import counted, interval, kept_short, listed, percent, proportion, share


def test_figures_as_people_read_them() -> None:
    assert proportion(Proportion(25, 30)) == "0.83 (0.66 to 0.93), 25/30"
    assert proportion(None) == proportion(Proportion(0, 0)) == interval(None) == "–"  # noqa: RUF001
    assert interval(Interval(0.96, 0.93, 0.97)) == "0.96 (0.93 to 0.97)"
    assert interval(Interval(0.96, math.nan, math.nan)) == "0.96 (no interval)"
    assert interval(Interval(math.nan, math.nan, math.nan)) == "–"  # noqa: RUF001


def test_words() -> None:
    assert (counted(1, "image"), counted(3, "image"), counted(2, "one", "ones")) == ("1 image", "3 images", "2 ones")
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")
    assert (percent(1, 4), percent(0, 0)) == ("1 (25%)", "0")
    assert kept_short("x" * 30, 5) == "xxxx…"


def test_the_papers_shares_keep_its_digits_and_counts() -> None:
    ensemble = paper.TABLE_2["ensemble"]
    assert share(ensemble.accuracy, paper.ENSEMBLE_INTERVALS["accuracy"]) == "0.903 (0.863 to 0.937), 317/351"


def test_the_papers_table_adds_up() -> None:
    """Its percentages are its counts but for one: CheXpert's 137 of 171 is 80.1, it prints 80.6."""
    odd = []
    for name, row in paper.TABLE_2.items():
        assert row.sensitivity.count + row.specificity.count == row.accuracy.count
        assert row.sensitivity.total + row.specificity.total == row.accuracy.total
        for printed in (row.accuracy, row.sensitivity, row.specificity):
            if abs(printed.percent - 100 * printed.count / printed.total) > 0.15:
                odd.append((name, printed.count))
    assert odd == [("chexpert", 137)]
