"""What a study came to: the values that every table and figure of its report is made from, in flow order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.statistics import Interval
from training.row import Row

ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Answers:
    """What one network says of the n rows of a draw, in their order.

    scores: float64 [n], probability of the positive label. embeddings: float32 [n, 128].
    """

    scores: NDArray[np.float64]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True)
class Draw:
    """One division of the cohort, and the networks trained on it.

    name: split-0, split-1, ..., or source-<name> where that source is held out. rows: each with its split of this draw:
    train, val, test, or a test_<name> that the manifest fixes. answers: by network. members: networks of the ensemble.
    """

    name: str
    rows: tuple[Row, ...]
    answers: Mapping[str, Answers]
    members: tuple[str, ...]

    def places(self, split: str) -> NDArray[np.intp]:
        """Indices of a split's rows."""
        return np.array([place for place, row in enumerate(self.rows) if row.split == split], np.intp)

    def tests(self) -> tuple[str, ...]:
        """Names of the test splits, in the manifest's order."""
        return tuple(dict.fromkeys(row.split for row in self.rows if row.split.startswith("test")))

    def positive(self, positive_label: str) -> NDArray[np.bool_]:
        return np.array([row.label == positive_label for row in self.rows])

    def scores(self, network: str) -> NDArray[np.float64]:
        """Of one network, or of `ensemble`: the mean of its members' probabilities."""
        if network != ENSEMBLE:
            return self.answers[network].scores
        return np.mean([self.answers[member].scores for member in self.members], axis=0)


@dataclass(frozen=True)
class LungOverlap:
    """Overlap of the U-Net's mask with annotators' masks. dice, iou: float64 [n], one for each mask."""

    split: str
    rows: tuple[Row, ...]
    dice: NDArray[np.float64]
    iou: NDArray[np.float64]


@dataclass(frozen=True)
class Excluded:
    """A row that takes no part, and why: lateral, artefact, minor, refused, or the manifest's own excluded_<reason>."""

    row: Row
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class TriedMethod:
    """What was tried before the study, and why. aucs: by how it was judged, each with n radiographs."""

    name: str
    why: str
    aucs: Mapping[str, tuple[Interval, int]]


@dataclass(frozen=True)
class StudyOutcome:
    """draws: draws[0] is the division that the weights to deploy come from. source_draws: one held-out source each.

    networks: as trained, in order; those outside draws[0].members are only compared. primary: the test split on which
    the study states its figures. settings: preset, seeds, versions and digests, enough to repeat it.
    """

    title: str
    labels: tuple[str, str]  # negative, positive
    draws: tuple[Draw, ...]
    source_draws: tuple[Draw, ...]
    excluded: tuple[Excluded, ...]
    networks: tuple[str, ...]
    embedding_member: str
    primary: str
    lungs: Sequence[LungOverlap]
    settings: Mapping[str, Any]
    methods: Sequence[TriedMethod] = ()
