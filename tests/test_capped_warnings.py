"""Few of many warnings are told, and then that there are more."""

from edge.capped_warnings import CappedWarnings


def test_so_many_are_told_and_then_that_there_are_more() -> None:
    told: list[str] = []
    warn = CappedWarnings(told.append, counted_in="a_metric", most=3, each_s=600)
    for number in range(100):
        warn(f"{number}")
    assert told[:3] == ["0", "1", "2"]
    assert len(told) == 4
    assert "600 s; a_metric counts them" in told[3]


def test_after_a_while_they_are_told_again() -> None:
    told: list[str] = []
    warn = CappedWarnings(told.append, counted_in="a_metric", most=1, each_s=0)
    for number in range(3):
        warn(f"{number}")
    assert told == ["0", "1", "2"]
