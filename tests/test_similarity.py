"""Similar cases: as a brute-force search finds them, and never the query itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_bundle import REFERENCE_CASES, write_tiny_bundle

from edge.bundle import read_bundle
from edge.similarity import EarlierCase, SimilarCases, distance, knn_score
from edge.values import Neighbour


def cases(count: int, seed: int) -> list[EarlierCase]:
    embeddings = np.random.default_rng(seed).normal(size=(count, 128)).astype(np.float32)
    return [
        EarlierCase(f"{number:016x}", embedding, ("covid", "other", None)[number % 3], number / count)
        for number, embedding in enumerate(embeddings)
    ]


def similar_of(some: list[EarlierCase]) -> SimilarCases:
    similar = SimilarCases("bundle", 128)
    similar.add(some)
    return similar


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


def test_every_build_of_a_small_set_finds_the_nearest() -> None:
    """Built by several threads, about one set in fifty hides a case from every search."""
    for seed in range(600):
        some = cases(2 + seed % 59, seed)
        query = np.random.default_rng(seed + 1).normal(size=128).astype(np.float32)
        (found,) = similar_of(some).nearest(query, 1, without="none")
        assert found.case_id == min(some, key=lambda case: distance(query, case.embedding)).case_id, seed


@given(st.integers(2, 40), st.data())
def test_never_the_query_itself(count: int, data: st.DataObject) -> None:
    some = cases(count, 5)
    query = some[data.draw(st.integers(0, count - 1))]
    similar = similar_of(some)
    assert similar.nearest(query.embedding, 1, without="none")[0].case_id == query.case_id
    found = similar.nearest(query.embedding, 4, without=query.case_id)
    assert query.case_id not in [near.case_id for near in found]
    assert len(found) == min(4, count - 1)


def test_a_case_is_added_once() -> None:
    similar = similar_of(cases(5, 0))
    similar.add(cases(7, 0))
    similar.add([])
    assert len(similar) == 7
    assert len(similar.nearest(cases(5, 0)[0].embedding, 20, without="")) == 7


@pytest.mark.parametrize("k", [0, -1])
def test_none_asked_for_or_none_there(k: int) -> None:
    query = np.zeros(128, np.float32)
    assert similar_of(cases(3, 0)).nearest(query, k, without="") == ()
    assert SimilarCases("bundle", 128).nearest(query, 4, without="") == ()


def test_the_reference_set_of_a_bundle(tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = read_bundle(write_tiny_bundle(tmp_path_factory.mktemp("similarity") / "tiny"))
    similar, reference = SimilarCases.of_bundle(bundle), bundle.reference()
    assert (len(similar), similar.bundle_id) == (REFERENCE_CASES, bundle.id)
    (nearest,) = similar.nearest(reference.embeddings[3], 1, without="")
    assert (nearest.case_id, nearest.label) == (reference.case_ids[3], reference.labels[3])
    assert nearest.score == pytest.approx(reference.scores[3])


@given(st.integers(0, 2**32 - 1))
def test_distance_is_euclidean_and_symmetric(seed: int) -> None:
    one, other = np.random.default_rng(seed).normal(size=(2, 128)).astype(np.float32)
    assert distance(one, other) == pytest.approx(float(np.sqrt(((one - other).astype(float) ** 2).sum())), rel=1e-6)
    assert distance(one, other) == distance(other, one)
    assert distance(one, one) == 0


@pytest.mark.parametrize(("scores", "expected"), [([], None), ([None], None), ([0.2, 0.4], 0.3), ([None, 0.5], 0.5)])
def test_knn_score_is_the_mean_of_what_is_known(scores: list[float | None], expected: float | None) -> None:
    answer = knn_score([Neighbour("c", 1.0, None, score) for score in scores])
    assert answer == (None if expected is None else pytest.approx(expected))
