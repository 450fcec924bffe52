"""A study that never happened: 132 rows of 3 sources, two draws, four members, whose values look like real ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training.outcome import Answers, Draw, Excluded, LungOverlap, StudyOutcome
from training.presets import NO_PREPROCESSING
from training.row import Row
from training.splits import OF_SOURCE

LABELS = ("other", "covid")
HOSTILE = "$\\frac$ ☃ \U0001f9ea <script>alert(1)</script> & | *x* `y` Häuser"
MEMBERS = ("resnet34", "resnet50", "resnet152", "vgg16")
_SIGNAL = {"resnet34": 1.3, "resnet50": 1.6, "resnet152": 1.4, "vgg16": 1.1, NO_PREPROCESSING: 0.8, "chexpert": 0.7}


def made_rows(count: int = 120, *, seed: int = 0) -> tuple[Row, ...]:
    """Two sources that are trained on, then a fifth of the rows from a third one as test_elsewhere."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        positive, place = bool(number % 2), number / count
        split = "train" if place < 0.5 else "val" if place < 0.6 else "test" if place < 0.85 else "test_elsewhere"
        trained_on = "Zürich" if random.random() < (0.7 if positive else 0.3) else "Besançon"
        source = "Łódź" if split == "test_elsewhere" else trained_on
        columns = {
            "source": source,
            "hospital": f"Hôpital {source[0]}",
            "sex": ("M", "F", "", "f")[number // 4 % 4],
            "age": str(int(np.clip(random.normal(62, 15), 18, 96))) if number % 7 else "",
            "days_since_admission": str(int(random.integers(0, 12))) if positive else "",
            "hard": "yes" if number % 9 == 4 else "",
            "abnormal": "" if positive else ("yes", "no")[int(random.integers(2))],
        }
        view = ("AP", "PA", "")[int(random.integers(3))]
        label = LABELS[int(positive)]
        patient = f"SECRET-PATIENT-{number - number % 4 + positive}"  # two radiographs each
        path = Path(f"/secret/folder/{number}.dcm")
        rows.append(Row(number + 2, path, patient, label, split, view, "", None, columns))
    return tuple(rows)


def made_answers(rows: Sequence[Row], network: str, *, seed: int = 0) -> Answers:
    """Embeddings that know the label, and less so the source; scores that follow them."""
    random = np.random.default_rng([seed, sum(network.encode())])
    positive = np.array([row.label == LABELS[1] for row in rows], float)
    source = np.array([float(row.source == "Zürich") for row in rows])
    elsewhere = np.array([row.source == "Łódź" for row in rows], float)
    signal = _SIGNAL.get(network, 1.0) * (2 * positive - 1) * (1 - 0.6 * elsewhere) + 0.9 * (source - 0.5)
    doubt = np.array([np.random.default_rng([7, row.line]).normal(0, 1.1) for row in rows])  # shared by all networks
    logit = signal + doubt + random.normal(0, 0.7, len(rows))
    directions = random.normal(0, 1, (3, 128))
    embeddings = np.maximum(
        np.outer(logit, directions[0]) + 2 * np.outer(source, directions[1]) + random.normal(0, 0.8, (len(rows), 128)),
        0,
    )
    return Answers(1 / (1 + np.exp(-logit)), embeddings.astype(np.float32))


def made_draw(
    name: str, rows: Sequence[Row], networks: Sequence[str], members: Sequence[str], *, seed: int = 0
) -> Draw:
    return Draw(name, tuple(rows), {one: made_answers(rows, one, seed=seed) for one in networks}, tuple(members))


def made_outcome(
    rows: Sequence[Row] | None = None,
    *,
    draws: int = 2,
    members: tuple[str, ...] = MEMBERS,
    compared: tuple[str, ...] = (NO_PREPROCESSING, "chexpert"),
) -> StudyOutcome:
    rows = made_rows() if rows is None else tuple(rows)
    first = made_draw("split-0", rows, (*members, *compared), members)
    later = [
        made_draw(f"split-{number}", _divided(rows, number), members, members, seed=number)
        for number in range(1, draws)
    ]
    dice = np.random.default_rng(5).beta(60, 4, 30)
    annotated = tuple(replace(rows[number % len(rows)], split="test") for number in range(30))
    return StudyOutcome(
        title=HOSTILE,
        labels=LABELS,
        draws=(first, *later),
        source_draws=_source_draws(rows),
        excluded=tuple(Excluded(rows[0], reason, "SECRET") for reason in ("lateral", "artefact", "lateral", "minor")),
        networks=(*members, *compared),
        embedding_member="resnet50",
        primary="test",
        lungs=[LungOverlap("test", annotated, dice, dice / (2 - dice))],
        settings={
            "preset": "scratch",
            "manifest": "häuser.csv",
            "seed": 0,
            "operating_rule": "half",
            "versions": {"edge-cxr": "0.1", "torch": "2.14"},
            "command": "edge-cxr train --manifest häuser.csv --preset scratch --out work/study",
        },
    )


def bare_outcome(rows: Sequence[Row]) -> StudyOutcome:
    """One network, one draw, nothing known but the rows themselves."""
    whole = made_outcome(rows, draws=1, members=("resnet50",), compared=())
    return replace(whole, excluded=(), source_draws=(), lungs=[], settings={})


def stripped(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Without any optional column, and without views."""
    return tuple(replace(row, columns={}, view="") for row in rows)


def _divided(rows: Sequence[Row], seed: int) -> tuple[Row, ...]:
    """Train and test exchanged among those that are not fixed."""
    random = np.random.default_rng(seed)
    patients = sorted({row.patient_id for row in rows})
    chosen = dict(
        zip(patients, random.choice(["train", "val", "test"], len(patients), p=[0.6, 0.15, 0.25]), strict=True)
    )
    return tuple(
        row if row.split == "test_elsewhere" else replace(row, split=str(chosen[row.patient_id])) for row in rows
    )


def _source_draws(rows: Sequence[Row]) -> tuple[Draw, ...]:
    sources = sorted({row.source for row in rows if row.split == "train"} - {""})
    held = []
    for number, source in enumerate(sources if len(sources) > 1 else []):
        moved = [
            replace(row, split=OF_SOURCE if row.source == source else row.split if row.split == "val" else "train")
            for row in rows
            if row.split != "test_elsewhere"
        ]
        held.append(made_draw(f"source-{number}", moved, ("resnet50",), ("resnet50",), seed=9))
    return tuple(held)


@dataclass(frozen=True)
class MadeImages:
    """Something like a chest, with nothing read from disk. Sizes and frozen features follow the source."""

    frozen: bool = True
    with_evidence: bool = True
    names: tuple[str, ...] = field(
        default=("brighten", "sharpen", "gamma", "shear", "rotate", "clahe", "blur", "scale", "flip")
    )

    def pixels(self, row: Row) -> NDArray[np.uint8]:
        chest = 40 + 150 * (1 - self._lobes(row, 256)) + 14 * np.random.default_rng(row.line).normal(0, 1, (256, 256))
        return chest.clip(0, 255).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)

    def lungs(self, row: Row) -> NDArray[np.float32]:
        return self._lobes(row, 256).astype(np.float32)

    def evidence(self, row: Row) -> NDArray[np.float32] | None:
        random = np.random.default_rng(row.line)
        spots = cv2.resize(random.random((4, 4)).astype(np.float32), (32, 32))
        return spots * self._lobes(row, 32).astype(np.float32) if self.with_evidence else None

    def size(self, row: Row) -> tuple[int, int]:
        random = np.random.default_rng(row.line)
        width = 2500 if row.source == "Zürich" else 2000
        return (2000 + int(random.integers(200)), width + int(random.integers(400)))

    def frozen_features(self, row: Row) -> NDArray[np.float32] | None:
        if not self.frozen:
            return None
        random = np.random.default_rng(row.line)
        return (random.normal(0, 1, 16) + 0.5 * (row.label == LABELS[1])).astype(np.float32)

    def augmented(self, row: Row, names: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
        pixels = self.pixels(row)[::2, ::2]
        return {name: np.roll(pixels, 10 * place, axis=1) for place, name in enumerate(self.names) if name in names}

    @staticmethod
    def _lobes(row: Row, side: int) -> NDArray[np.float64]:
        along = (np.arange(side) + 0.5) / side - 0.5
        wide = 0.13 + 0.01 * (row.line % 5)
        across = sum(np.exp(-(((along - at) / wide) ** 4)) for at in (-0.2, 0.2))
        return np.clip(np.outer(np.exp(-((along / 0.32) ** 4)), across), 0, 1)
