"""From a study's folder to its report: the outcome, and the pictures and sizes that the report asks for."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge.engines.base import EVIDENCE_SIDE, MASK_SIDE
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from edge.imaging.read import read
from edge.operating_point import operating_point
from training.arrays import in_processes, load, reduce_pixels, standardise
from training.augment import showcase
from training.evaluate import Answer, Scored, split_figures
from training.lung_crop import lung_boxes, uncrop
from training.lungs import lung_probabilities
from training.model import (
    Classifier,
    ClassifierArchitecture,
    channels_of,
    inputs_of,
    load_classifier,
    load_lungs,
    reduce_to,
)
from training.outcome import ENSEMBLE, StudyOutcome
from training.report.compose import write_report
from training.row import Row
from training.study import Study
from training.study_folder import StudyFolder, read_outcome

FIGURES_JSON = "figures.json"
_SHOWN_SIDE = 512  # pixels of a picture of an augmentation


def report_study(outcome: StudyOutcome, study: Study) -> Path:
    """Write the report of a study that just ended; returns its HTML file."""
    arrays = {row.line: path for row, path in zip(study.cohort.rows, study.cohort.paths, strict=True)}
    return _write(outcome, StudyImages(study.folder, outcome, arrays), study.folder.report, radiographs=True)


def report_again(folder: StudyFolder, manifest: Path, cache: Path, out: Path, *, radiographs: bool) -> Path:
    """The report of an earlier study. Raises UsageError when the manifest is another than the study's."""
    outcome = read_outcome(folder, manifest)
    preprocessing = Preprocessing(framing=outcome.settings["framing"])
    if preprocessing.digest != outcome.settings["preprocessing_digest"]:
        trained = outcome.settings["preprocessing_digest"][:12]
        raise UsageError(
            f"{folder.path.name} was trained with preprocessing {trained}, this is {preprocessing.digest[:12]}; train "
            "it again, or use the version that made it"
        )
    kept = standardise(outcome.draws[0].rows, preprocessing, cache)
    arrays = {item.row.line: item.path for item in kept if item.path is not None}
    return _write(outcome, StudyImages(folder, outcome, arrays), out, radiographs=radiographs)


def _write(outcome: StudyOutcome, images: "StudyImages", out: Path, *, radiographs: bool) -> Path:
    html = write_report(outcome, images, out, radiographs=radiographs)
    figures = json.dumps(figures_of(outcome), indent=1, sort_keys=True) + "\n"
    (out / FIGURES_JSON).write_text(figures, encoding="utf-8")
    return html


def figures_of(outcome: StudyOutcome) -> dict[str, dict[str, Any]]:
    """For machines: of every network of the first draw and of the ensemble, the figures of every test split, at the
    operating point that the study's rule sets on the val rows.
    """
    draw, positive_label = outcome.draws[0], outcome.labels[1]
    held = draw.places("val")
    figures: dict[str, dict[str, Any]] = {}
    for network in (*draw.answers, ENSEMBLE):
        scores = draw.scores(network)
        point = operating_point(scores[held], draw.positive(positive_label)[held], outcome.settings["operating_rule"])
        figures[network] = {
            split: split_figures(
                [Scored(draw.rows[place], Answer(float(scores[place]))) for place in draw.places(split)],
                positive_label=positive_label, point=point,
            )
            for split in draw.tests()
        }  # fmt: skip
    return figures


class StudyImages:
    """What training.report.images.Images promises, from the weights of the first draw. arrays: by line."""

    def __init__(self, folder: StudyFolder, outcome: StudyOutcome, arrays: Mapping[int, Path]) -> None:
        self._folder, self._outcome, self._arrays = folder, outcome, arrays

    def pixels(self, row: Row) -> NDArray[np.uint8]:
        return load(self._arrays[row.line]).pixels

    def lungs(self, row: Row) -> NDArray[np.float32]:
        return self._lung_mask(row)[0, 0].numpy()

    def evidence(self, row: Row) -> NDArray[np.float32] | None:
        network, architecture = self._member
        pixels, lungs = torch.from_numpy(self.pixels(row))[None, None].float() / 255, self._lung_mask(row)
        with torch.inference_mode():
            inputs = inputs_of(pixels, lungs, architecture.side, lung_crop=architecture.lung_crop)
            evidence = network.evidence(network.backbone(channels_of(*inputs)))
            if architecture.lung_crop:
                return uncrop(evidence, lung_boxes(lungs), EVIDENCE_SIDE)[0, 0].numpy()
            return reduce_to(evidence, EVIDENCE_SIDE)[0, 0].numpy()

    def size(self, row: Row) -> tuple[int, int]:
        return self._sizes[row.line]

    def frozen_features(self, row: Row) -> NDArray[np.float32] | None:
        return self._frozen.get(row.line)

    def augmented(self, row: Row, names: Sequence[str]) -> Mapping[str, NDArray[np.uint8]]:
        shown = showcase(reduce_pixels(self.pixels(row), _SHOWN_SIDE)[0, 0], seed=row.line)
        return {name: shown[name] for name in names if name in shown}

    def _lung_mask(self, row: Row) -> torch.Tensor:
        return lung_probabilities(self._lung_net, reduce_pixels(self.pixels(row), MASK_SIDE))

    @cached_property
    def _lung_net(self) -> torch.nn.Module:
        return load_lungs(self._folder.lungs / "best")

    @cached_property
    def _member(self) -> tuple[Classifier, ClassifierArchitecture]:
        return load_classifier(self._folder.network("split-0", self._outcome.embedding_member) / "best")

    @cached_property
    def _frozen(self) -> Mapping[int, NDArray[np.float32]]:
        """Features of the embedding member's backbone as it was before this cohort; {} where it began from nothing."""
        path = self._folder.frozen
        if not path.exists():
            return {}
        with np.load(path) as kept:
            return {int(line): features for line, features in zip(kept["lines"], kept["features"], strict=True)}

    @cached_property
    def _sizes(self) -> Mapping[int, tuple[int, int]]:
        """(rows, columns) of every file, read once for these arrays."""
        rows, kept = self._outcome.draws[0].rows, self._folder.sizes
        names = [self._arrays[row.line].name for row in rows]
        known: dict[str, list[int]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        if not known.keys() >= set(names):
            found = in_processes(_size_of, [row.path for row in rows], "sizes", workers=2)
            known = dict(zip(names, found, strict=True))
            beside = kept.with_name(f".{kept.name}")
            beside.write_text(json.dumps(known), encoding="utf-8")
            beside.replace(kept)
        return {row.line: (known[name][0], known[name][1]) for row, name in zip(rows, names, strict=True)}


def _size_of(path: Path) -> tuple[int, int]:
    source = read(path.read_bytes()).source
    return source.rows, source.columns
