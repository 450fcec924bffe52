"""How few of the worst layers must stay in floating point until the accuracy gate holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from calib.gate import Outcome


@dataclass(frozen=True)
class Choice:
    """floating: the layers left in floating point, worst first. outcome: of the graph without them in int8."""

    floating: tuple[str, ...]
    outcome: Outcome


def search(
    worst_first: Sequence[str], judged: Callable[[Sequence[str]], Outcome], whole: Outcome,
    *, say: Callable[[str], None],
) -> Choice:  # fmt: skip
    """The fewest of the worst layers with which the gate holds, by halving; all but the best if it does not then: with
    none in int8 there is no int8 graph.

    judged: asks the graph whose layers of that list stay in floating point. whole: what it said with none.
    The gate need not hold for every greater number; the choice returned is one that was asked.
    """
    asked, most = {0: whole}, len(worst_first) - 1

    def holds(count: int) -> bool:
        if count not in asked:
            asked[count] = judged(worst_first[:count])
            told = "holds" if asked[count].passed else "; ".join(asked[count].failures)
            say(f"{count} of {len(worst_first)} layers in floating point: {told}")
        return asked[count].passed

    if holds(0) or most < 1:
        return Choice((), whole)
    low, high = 0, most  # the gate does not hold at `low`
    while holds(high) and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return Choice(tuple(worst_first[:high]), asked[high])
