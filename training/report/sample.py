"""What one network says of one split of a draw: the rows and arrays that every table and figure starts from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.operating_point import operating_point
from training.outcome import ENSEMBLE, Draw, StudyOutcome
from training.row import Row
from training.splits import DRAWN_BESIDE_FIXED

HALF = "half"  # the paper's rule: positive from a score of 0.5


@dataclass(frozen=True)
class Sample:
    """n radiographs in the draw's order. scores: float64 [n]. positive: bool [n]. embeddings: float32 [n, 128], of the
    network itself, or of the embedding member where the network is the ensemble. point: from which a score is called
    positive."""

    rows: tuple[Row, ...]
    scores: NDArray[np.float64]
    positive: NDArray[np.bool_]
    embeddings: NDArray[np.float32]
    point: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def clusters(self) -> tuple[str, ...]:
        return tuple(row.cluster for row in self.rows)

    @property
    def both_labels(self) -> bool:
        return bool(self.positive.any() and not self.positive.all())

    @property
    def correct(self) -> NDArray[np.bool_]:
        return (self.scores >= self.point) == self.positive

    def patients(self) -> int:
        return len({row.patient_id for row in self.rows})

    def where(self, kept: NDArray[np.bool_]) -> "Sample":
        places = np.flatnonzero(kept)
        rows = tuple(self.rows[place] for place in places)
        return Sample(rows, self.scores[places], self.positive[places], self.embeddings[places], self.point)


def sample(outcome: StudyOutcome, split: str, network: str = ENSEMBLE, *, draw: Draw | None = None) -> Sample:
    """Of draws[0] unless another draw is given. Raises KeyError if the network did not answer in that draw."""
    draw = draw or outcome.draws[0]
    return _of_places(outcome, draw, draw.places(split), network)


def of_splits(outcome: StudyOutcome, splits: Sequence[str], *, draw: Draw | None = None) -> Sample:
    """The ensemble on several splits together, in the draw's order."""
    draw = draw or outcome.draws[0]
    places = [place for place, row in enumerate(draw.rows) if row.split in splits]
    return _of_places(outcome, draw, np.array(places, np.intp), ENSEMBLE)


def all_tests(outcome: StudyOutcome) -> Sample:
    """The ensemble on every test split of draws[0] together."""
    return of_splits(outcome, outcome.draws[0].tests())


def rule_of(outcome: StudyOutcome) -> str:
    return str(outcome.settings.get("operating_rule", HALF))


def answered(draw: Draw, network: str) -> bool:
    return all(name in draw.answers for name in (draw.members if network == ENSEMBLE else (network,)))


def networks(outcome: StudyOutcome) -> tuple[str, ...]:
    """Every network that draws[0] knows, as trained, then the ensemble."""
    return (*(name for name in outcome.networks if answered(outcome.draws[0], name)), ENSEMBLE)


def drawn(outcome: StudyOutcome, network: str = ENSEMBLE) -> Iterator[tuple[Draw, Sample]]:
    """The test split of each draw in which the network answered: what was drawn beside the manifest's fixed splits, or
    else the primary one."""
    for draw in outcome.draws:
        split = DRAWN_BESIDE_FIXED if len(draw.places(DRAWN_BESIDE_FIXED)) else outcome.primary
        if answered(draw, network) and len(draw.places(split)):
            yield draw, sample(outcome, split, network, draw=draw)


def _of_places(outcome: StudyOutcome, draw: Draw, places: NDArray[np.intp], network: str) -> Sample:
    inside = outcome.embedding_member if network == ENSEMBLE else network
    # A draw that leaves a source out may hold fewer networks than the study.
    embeddings = draw.answers[inside if inside in draw.answers else next(iter(draw.answers))].embeddings
    return Sample(
        tuple(draw.rows[place] for place in places),
        draw.scores(network)[places],
        draw.positive(outcome.labels[1])[places],
        embeddings[places],
        _point(outcome, draw, network),
    )


def _point(outcome: StudyOutcome, draw: Draw, network: str) -> float:
    """By the study's rule, set on the network's own scores of the validation rows."""
    held = draw.places("val")
    if rule_of(outcome) == HALF:
        return 0.5
    return operating_point(draw.scores(network)[held], draw.positive(outcome.labels[1])[held], rule_of(outcome))
