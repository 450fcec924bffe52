"""What there is to judge by whether the ensemble reads the machine: gathered once, for the first page and its chapter.

The figures come from training/confounding.py; how they are told is in confounding.py beside this module.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.statistics import Interval
from training.confounding import (
    SourceProbe,
    Verdict,
    baselines,
    explained_by_source,
    readable,
    source_alone_auc,
    source_probe,
    verdict,
)
from training.measures import Measures, measure
from training.outcome import ENSEMBLE, Draw, StudyOutcome
from training.report.images import Images
from training.report.paper import name_of
from training.report.sample import Sample, of_splits, sample
from training.report.wording import listed
from training.row import Row
from training.splits import OF_SOURCE

FROZEN = "frozen features"
_Features = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class LeftOut:
    """A source that a network was trained without. sources: usually one; inside: rows of it, measured."""

    name: str
    draw: str
    member: str
    inside: Sample
    measures: Measures


@dataclass(frozen=True)
class Shortcuts:
    """unseen: the radiographs of val and the test splits, which the probes are made on. explained: shares 0..1, of the
    score's variance and of what the labels leave of it. readable: R² by value. areas: AUC by test split, then by what
    it was reached with. alone: AUC of the source alone, by test split. left_out: one for each source held out.
    """

    unseen: Sample
    probe: SourceProbe | None
    explained: float
    explained_within_labels: float
    readable: Mapping[str, Interval]
    areas: Mapping[str, Mapping[str, Interval]]
    alone: Mapping[str, float]
    frozen: bool
    view: bool
    left_out: tuple[LeftOut, ...]
    verdict: Verdict


def shortcuts(outcome: StudyOutcome, images: Images, *, seed: int = 0) -> Shortcuts:
    """Reads the size of every radiograph of draws[0]."""
    draw = outcome.draws[0]
    unseen = of_splits(outcome, ("val", *draw.tests()))
    sources = [row.source for row in unseen.rows]
    probe = source_probe(unseen.embeddings, sources, unseen.clusters, positive=unseen.positive, seed=seed)
    within = explained_by_source(unseen.scores, sources, positive=unseen.positive)
    left_out = tuple(found for held in outcome.source_draws if (found := _left_out(outcome, held, seed)) is not None)
    areas = _areas(outcome, images, seed)
    alone = _source_alone(outcome)
    others = {name: areas[name][ENSEMBLE] for name in other_sources(outcome) if name in areas}
    held_out = {item.name: item.measures.roc_auc for item in left_out if item.measures.roc_auc is not None}
    primary = areas.get(outcome.primary, {})
    known = {name: area for name, area in primary.items() if name not in (*models(outcome), FROZEN)}
    return Shortcuts(
        unseen=unseen,
        probe=probe,
        explained=explained_by_source(unseen.scores, sources),
        explained_within_labels=within,
        readable=_readable(unseen, images, seed),
        areas=areas,
        alone=alone,
        frozen=any(FROZEN in part for part in areas.values()),
        view=any("view" in part for part in areas.values()),
        left_out=left_out,
        verdict=verdict(
            probe,
            model=primary.get(ENSEMBLE),
            shortcuts=known,
            external={**others, **held_out},
            explained=within,
            source_alone=alone.get(outcome.primary),
        ),
    )


def models(outcome: StudyOutcome) -> tuple[str, ...]:
    """What the baselines stand beside: the embedding member and the ensemble."""
    return (outcome.embedding_member, ENSEMBLE)


def other_sources(outcome: StudyOutcome) -> tuple[str, ...]:
    """Test splits whose sources are all named, and none of them trained on."""
    draw = outcome.draws[0]
    trained = {row.source for row in draw.rows if row.split == "train"}
    found = []
    for split in draw.tests():
        sources = {row.source for row in draw.rows if row.split == split}
        if "" not in sources and not sources & trained:
            found.append(split)
    return tuple(found)


def _readable(unseen: Sample, images: Images, seed: int) -> dict[str, Interval]:
    if len(set(unseen.clusters)) < 2:
        return {}
    sizes = np.array([images.size(row) for row in unseen.rows], float)
    values = {"width (log)": np.log(sizes[:, 1]), "aspect ratio": sizes[:, 1] / sizes[:, 0]}
    return {name: readable(unseen.embeddings, value, unseen.clusters, seed=seed) for name, value in values.items()}


def _areas(outcome: StudyOutcome, images: Images, seed: int) -> dict[str, dict[str, Interval]]:
    """Of the baselines and the models on each test split with both labels; models last."""
    train = sample(outcome, "train")
    tests = {split: sample(outcome, split) for split in outcome.draws[0].tests()}
    tests = {split: test for split, test in tests.items() if test.both_labels}
    rows = [*train.rows, *(row for test in tests.values() for row in test.rows)]
    known = _kinds(rows, images)
    areas: dict[str, dict[str, Interval]] = {}
    for split, test in tests.items():
        fitted = {}
        if train.both_labels:
            ours, theirs = (_features(part.rows, images, known) for part in (train, test))
            fitted = baselines(ours, train.positive, theirs, test.positive, test.clusters)
        measured = {}
        for name in models(outcome):
            answers = sample(outcome, split, name)
            area = measure(answers.scores, answers.positive, answers.clusters, point=answers.point, seed=seed).roc_auc
            if area is not None:
                measured[name] = area
        areas[split] = {**fitted, **measured}
    return areas


def _kinds(rows: list[Row], images: Images) -> tuple[bool, bool]:
    """Whether any view is known, and whether all have frozen features."""
    return any(row.view for row in rows), all(images.frozen_features(row) is not None for row in rows)


def _features(rows: tuple[Row, ...], images: Images, known: tuple[bool, bool]) -> _Features:
    view_known, frozen_known = known
    sizes = np.array([images.size(row) for row in rows], float)
    width, aspect = sizes[:, 1:], sizes[:, 1:] / sizes[:, :1]
    view = np.array([[row.view.upper().startswith("PA")] for row in rows], float)
    features = {"width": width, "aspect ratio": aspect}
    if view_known:
        features |= {"view": view, "width, aspect ratio and view": np.hstack([width, aspect, view])}
    else:
        features |= {"width and aspect ratio": np.hstack([width, aspect])}
    if frozen_known:
        features[FROZEN] = np.array([images.frozen_features(row) for row in rows], float)
    return features


def _source_alone(outcome: StudyOutcome) -> dict[str, float]:
    train = sample(outcome, "train")
    known = {}
    for split in outcome.draws[0].tests():
        test = sample(outcome, split)
        area = source_alone_auc(
            [row.source for row in train.rows], train.positive, [row.source for row in test.rows], test.positive
        )
        if area is not None:
            known[split] = area
    return known


def _left_out(outcome: StudyOutcome, draw: Draw, seed: int) -> LeftOut | None:
    """The source that was held out: no longer trained on, and among what is tested. The rest may be too few for train
    to have every other source. The network: the draw's ensemble, often of one member.
    """
    trained = {row.source for row in outcome.draws[0].rows if row.split == "train"}
    without = trained - {row.source for row in draw.rows if row.split == "train"}
    inside = of_splits(outcome, (OF_SOURCE,), draw=draw)
    without &= {row.source for row in inside.rows}
    if not len(inside):
        return None
    figures = measure(inside.scores, inside.positive, inside.clusters, point=inside.point, seed=seed)
    return LeftOut(
        ", ".join(sorted(without - {""})) or draw.name,
        draw.name,
        listed([name_of(member) for member in draw.members]),
        inside,
        figures,
    )
