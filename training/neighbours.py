"""Nearest neighbours in the embedding: their vote (k = 4) and the distances between and within labels (figure 6).

Exact and in memory, for a study; the box searches its own index (edge/similarity.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.statistics import finite, labelled, same_length

MeanAndSpread = tuple[float, float]  # mean, standard deviation


@dataclass(frozen=True)
class Votes:
    """nearest: int [n, k], rows of the reference, nearest first. distances: float64 [n, k], Euclidean.

    by_score: float64 [n], mean of the neighbours' scores (the paper's way). by_label: share of positives among them.
    """

    nearest: NDArray[np.intp]
    distances: NDArray[np.float64]
    by_score: NDArray[np.float64]
    by_label: NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """Mean and standard deviation over pairs of a query and a reference case; None where there is no such pair.

    overall: all pairs. positive, negative: both of that label. between: of different labels. ratio: the mean of
    `between` over the mean of all pairs of one label; None where that is 0, or where one of the two has no pair.
    """

    overall: MeanAndSpread
    positive: MeanAndSpread | None
    negative: MeanAndSpread | None
    between: MeanAndSpread | None
    ratio: float | None


def vote(
    queries: ArrayLike,
    reference: ArrayLike,
    reference_scores: ArrayLike,
    reference_positive: ArrayLike,
    *,
    k: int = 4,
    query_clusters: Sequence[str] | None = None,
    reference_clusters: Sequence[str] | None = None,
) -> Votes:
    """queries: [n, 128]. reference: [m, 128]. With clusters (both or neither) a query never meets its own.

    At equal distance the earlier case is nearer. k shrinks to what every query can have in a small reference.
    Raises ValueError where a query has no neighbour at all.
    """
    scores, flags = labelled(reference_scores, reference_positive)
    same_length(reference=reference, reference_scores=scores)
    if k < 1:
        raise ValueError(f"k must be 1 or more; it is {k}")
    distances = pair_distances(queries, reference)  # [n, m]
    strangers = _strangers(distances.shape, query_clusters, reference_clusters)
    fewest = int(strangers.sum(axis=1).min(initial=len(scores)))
    if fewest == 0:
        raise ValueError("a query has no case of another cluster in the reference; give a larger reference")
    far = np.where(strangers, distances, np.inf)
    nearest = np.argsort(far, axis=1, kind="stable")[:, : min(k, fewest)]
    return Votes(
        nearest=nearest,
        distances=np.take_along_axis(distances, nearest, axis=1),
        by_score=scores[nearest].mean(axis=1),
        by_label=flags[nearest].mean(axis=1),
    )


def distances(
    queries: ArrayLike, query_positive: ArrayLike, reference: ArrayLike, reference_positive: ArrayLike
) -> Distances:
    """Between test (queries) and training (reference) embeddings, as under the paper's figure 6."""
    every = pair_distances(queries, reference)  # [n, m]
    of_query, of_reference = (np.asarray(flags, bool) for flags in (query_positive, reference_positive))
    same_length(queries=every, query_positive=of_query)
    same_length(reference=every.T, reference_positive=of_reference)
    if every.size == 0:
        raise ValueError(f"distances need queries and reference cases; there are {len(every)} and {len(of_reference)}")
    same = of_query[:, None] == of_reference[None, :]
    within, between = every[same], every[~same]
    comparable = within.size and between.size and within.mean() > 0
    return Distances(
        overall=(float(every.mean()), float(every.std())),
        positive=_spread(every[of_query][:, of_reference]),
        negative=_spread(every[~of_query][:, ~of_reference]),
        between=_spread(between),
        ratio=float(between.mean() / within.mean()) if comparable else None,
    )


def pair_distances(queries: ArrayLike, reference: ArrayLike) -> NDArray[np.float64]:
    """Euclidean, float64 [n, m]. By differences, not products: equal embeddings are exactly 0 apart."""
    near, far = finite("queries", queries), finite("reference", reference)
    if near.ndim != 2 or far.ndim != 2 or near.shape[1] != far.shape[1]:
        raise ValueError(f"embeddings must be [n, d] and [m, d]; they are {list(near.shape)} and {list(far.shape)}")
    apart = np.empty((len(near), len(far)))
    for row, query in enumerate(near):
        apart[row] = np.linalg.norm(far - query, axis=1)
    return apart


def _strangers(
    shape: tuple[int, ...], query_clusters: Sequence[str] | None, reference_clusters: Sequence[str] | None
) -> NDArray[np.bool_]:
    """[n, m]: whether the pair is of two clusters."""
    if query_clusters is None and reference_clusters is None:
        return np.ones(shape, bool)
    if query_clusters is None or reference_clusters is None:
        raise ValueError("clusters are known of one side only; give those of the queries and of the reference")
    ours, theirs = np.asarray(query_clusters), np.asarray(reference_clusters)
    if (len(ours), len(theirs)) != shape:
        raise ValueError(f"clusters must be one for each embedding, {shape}; there are {len(ours)} and {len(theirs)}")
    return ours[:, None] != theirs[None, :]


def _spread(pairs: NDArray[np.float64]) -> MeanAndSpread | None:
    return (float(pairs.mean()), float(pairs.std())) if pairs.size else None
