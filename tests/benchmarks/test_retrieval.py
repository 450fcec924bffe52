"""The measurement of the storages: made embeddings are like the answers, recall is told as it is, i8 is caught."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.made_embeddings import SIZE, chunks, fitted, likeness
from benchmarks.retrieval import Job, measure


def answers(count: int = 500) -> NDArray[np.float32]:
    """As of a layer with ReLU: few dimensions, many zeros, some numbers that are always zero."""
    rng = np.random.default_rng(0)
    through = rng.normal(size=(4, SIZE)) * (np.arange(SIZE) >= 20)
    return np.maximum(rng.normal(size=(count, 4)) @ through, 0).astype(np.float32)


def test_made_embeddings_have_the_distributions_and_correlations_of_the_answers() -> None:
    given = answers()
    made = np.concatenate(list(chunks(fitted(given), 4000)))
    assert made.shape == (4000, SIZE)
    assert (made[:, :20] == 0).all()
    np.testing.assert_allclose((made == 0).mean(0), (given == 0).mean(0), atol=0.06)
    np.testing.assert_allclose(made.mean(0), given.mean(0), atol=0.15)
    told = likeness(given, fitted(given))
    assert told.dimensions_answers - 1 <= told.dimensions_made <= 2 * told.dimensions_answers  # of 108
    assert told.near_made >= 0.8 * told.near_answers  # no easier to search


def test_they_are_the_same_each_time_and_queries_are_others() -> None:
    made = fitted(answers())
    (first,), (again,), (other,) = chunks(made, 5), chunks(made, 5), chunks(made, 5, first_seed=9)
    assert (first == again).all()
    assert not (first == other).all()


@pytest.mark.parametrize(("dtype", "least", "most"), [("f32", 1.0, 1.0), ("f16", 1.0, 1.0), ("i8", 0.2, 0.99)])
def test_recall_is_of_the_true_nearest(dtype: str, least: float, most: float) -> None:
    """i8 is the negative control: what loses the nearest is seen to lose them."""
    measured = measure(Job(None, dtype, 3000, 40))
    assert least <= measured.recall <= most
    assert measured.exact
    assert measured.recall_of_index <= measured.recall
    assert measured.file_bytes > 3000 * SIZE * {"f32": 4, "f16": 2, "i8": 1}[dtype]
    assert 0 < measured.cpu_p50_s <= measured.cpu_p99_s
