"""A test set by who is in it: sex, age, hospital, other findings, hard cases, and the day after admission.

rows and scores belong together, one score for each row. Groups without radiographs are left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.statistics import finite, same_length
from training.measures import Measures, measure
from training.row import Row

AGES = (18, 40, 50, 60, 70, 80, 200)
UNKNOWN = "unknown"
_SEXES = {"F": "women", "M": "men"}
_FINDINGS = {False: "normal", True: "abnormal", None: UNKNOWN}


@dataclass(frozen=True)
class Subgroup:
    """name: of the group within its table. hospital: where the table is by hospital, else ""."""

    name: str
    n_positive: int
    n_negative: int
    measures: Measures
    hospital: str = ""


@dataclass(frozen=True)
class Course:
    """Scores of the positives against days since admission (figure 4). days, scores: float64 [n], by day.

    clusters: [n]. means: (day, mean score, radiographs) of each day.
    """

    days: NDArray[np.float64]
    scores: NDArray[np.float64]
    clusters: tuple[str, ...]
    means: tuple[tuple[float, float, int], ...]


def by_sex(rows: Sequence[Row], scores: ArrayLike, positive_label: str, *, point: float) -> tuple[Subgroup, ...]:
    """Women, men, unknown."""
    names = [_SEXES.get(row.sex, UNKNOWN) for row in rows]
    return _grouped(rows, scores, positive_label, names, (*_SEXES.values(), UNKNOWN), point=point)


def by_age(
    rows: Sequence[Row], scores: ArrayLike, positive_label: str, *, point: float, edges: Sequence[int] = AGES
) -> tuple[Subgroup, ...]:
    """From each edge to below the next, in years; the last edge only bounds what is believed. Then unknown ages, and
    `other ages` for those outside the edges."""
    if len(edges) < 2 or list(edges) != sorted(set(edges)):
        raise ValueError(f"ages need two edges or more, ascending; they are {tuple(edges)}")
    spans = [f"{low}-{high - 1}" for low, high in pairwise(edges[:-1])]
    order = ("other ages", *spans, f"{edges[-2]} and over", "other ages")  # as np.digitize numbers them
    ages = [None if row.age is None else float(finite(f"age of line {row.line}", row.age)) for row in rows]
    names = [UNKNOWN if age is None else order[int(np.digitize(age, edges))] for age in ages]
    return _grouped(rows, scores, positive_label, names, (*order[1:-1], UNKNOWN, order[0]), point=point)


def by_hospital(rows: Sequence[Row], scores: ArrayLike, positive_label: str, *, point: float) -> tuple[Subgroup, ...]:
    names = [row.hospital or UNKNOWN for row in rows]
    return _grouped(rows, scores, positive_label, names, _named(names), point=point)


def by_abnormal(rows: Sequence[Row], scores: ArrayLike, positive_label: str, *, point: float) -> tuple[Subgroup, ...]:
    """Negatives with normal and abnormal lungs, for each hospital that says so of any; normal, abnormal, unknown."""
    values = _scores_of(rows, scores)
    groups: list[Subgroup] = []
    for hospital in _named([row.hospital or UNKNOWN for row in rows]):
        chosen = [
            place
            for place, row in enumerate(rows)
            if (row.hospital or UNKNOWN) == hospital and row.label != positive_label
        ]
        negatives = [rows[place] for place in chosen]
        if any(row.abnormal is not None for row in negatives):
            names = [_FINDINGS[row.abnormal] for row in negatives]
            order = tuple(_FINDINGS.values())
            groups += _grouped(negatives, values[chosen], positive_label, names, order, point=point, hospital=hospital)
    return tuple(groups)


def hard_cases(rows: Sequence[Row], scores: ArrayLike, positive_label: str, *, point: float) -> Subgroup | None:
    """Those that radiologists called hard to diagnose; None where there are none."""
    names = ["hard cases" if row.hard else "" for row in rows]
    groups = _grouped(rows, scores, positive_label, names, ("hard cases",), point=point)
    return groups[0] if groups else None


def by_day(rows: Sequence[Row], scores: ArrayLike, positive_label: str | None = None) -> Course:
    """The positives whose day since admission is known. positive_label: None where all the rows are positive."""
    values = _scores_of(rows, scores)
    dated = [
        (row.days_since_admission, float(value), row.cluster)
        for row, value in zip(rows, values, strict=True)
        if row.days_since_admission is not None and positive_label in (None, row.label)
    ]
    days = finite("days_since_admission", [day for day, _, _ in dated])
    order = np.argsort(days, kind="stable")
    of_day = np.array([dated[place][1] for place in order])
    days = days[order]
    means = tuple((float(day), float(of_day[days == day].mean()), int((days == day).sum())) for day in np.unique(days))
    return Course(days, of_day, tuple(dated[place][2] for place in order), means)


def _grouped(
    rows: Sequence[Row],
    scores: ArrayLike,
    positive_label: str,
    names: Sequence[str],
    order: Iterable[str],
    *,
    point: float,
    hospital: str = "",
) -> tuple[Subgroup, ...]:
    """names: of each row's group. order: the groups that are wanted."""
    values, named = _scores_of(rows, scores), np.asarray(names)
    positive = np.array([row.label == positive_label for row in rows], bool)
    clusters = np.array([row.cluster for row in rows])
    groups = []
    for name in order:
        chosen = named == name
        if chosen.any():
            found = measure(values[chosen], positive[chosen], clusters[chosen], point=point)
            n_positive = int(positive[chosen].sum())
            groups.append(Subgroup(name, n_positive, int(chosen.sum()) - n_positive, found, hospital))
    return tuple(groups)


def _scores_of(rows: Sequence[Row], scores: ArrayLike) -> NDArray[np.float64]:
    values = finite("scores", scores)
    same_length(rows=[row.line for row in rows], scores=values)
    return values


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """In alphabetical order, the unknown last."""
    return tuple(sorted(set(names), key=lambda name: (name == UNKNOWN, name)))
