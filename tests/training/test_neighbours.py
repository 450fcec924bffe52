"""Votes and distances worked out by hand in the plane, and the laws that hold in any space."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import NearestNeighbors

from training.neighbours import distances, vote

REFERENCE = np.array([[0, 0], [3, 4], [6, 8], [0, 1]], float)
SCORES, POSITIVE = [0.1, 0.6, 0.9, 0.3], [False, True, True, False]
GRID = st.integers(-3, 3).map(float)  # few places, so that ties and equal embeddings are the rule


def test_a_vote_worked_out_by_hand() -> None:
    votes = vote([[0, 0], [6, 8]], REFERENCE, SCORES, POSITIVE, k=3)
    assert votes.nearest.tolist() == [[0, 3, 1], [2, 1, 3]]
    assert votes.distances.tolist() == [[0, 1, 5], [0, 5, pytest.approx(np.sqrt(36 + 49))]]
    assert votes.by_score == pytest.approx([(0.1 + 0.3 + 0.6) / 3, (0.9 + 0.6 + 0.3) / 3])
    assert votes.by_label == pytest.approx([1 / 3, 2 / 3])


def test_neighbours_agree_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    queries, reference = random.normal(size=(9, 128)), random.normal(size=(40, 128))
    votes = vote(queries.astype(np.float32), reference.astype(np.float32), random.random(40), random.random(40) < 0.5)
    far, nearest = NearestNeighbors(n_neighbors=4).fit(reference).kneighbors(queries)
    assert np.array_equal(votes.nearest, nearest)
    assert np.allclose(votes.distances, far, atol=1e-5)


def test_a_query_does_not_meet_its_own_patient() -> None:
    votes = vote(
        REFERENCE, REFERENCE, SCORES, POSITIVE, k=1, query_clusters=list("abca"), reference_clusters=list("abca")
    )
    assert votes.nearest.tolist() == [[1], [3], [1], [1]]  # the first and the last are of one patient


@given(st.data())
def test_nobody_ever_meets_their_own_cluster(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 12))
    embeddings = data.draw(arrays(float, (count, 2), elements=GRID))
    clusters = data.draw(st.lists(st.sampled_from("abcd"), min_size=count, max_size=count))
    scores = np.linspace(0, 1, count)
    if len(set(clusters)) == 1:
        with pytest.raises(ValueError, match="no case of another cluster"):
            vote(embeddings, embeddings, scores, scores > 0.5, query_clusters=clusters, reference_clusters=clusters)
        return
    votes = vote(embeddings, embeddings, scores, scores > 0.5, query_clusters=clusters, reference_clusters=clusters)
    fewest = min(count - clusters.count(cluster) for cluster in set(clusters))
    assert votes.nearest.shape == (count, min(4, fewest))
    for row, nearest in enumerate(votes.nearest):
        assert clusters[row] not in {clusters[place] for place in nearest}
        strangers = [place for place in range(count) if clusters[place] != clusters[row]]
        every = sorted(np.linalg.norm(embeddings[strangers] - embeddings[row], axis=1))
        assert np.allclose(votes.distances[row], every[: len(nearest)])


@given(st.data())
def test_the_order_of_the_reference_does_not_change_distances(data: st.DataObject) -> None:
    reference = data.draw(arrays(float, (6, 3), elements=GRID))
    order = data.draw(st.permutations(range(6)))
    one, other = (vote(reference[:2], points, [0.5] * 6, [True] * 6) for points in (reference, reference[order]))
    assert np.array_equal(one.distances, other.distances)


def test_a_small_reference_has_fewer_neighbours() -> None:
    votes = vote(np.ones((2, 5)), np.ones((3, 5)), [0.2, 0.4, 0.9], [False, True, True])
    assert votes.nearest.tolist() == [[0, 1, 2], [0, 1, 2]]  # equally near: the earlier first
    assert votes.by_score == pytest.approx([0.5, 0.5])
    assert vote(np.ones((0, 5)), np.ones((3, 5)), [0.2, 0.4, 0.9], [False, True, True]).by_score.shape == (0,)


def test_what_cannot_vote_is_refused() -> None:
    with pytest.raises(ValueError, match="queries has nan at row 1"):
        vote([[0, 0], [0, float("nan")]], REFERENCE, SCORES, POSITIVE)
    with pytest.raises(ValueError, match="reference_scores 3"):
        vote(REFERENCE, REFERENCE, SCORES[:3], POSITIVE[:3])
    with pytest.raises(ValueError, match="one side only"):
        vote(REFERENCE, REFERENCE, SCORES, POSITIVE, query_clusters=list("abcd"))
    with pytest.raises(ValueError, match="one for each embedding"):
        vote(REFERENCE, REFERENCE, SCORES, POSITIVE, query_clusters=list("ab"), reference_clusters=list("abcd"))
    with pytest.raises(ValueError, match="k must be 1 or more"):
        vote(REFERENCE, REFERENCE, SCORES, POSITIVE, k=0)
    with pytest.raises(ValueError, match=r"\[n, d\]"):
        vote([[0, 0, 0]], REFERENCE, SCORES, POSITIVE)


def test_distances_worked_out_by_hand() -> None:
    """Positives at 0 and 2, the negative at 10; the test positive at 1, the test negative at 12."""
    apart = distances([[1], [12]], [True, False], [[0], [2], [10]], [True, True, False])
    assert apart.positive == (1, 0)  # 1 and 1
    assert apart.negative == (2, 0)
    assert apart.between == (pytest.approx(31 / 3), pytest.approx(np.std([9, 12, 10])))
    assert apart.overall == (pytest.approx(35 / 6), pytest.approx(np.std([1, 1, 9, 12, 10, 2])))
    assert apart.ratio == pytest.approx((31 / 3) / (4 / 3))


def test_distances_without_a_label_or_a_difference() -> None:
    one_label = distances([[1], [2]], [True, True], [[0], [5]], [True, True])
    assert (one_label.negative, one_label.between, one_label.ratio) == (None, None, None)
    assert one_label.overall == one_label.positive == (2.5, pytest.approx(np.std([1, 4, 2, 3])))
    constant = distances(np.ones((3, 4)), [True, False, True], np.ones((3, 4)), [True, False, False])
    assert constant.overall == constant.positive == constant.between == (0, 0)
    assert constant.ratio is None
    with pytest.raises(ValueError, match="there are 0 and 3"):
        distances(np.ones((0, 4)), [], np.ones((3, 4)), [True, False, False])
    with pytest.raises(ValueError, match="query_positive 1"):
        distances([[1], [2]], [True], [[0]], [True])
