"""The table of grey levels: every stored value, of every type and in every memory order, as arithmetic has it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.imaging.grey import WHITE, to_levels

VIEWS = {
    "whole": np.s_[:, :],
    "reversed": np.s_[:, ::-1],
    "every second": np.s_[::2, 1::3],
    "one row": np.s_[:1, :],
}


def by_arithmetic(stored: NDArray[np.integer], values: NDArray[np.float64], lowest: int) -> NDArray[np.uint16]:
    within = np.clip(stored.astype(object) - lowest, 0, len(values) - 1).astype(np.int64)
    return np.rint((values[within] - values.min()) * (WHITE / (values.max() - values.min()))).astype(np.uint16)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4"])
@pytest.mark.parametrize("place", ["lowest", "middle", "highest"])
def test_levels_are_those_of_the_table_at_each_value(kind: str, place: str, view: str) -> None:
    """What lies outside the table has the level of its end."""
    rng = np.random.default_rng(1)
    limits = np.iinfo(kind)
    low = {"lowest": limits.min, "middle": (limits.min + limits.max) // 2 - 60, "highest": limits.max - 120}[place]
    stored = rng.integers(low, low + 120, (130, 71), dtype=kind, endpoint=True)[VIEWS[view]]
    values = rng.permutation(np.arange(106.0))  # a table need not rise; and no level lies half-way
    for lowest in (low + 10, low):
        levels = to_levels(stored, values, lowest=lowest, inverted=False)
        assert levels.dtype == np.uint16
        assert np.array_equal(levels, by_arithmetic(stored, values, lowest))
        assert np.array_equal(to_levels(stored, values, lowest=lowest, inverted=True), WHITE - levels)


def test_padding_is_black() -> None:
    stored = np.array([[0, 5], [9, 3]], np.uint16)
    valid = np.array([[True, False], [True, True]])
    assert to_levels(stored, np.arange(10.0), lowest=0, inverted=True, valid=valid)[0].tolist() == [WHITE, 0]
