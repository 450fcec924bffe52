"""Scores a manifest's splits and states the figures beside shortcut baselines. Scorers are made in scorers.py.

A scorer is a function from a file to a score, or to why there is none.
"""

import csv
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edge.errors import UsageError
from edge.statistics import Interval, Proportion, auc_interval
from training.progress import bar
from training.row import Row

SHORTCUTS = ("width", "aspect", "view")


@dataclass(frozen=True)
class Answer:
    """What a scorer says of one file. score: None when it is refused, for `reason`. rows, columns: of the file."""

    score: float | None
    reason: str = ""
    rows: int = 0
    columns: int = 0
    lung_fraction: float | None = None


Scorer = Callable[[Path], Answer]


@dataclass(frozen=True)
class Scored:
    row: Row
    answer: Answer

    @property
    def cluster(self) -> str:
        """What is redrawn together: the group (several patients of one case) or else the patient."""
        return self.row.group_id or self.row.patient_id


def score_rows(rows: Sequence[Row], scorer: Scorer) -> tuple[Scored, ...]:
    return tuple(Scored(row, scorer(row.path)) for row in bar(rows, "score", total=len(rows)))


def split_figures(scored: Sequence[Scored], *, positive_label: str, point: float) -> dict[str, Any]:
    """The figures of one split for a manifest: counts, refusals, AUC with interval if it has both labels,
    sensitivity and specificity at `point` with counts and Wilson's interval."""
    counted = [item for item in scored if item.answer.score is not None]
    flags = [item.row.label == positive_label for item in counted]
    scores = [item.answer.score for item in counted if item.answer.score is not None]
    figures: dict[str, Any] = {
        "n_covid": sum(flags),
        "n_other": len(flags) - sum(flags),
        "n_refused": len(scored) - len(counted),
        "point": point,
    }
    if any(flags) and not all(flags):
        figures |= _area(auc_interval(scores, flags, [item.cluster for item in counted]))
    found = [score >= point for score in scores]
    if any(flags):
        hits = sum(1 for hit, flag in zip(found, flags, strict=True) if hit and flag)
        figures["sensitivity"] = _proportion(Proportion(hits, sum(flags)))
    if not all(flags):
        spared = sum(1 for hit, flag in zip(found, flags, strict=True) if not hit and not flag)
        figures["specificity"] = _proportion(Proportion(spared, len(flags) - sum(flags)))
    return figures


def known_sizes(training: Sequence[Scored], *, positive_label: str) -> tuple[Scored, ...]:
    """The train rows that the baselines can be fitted on. Raises UsageError when they lack one of the two labels."""
    known = tuple(item for item in training if item.answer.rows)
    if len({item.row.label == positive_label for item in known}) < 2:
        raise UsageError("the shortcut baselines need readable train rows of both labels; leave out --shortcuts")
    return known


def shortcut_figures(training: Sequence[Scored], measured: Sequence[Scored], *, positive_label: str) -> dict[str, Any]:
    """AUC and interval of logistic regressions on what has nothing to do with lungs, fitted on the training rows: the
    file's width, its aspect ratio, the view, and all three. A model that is no better has shown nothing.

    They answer for the radiographs that the model scored, no others.
    """
    counted = [item for item in measured if item.answer.score is not None]
    flags = [item.row.label == positive_label for item in counted]
    areas = {}
    for names in (*((name,) for name in SHORTCUTS), SHORTCUTS):
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(_shortcuts(training, names), [item.row.label == positive_label for item in training])
        guessed = model.predict_proba(_shortcuts(counted, names))[:, 1]
        areas["+".join(names)] = _area(auc_interval(list(guessed), flags, [item.cluster for item in counted]))
    return {"n_fitted": len(training), "areas": areas}


def write_scores(scored: Sequence[Scored], path: Path) -> None:
    """One line a radiograph, by file name: what the figures were made from."""
    with path.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(["file", "split", "label", *(field.name for field in dataclasses.fields(Answer))])
        for item in scored:
            writer.writerow([item.row.path.name, item.row.split, item.row.label, *dataclasses.astuple(item.answer)])


def _shortcuts(scored: Sequence[Scored], names: Sequence[str]) -> np.ndarray:
    values = {
        "width": lambda item: float(item.answer.columns),
        "aspect": lambda item: item.answer.columns / item.answer.rows,
        "view": lambda item: float(item.row.view.upper().startswith("PA")),
    }
    return np.array([[values[name](item) for name in names] for item in scored])


def _area(interval: Interval) -> dict[str, float]:
    return {"auc": interval.value, "auc_low": interval.low, "auc_high": interval.high}


def _proportion(proportion: Proportion) -> dict[str, float]:
    interval = proportion.interval
    return {
        "count": proportion.count,
        "total": proportion.total,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
    }
