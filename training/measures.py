"""What a network's scores of a test set are worth: the numbers of table 2 and figures 2 and s6, not their drawing."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import islice

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from edge.statistics import (
    Interval,
    Proportion,
    Ranking,
    Times,
    auc_interval,
    finite,
    labelled,
    need_both_labels,
    precision_interval,
    redraws,
    same_length,
)


@dataclass(frozen=True)
class Measures:
    """Of the radiographs that score `point` or more being called positive. None: the labels do not allow that figure.

    The areas' intervals redraw clusters; Wilson's take radiographs as independent, and so are too narrow where patients
    have many. pr_auc: average precision, which depends on how many are positive.
    """

    accuracy: Proportion | None
    sensitivity: Proportion | None
    specificity: Proportion | None
    roc_auc: Interval | None
    pr_auc: Interval | None
    point: float


@dataclass(frozen=True)
class Samples:
    """The figures of each bootstrap sample of one division's test set, float64 [samples]."""

    accuracy: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    specificity: NDArray[np.float64]
    roc_auc: NDArray[np.float64]


def measure(
    scores: ArrayLike, positive: ArrayLike, clusters: ArrayLike, *, point: float = 0.5, seed: int = 0
) -> Measures:
    """scores: float [n]. positive: bool [n]. clusters: [n], what is redrawn together. n may be 0."""
    values, flags = labelled(scores, positive)
    same_length(scores=values, clusters=clusters)
    called = values >= finite("point", point)
    both = flags.any() and not flags.all()
    return Measures(
        accuracy=_proportion(called == flags),
        sensitivity=_proportion(called[flags]),
        specificity=_proportion(~called[~flags]),
        roc_auc=auc_interval(values, flags, clusters, seed=seed) if both else None,
        pr_auc=precision_interval(values, flags, clusters, seed=seed) if both else None,
        point=float(point),
    )


def bootstrap(
    scores: ArrayLike,
    positive: ArrayLike,
    clusters: ArrayLike,
    *,
    point: float = 0.5,
    samples: int = 100,
    seed: int = 0,
) -> Samples:
    """Bootstrap samples of one test set (the paper: 100 for each of 10 divisions), redrawn by whole clusters.

    A sample with one label only is drawn again. Raises ValueError when the set itself lacks a label.
    """
    values, flags = labelled(scores, positive)
    same_length(scores=values, clusters=clusters)
    if samples < 1:
        raise ValueError(f"samples must be 1 or more; it is {samples}")
    ranking, called = Ranking.of(values, flags), values >= finite("point", point)
    both = (times for times in redraws(clusters, seed=seed) if times[flags].any() and times[~flags].any())
    drawn = [_figures(times, ranking, called) for times in islice(both, samples)]
    return Samples(*np.array(drawn, np.float64).T)


def pooled(samples: Sequence[Samples]) -> dict[str, Interval]:
    """Over the bootstrap samples of all divisions together, by figure: the median, 2.5th and 97.5th percentile."""
    if not samples:
        raise ValueError("there are no bootstrap samples to pool; give those of one division or more")
    answers = {}
    for field in fields(Samples):
        low, median, high = np.percentile(
            np.concatenate([getattr(one, field.name) for one in samples]), [2.5, 50, 97.5]
        )
        answers[field.name] = Interval(float(median), float(low), float(high))
    return answers


def roc_points(scores: ArrayLike, positive: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates, from (0, 0) to (1, 1). Raises ValueError without both labels."""
    values, flags = labelled(scores, positive)
    need_both_labels(flags)
    false_positive_rate, true_positive_rate, _ = roc_curve(flags, values)
    return false_positive_rate, true_positive_rate


def precision_recall_points(scores: ArrayLike, positive: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall, ascending from 0, and precision: a curve of steps. Raises ValueError without both labels."""
    values, flags = labelled(scores, positive)
    need_both_labels(flags)
    precision, recall, _ = precision_recall_curve(flags, values)
    return recall[::-1], precision[::-1]


def confusion(scores: ArrayLike, positive: ArrayLike, point: float) -> NDArray[np.int64]:
    """Counts [[true negatives, false positives], [false negatives, true positives]]."""
    values, flags = labelled(scores, positive)
    called = values >= finite("point", point)
    return np.bincount(2 * flags + called, minlength=4).reshape(2, 2)  # rows: truth; columns: called


def _figures(times: Times, ranking: Ranking, called: NDArray[np.bool_]) -> tuple[float, ...]:
    """Accuracy, sensitivity, specificity and AUC of one redraw that has both labels."""
    flags = ranking.positive
    hits, positives, negatives = times * (called == flags), times[flags].sum(), times[~flags].sum()
    area = ranking.roc_area(times)
    assert area is not None
    sensitivity, specificity = hits[flags].sum() / positives, hits[~flags].sum() / negatives
    return float(hits.sum() / times.sum()), float(sensitivity), float(specificity), area


def _proportion(hits: NDArray[np.bool_]) -> Proportion | None:
    return Proportion(int(hits.sum()), len(hits)) if len(hits) else None
