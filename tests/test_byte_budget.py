"""Bytes held at the same time: bounded, and nobody waits for ever."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from edge.byte_budget import ByteBudget


def over() -> bool:
    return True


@given(st.lists(st.integers(0, 50), max_size=20))
def test_one_alone_has_what_it_needs_and_more_have_what_there_is(sizes: list[int]) -> None:
    budget, held = ByteBudget(30), []
    for size in sizes:
        if budget.take(size, is_over=over):
            held.append(size)
        assert budget.held_bytes == sum(held)
        assert sum(held) <= 30 or sum(map(bool, held)) == 1
    for size in held:
        budget.give_back(size)
    assert budget.held_bytes == 0


def test_who_takes_waits_until_another_gives_back() -> None:
    budget = ByteBudget(10)
    assert budget.take(8, is_over=lambda: False)
    threading.Timer(0.05, budget.give_back, (8,)).start()
    assert budget.take(9, is_over=lambda: False)
    assert budget.held_bytes == 9
