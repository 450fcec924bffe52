"""The memory of looks: exact, small, and forgetful of what is gone."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.looks import KnownLooks, fingerprint, fingerprint_of
from edge.values import Sighting

PRINTS = st.lists(st.integers(0, (1 << 64) - 1), unique=True, max_size=50)


def array(prints: list[int]) -> "np.ndarray":
    return np.array(prints, np.uint64)


@given(PRINTS, PRINTS)
def test_it_holds_what_was_added_and_nothing_else(added: list[int], asked: list[int]) -> None:
    known = KnownLooks()
    for one in added:
        known.add(one)
    assert len(known) == len(added)
    assert list(known.unknown(array(asked))) == [one not in added for one in asked]
    assert all(one in known for one in added)
    assert [one in known for one in asked] == [one in added for one in asked]


@given(PRINTS, PRINTS)
def test_it_keeps_only_what_is_present(added: list[int], present: list[int]) -> None:
    known = KnownLooks()
    for one in added:
        known.add(one)
    known.keep_only(array(present))
    assert [one in known for one in added] == [one in present for one in added]


@given(PRINTS.filter(bool))
def test_one_can_be_taken_back(added: list[int]) -> None:
    for sorted_in in (False, True):
        known = KnownLooks()
        for one in added:
            known.add(one)
        if sorted_in:
            known.unknown(array([]))
        known.discard(added[0])
        assert added[0] not in known
        assert all(one in known for one in added[1:])
    known.clear()
    assert len(known) == 0


def test_ten_thousand_known_files_take_less_than_a_tenth_of_a_megabyte() -> None:
    known = KnownLooks()
    for number in range(10_000):
        known.add(number)
    known.unknown(array([]))
    assert known._sorted.nbytes == 80_000
    assert not known._recent


def test_every_part_of_a_look_counts() -> None:
    seen = Sighting(Path("/in/a"), 1, 2, 3)
    prints = {
        fingerprint_of(seen),
        fingerprint("/in/b", 1, 2, 3),
        fingerprint("/in/a", 9, 2, 3),
        fingerprint("/in/a", 1, 9, 3),
        fingerprint("/in/a", 1, 2, 9),
    }
    assert len(prints) == 5
    assert fingerprint_of(seen) == fingerprint("/in/a", 1, 2, 3)
    assert all(0 <= one < 1 << 64 for one in prints)
