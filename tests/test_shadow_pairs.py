"""How far two bundles agree, counted by hand; and the queue of what waits for the second one."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import gated, scored, sha

from edge.shadow_pairs import NEEDED, ShadowPair, Verdict, compare
from edge.shadow_queue import ShadowQueue
from edge.snapshot import Snapshot, frozen_bytes

ACTIVE, CANDIDATE = "a" * 64, "c" * 64
POSITIVE, NEGATIVE = Verdict(0.75, True, None, 0.25), Verdict(0.25, False, None, 0.25)
REFUSED, UNDECIDED = Verdict(None, None, "no_lungs", 0.25), Verdict(0.5, None, None, 0.25)


def pair(active: Verdict, candidate: Verdict) -> ShadowPair:
    return ShadowPair(sha(1), ACTIVE, CANDIDATE, active, candidate)


@pytest.mark.parametrize(
    ("active", "candidate", "outcome"),
    [
        (POSITIVE, POSITIVE, "same"),
        (POSITIVE, NEGATIVE, "flipped"),
        (NEGATIVE, POSITIVE, "flipped"),
        (POSITIVE, REFUSED, "only_active"),
        (REFUSED, POSITIVE, "only_candidate"),
        (REFUSED, replace(REFUSED, reason="inverted"), "same"),
        (POSITIVE, UNDECIDED, "same"),
        (UNDECIDED, NEGATIVE, "same"),
    ],
)
def test_the_outcome_of_one(active: Verdict, candidate: Verdict, outcome: str) -> None:
    assert pair(active, candidate).outcome == outcome


def test_a_verdict_is_what_the_report_says() -> None:
    assert Verdict.of(replace(scored(1), timings_s={"infer": 0.5})) == Verdict(0.75, True, None, 0.5)
    assert Verdict.of(gated(1)) == Verdict(None, None, "no_lungs", None)


def test_the_comparison_counts_each_way() -> None:
    slow = replace(NEGATIVE, engine_s=0.5)
    found = compare(
        [pair(POSITIVE, POSITIVE)] * 5
        + [pair(POSITIVE, slow)] * 3
        + [pair(NEGATIVE, POSITIVE)]
        + [pair(POSITIVE, REFUSED)] * 2
        + [pair(REFUSED, NEGATIVE)]
        + [pair(REFUSED, replace(REFUSED, reason="inverted"))]
        + [pair(POSITIVE, UNDECIDED)]
    )
    assert (found.radiographs, found.is_enough) == (14, False)
    assert [(part.count, part.total) for part in (found.same, found.to_positive, found.to_negative)] == [
        (5, 9), (1, 9), (3, 9)
    ]  # fmt: skip
    assert [(part.count, part.total) for part in (found.only_active, found.only_candidate)] == [(2, 14), (1, 14)]
    assert found.gates == {"no_lungs -> inverted": 1, "no_lungs -> scored": 1, "scored -> no_lungs": 2}
    assert found.mean_difference == pytest.approx((4 * 0.5 + 0.25) / 10)
    assert found.most_difference == 0.5
    assert found.shift == pytest.approx((-3 * 0.5 + 0.5 - 0.25) / 10)
    assert found.engine_ratio == 1.0
    assert compare([pair(POSITIVE, slow)]).engine_ratio == 2.0


def test_what_cannot_be_told_is_not() -> None:
    found = compare([pair(REFUSED, replace(REFUSED, engine_s=None))] * NEEDED)
    assert found.is_enough
    assert (found.mean_difference, found.most_difference, found.shift, found.engine_ratio) == (None,) * 4
    assert found.same.total == 0


verdicts = st.sampled_from([POSITIVE, NEGATIVE, REFUSED, UNDECIDED])


@given(st.lists(st.builds(pair, verdicts, verdicts), min_size=1, max_size=30))
def test_the_parts_add_up(pairs: list[ShadowPair]) -> None:
    found = compare(pairs)
    assert found.same.count + found.to_positive.count + found.to_negative.count == found.same.total
    swapped = compare([replace(one, active=one.candidate, candidate=one.active) for one in pairs])
    assert (swapped.to_positive, swapped.only_active) == (found.to_negative, found.only_candidate)
    assert swapped.mean_difference == found.mean_difference


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def freeze(queue: ShadowQueue, content: bytes) -> tuple[bool, Snapshot]:
    with frozen_bytes(content) as frozen:
        return queue.hold(frozen), frozen


def test_bytes_are_held_after_others_have_closed_them() -> None:
    before = open_descriptors()
    with ShadowQueue() as queue:
        held, frozen = freeze(queue, b"radiograph")
        assert held
        assert queue.take() is None  # it has no result yet
        assert queue.judged(replace(scored(1), sha256=frozen.sha256))
        due = queue.take()
        assert due is not None
        assert os.pread(due.frozen.descriptor, 100, 0) == b"radiograph"
        due.close()
        assert queue.take() is None
        assert not queue.judged(due.report)
    assert open_descriptors() == before


def test_a_bounded_number_of_files_and_bytes_is_held() -> None:
    before = open_descriptors()
    with ShadowQueue(most_bytes=100, most_files=3) as queue:
        assert not freeze(queue, b"x" * 101)[0]
        assert freeze(queue, b"x" * 60)[0]
        held, second = freeze(queue, b"y" * 40)
        assert held
        assert not freeze(queue, b"z")[0]
        queue.judged(replace(scored(1), sha256=second.sha256))  # what is due counts too
        assert not freeze(queue, b"z")[0]
        due = queue.take()
        assert due is not None
        due.close()
        assert freeze(queue, b"z")[0]
        assert freeze(queue, b"w")[0]
        assert not freeze(queue, b"v")[0]
        assert not freeze(queue, b"w")[0]  # held already
        queue.drop(second.sha256)
    assert open_descriptors() == before
    assert not freeze(queue, b"late")[0]
