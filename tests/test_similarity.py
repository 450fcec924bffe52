"""Similar cases: as a brute-force search finds them, and never the query itself."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from fake_ledger import BUNDLE, FakeLedger, numbered
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_bundle import REFERENCE_CASES, write_tiny_bundle

from edge.bundle import read_bundle
from edge.similarity import (
    ANY,
    EarlierCase,
    ScannedCases,
    SimilarCases,
    Wanted,
    disagree,
    knn_label_share,
    knn_score,
    pages,
    ranked,
)
from edge.values import Neighbour


def cases(count: int, seed: int) -> list[EarlierCase]:
    embeddings = np.random.default_rng(seed).normal(size=(count, 128)).astype(np.float32)
    return [
        EarlierCase(f"{number:016x}", embedding, ("covid", "other", None)[number % 3], number / count)
        for number, embedding in enumerate(embeddings)
    ]


def similar_of(some: list[EarlierCase]) -> SimilarCases:
    return SimilarCases("bundle", some)


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_nearest_are_those_of_a_brute_force_search(count: int, k: int, seed: int) -> None:
    some = cases(count, seed)
    query = np.random.default_rng(seed + 1).normal(size=128).astype(np.float32)
    found = similar_of(some).nearest(query, k, without="none")
    apart = [float(np.linalg.norm(case.embedding.astype(float) - query)) for case in some]
    expected = sorted(zip(apart, some, strict=True), key=lambda pair: pair[0])[:k]
    assert [near.case_id for near in found] == [case.case_id for _, case in expected]
    np.testing.assert_allclose([near.distance for near in found], [away for away, _ in expected], rtol=1e-6)
    assert [(near.label, near.score) for near in found] == [(case.label, case.score) for _, case in expected]


@given(st.integers(2, 40), st.data())
def test_never_the_query_itself(count: int, data: st.DataObject) -> None:
    some = cases(count, 5)
    query = some[data.draw(st.integers(0, count - 1))]
    similar = similar_of(some)
    assert similar.nearest(query.embedding, 1, without="none")[0].case_id == query.case_id
    found = similar.nearest(query.embedding, 4, without=query.case_id)
    assert query.case_id not in [near.case_id for near in found]
    assert len(found) == min(4, count - 1)


def test_a_case_that_is_named_twice_is_there_once() -> None:
    similar = similar_of([*cases(5, 0), *cases(7, 0)])
    assert len(similar) == 7
    assert len(similar.nearest(cases(5, 0)[0].embedding, 20, without="")) == 7


@pytest.mark.parametrize("k", [0, -1])
def test_none_asked_for_or_none_there(k: int) -> None:
    query = np.zeros(128, np.float32)
    assert similar_of(cases(3, 0)).nearest(query, k, without="") == ()
    assert similar_of([]).nearest(query, 4, without="") == ()


def test_the_reference_set_of_a_bundle(tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("similarity") / "tiny"))
    similar, reference = SimilarCases.of_bundle(bundle), bundle.reference()
    assert (len(similar), similar.bundle_id) == (REFERENCE_CASES, bundle.id)
    (nearest,) = similar.nearest(reference.embeddings[3], 1, without="")
    assert (nearest.case_id, nearest.label) == (reference.case_ids[3], reference.labels[3])
    assert nearest.score == pytest.approx(reference.scores[3])


@given(st.integers(0, 2**32 - 1))
def test_distance_is_euclidean_and_symmetric(seed: int) -> None:
    one, other = cases(2, seed)
    ((there, _),) = ranked(one.embedding, [other], without=())
    ((back, _),) = ranked(other.embedding, [one], without=())
    assert there == back == pytest.approx(float(np.sqrt(((one.embedding - other.embedding) ** 2).sum())), rel=1e-5)
    assert ranked(one.embedding, [one], without=()) == [(0.0, one)]


class Searched:
    """An earlier set that hands out what it was given, and notes what it was asked."""

    def __init__(self, some: list[EarlierCase], *, pending: bool = False) -> None:
        self.cases, self.pending = some, pending
        self.without: set[str] = set()
        self.caught_up = 0

    def __len__(self) -> int:
        return len(self.cases)

    def catch_up(self) -> None:
        self.caught_up += 1

    def nearest(
        self, embedding: NDArray[np.float32], k: int, *, without: Collection[str], wanted: Wanted = ANY
    ) -> list[tuple[float, EarlierCase]]:
        self.without = set(without)
        return ranked(embedding, self.cases, without=without, wanted=wanted)[:k]


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_reference_and_earlier_cases_are_ranked_together(one: int, other: int, k: int, seed: int) -> None:
    some = cases(one + other, seed)
    query = np.random.default_rng(seed + 1).normal(size=128).astype(np.float32)
    both = SimilarCases("bundle", some[:one], Searched(some[one:]))
    assert both.nearest(query, k, without="") == similar_of(some).nearest(query, k, without="")
    assert len(both) == one + other


def test_a_reference_case_that_was_scored_here_too_is_told_once_with_its_label() -> None:
    reference, earlier = (
        cases(3, 0),
        Searched([EarlierCase(case.case_id, case.embedding, None, 0.5) for case in cases(4, 0)]),
    )
    found = SimilarCases("bundle", reference, earlier).nearest(reference[0].embedding, 9, without="query")
    assert [near.label for near in found if near.case_id == reference[0].case_id] == ["covid"]
    assert len(found) == 4
    assert earlier.without == {case.case_id for case in reference} | {"query"}


@pytest.mark.parametrize("pending", [True, False])
def test_neighbours_are_pending_while_the_earlier_cases_are(pending: bool) -> None:
    assert SimilarCases("bundle", cases(1, 0), Searched([], pending=pending)).pending == pending
    assert not similar_of(cases(1, 0)).pending


def test_earlier_cases_catch_up_when_told() -> None:
    earlier = Searched([])
    SimilarCases("bundle", [], earlier).catch_up()
    assert earlier.caught_up == 1
    similar_of(cases(1, 0)).catch_up()  # nothing to do


def test_a_scan_reads_the_ledger_page_by_page_and_finds_the_nearest() -> None:
    ledger = FakeLedger(numbered(9000, 0))
    for number in (1, 4096, 4097, 9000):
        ledger.forget(number)
    there = list(ledger.cases.values())
    assert [case for page in pages(ledger, BUNDLE) for case in page] == there
    assert max(map(len, pages(ledger, BUNDLE))) <= 4096
    scan, query = ScannedCases(ledger, BUNDLE), numbered(1, 5)[0].embedding
    assert len(scan) == 8996
    assert not scan.pending
    first = ranked(query, there, without=())[0][1].case_id
    assert scan.nearest(query, 4, without={first}) == ranked(query, there, without=())[1:5]
    assert ScannedCases(FakeLedger(), BUNDLE).nearest(query, 4, without=()) == []


@given(
    st.lists(st.sampled_from([None, "a" * 64, "b" * 64]), max_size=40),
    st.sampled_from([None, "a" * 64, "c" * 64]),
    st.integers(0, 40),
    st.integers(1, 8),
)
def test_cases_of_the_querys_patient_are_left_out_where_that_is_wanted(
    patients: list[str | None], not_of: str | None, references: int, k: int
) -> None:
    some = [
        replace(case, patient_key=patient)
        for case, patient in zip(numbered(len(patients), len(patients)), patients, strict=True)
    ]
    query = np.random.default_rng(7).normal(size=128).astype(np.float32)
    earlier = ScannedCases(FakeLedger(some), BUNDLE)
    allowed = [case for case in some if not_of is None or case.patient_key != not_of]
    expected = [case.case_id for _, case in ranked(query, allowed, without=())]
    assert [
        case.case_id for _, case in earlier.nearest(query, k, without=(), wanted=Wanted(not_of=not_of))
    ] == expected[:k]
    both = SimilarCases("bundle", some[:references], earlier)
    assert [near.case_id for near in both.nearest(query, k, without="", not_of=not_of)] == expected[:k]


def test_a_patients_key_is_not_shown() -> None:
    assert "aaaa" not in repr(replace(cases(1, 0)[0], patient_key="a" * 64))


@pytest.mark.parametrize(("scores", "expected"), [([], None), ([None], None), ([0.2, 0.4], 0.3), ([None, 0.5], 0.5)])
def test_knn_score_is_the_mean_of_what_is_known(scores: list[float | None], expected: float | None) -> None:
    answer = knn_score([Neighbour("c", 1.0, None, score) for score in scores])
    assert answer == (None if expected is None else pytest.approx(expected))


VIEWS, LABELS = (None, "AP", "PA"), (None, "covid", "other")


@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(VIEWS), st.none() | st.integers(0, 5)), max_size=30),
    st.builds(
        Wanted,
        label=st.sampled_from(LABELS),
        view=st.sampled_from(VIEWS),
        since_s=st.none() | st.integers(0, 5).map(float),
        until_s=st.none() | st.integers(0, 6).map(float),
    ),
    st.integers(1, 5),
)
def test_only_wanted_cases_are_found_and_the_nearest_of_them(
    given_cases: list[tuple[str | None, str | None, int | None]], wanted: Wanted, k: int
) -> None:
    some = [
        replace(case, label=label, view=view, judged_s=None if judged is None else float(judged))
        for case, (label, view, judged) in zip(cases(len(given_cases), 3), given_cases, strict=True)
    ]

    def is_wanted(case: EarlierCase) -> bool:
        if (wanted.label and case.label != wanted.label) or (wanted.view and case.view != wanted.view):
            return False
        since_s, until_s = wanted.since_s or 0, 9 if wanted.until_s is None else wanted.until_s
        untimed = wanted.since_s is None and wanted.until_s is None
        return untimed if case.judged_s is None else since_s <= case.judged_s < until_s

    query = np.random.default_rng(8).normal(size=128).astype(np.float32)
    expected = [near for near in ranked(query, some, without=()) if is_wanted(near[1])][:k]
    assert similar_of(some).closest(query, k, without="", wanted=wanted) == expected


def near(label: str | None, score: float | None) -> Neighbour:
    return Neighbour("c", 1.0, label, score)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([], None), ([None, None], None), (["covid", None], 1.0), (["covid", "other", "other", "flu"], 1 / 3)],
)
def test_the_share_of_labels_is_of_those_that_have_one(labels: list[str | None], expected: float | None) -> None:
    share = knn_label_share([near(label, 0.5) for label in labels], ("other", "covid"))
    assert share == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("score", "scores", "labels", "point", "expected"),
    [
        (0.9, [0.8, 0.7], [], None, False),
        (0.9, [0.4, 0.5], [], None, True),
        (0.6, [0.4, 0.4], [], None, False),  # on the other side, and near
        (0.9, [0.4, 0.4], [], 0.3, False),  # the point lies below both
        (0.4, [0.05, 0.1], [], 0.3, True),
        (0.9, [None], ["other", "other", "other", "covid"], None, True),
        (0.9, [], ["other", "other", "covid", "covid"], None, False),
        (0.9, [], ["other", "other"], None, False),  # two are too few
        (0.9, [], ["other", "other", "other", "flu", None], None, True),
        (0.4, [], ["other", "other", "other"], None, False),
        (0.4, [], ["other", "other", "other"], 0.3, True),
        (0.2, [], ["covid", "covid", "covid"], 0.3, True),
        (0.9, [], [], None, False),
    ],
)
def test_neighbours_disagree_when_their_scores_or_labels_speak_for_the_other_answer(
    score: float, scores: list[float | None], labels: list[str | None], point: float | None, expected: bool
) -> None:
    neighbours = [near(None, each) for each in scores] + [near(label, None) for label in labels]
    assert disagree(score, neighbours, ("other", "covid"), point) == expected
