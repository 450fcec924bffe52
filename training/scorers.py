"""Who answers for a file: the box's own pipeline, its engine without gates, or weights still in torch."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edge.bundle import Bundle, open_bundle
from edge.config import Config
from edge.engines import open_engine, predict
from edge.engines.base import MASK_SIDE
from edge.errors import RadiographError
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.quality import lung_fraction
from edge.reading_room import open_pipeline
from edge.values import ModelInput, Prediction, Source
from training.arrays import load_mask
from training.evaluate import Answer, Scorer
from training.lungs import dice
from training.model import channels_of, inputs_of, load_classifier, load_lungs, reduce_to
from training.row import Row


@dataclass(frozen=True)
class EngineAnswer:
    """What the engine says of one file, whatever a gate would say."""

    path: Path
    source: Source
    model_input: ModelInput
    prediction: Prediction

    @property
    def lung_fraction(self) -> float:
        """As the box's gate measures it."""
        return lung_fraction(self.prediction.lung_mask, self.model_input.crop, self.model_input.pixels.shape[-1])


@contextlib.contextmanager
def box_scorer(bundle: Path, precision: str) -> Iterator[Scorer]:
    """The box's own pipeline: its decoding, engine and gates."""
    with open_pipeline(Config(bundle=str(bundle), backend="openvino", precision=precision)) as pipeline:

        def score(path: Path) -> Answer:
            report = pipeline.report(path)
            value = report.prediction.score if report.prediction is not None and report.scored else None
            rows, columns = (report.source.rows, report.source.columns) if report.source is not None else (0, 0)
            return Answer(value, str(report.reason or ""), rows, columns, report.lung_fraction)

        yield score


def ask_engine(bundle: Bundle, precision: str, paths: Iterable[Path]) -> Iterator[EngineAnswer]:
    """The engine's answer to each file. Raises the RadiographError of a file that cannot be read."""
    engine = open_engine(bundle, backend="openvino", precision=precision)
    try:
        for path in paths:
            radiograph = read(path.read_bytes())
            model_input = preprocess(radiograph, bundle.manifest.preprocessing)
            (prediction,) = predict(engine, [model_input])
            yield EngineAnswer(path, radiograph.source, model_input, prediction)
    finally:
        engine.close()


def dice_figures(rows: Sequence[Row], bundle: Path, precision: str) -> dict[str, float]:
    """Median and tenth percentile of the shipped network's Dice over the masks of radiographs that the box can read.

    n, n_refused: masks; a radiograph with two annotators has two.
    """
    known = []
    for row in rows:
        with contextlib.suppress(RadiographError):
            read(row.path.read_bytes())
            known.append(row)
    found = lung_dice(known, bundle, precision)
    return {
        "median": float(np.median(found)),
        "tenth_percentile": float(np.percentile(found, 10)),
        "n": len(found),
        "n_radiographs": len({row.path for row in known}),
        "n_refused": len(rows) - len(known),
    }


def lung_dice(rows: Sequence[Row], bundle: Path, precision: str) -> list[float]:
    """Dice of the shipped network's mask against each row's mask, at 256 pixels, over what the annotator decided."""
    opened = open_bundle(str(bundle))
    found = []
    for row, answer in zip(rows, ask_engine(opened, precision, [row.path for row in rows]), strict=True):
        side = opened.manifest.preprocessing.side
        mask = load_mask(row, answer.model_input.crop, MASK_SIDE, side)
        planes = torch.from_numpy(np.stack([mask > 127, mask != 127]))[None]
        found.append(float(dice(torch.from_numpy(answer.prediction.lung_mask > 0.5)[None, None], planes)))
    return found


def size_only(path: Path) -> Answer:
    """No score: what a shortcut baseline may know of a file."""
    try:
        source = read(path.read_bytes()).source
    except RadiographError as refusal:
        return Answer(None, str(refusal.reason))
    return Answer(None, "", source.rows, source.columns)


def torch_scorer(lungs: Path, member: Path, preprocessing: Preprocessing) -> Scorer:
    """Weights before any export: no gates, a refusal only where the file cannot be read."""
    lung_net, (classifier, architecture) = load_lungs(lungs), load_classifier(member)

    @torch.inference_mode()
    def score(path: Path) -> Answer:
        try:
            radiograph = read(path.read_bytes())
        except RadiographError as refusal:
            return Answer(None, str(refusal.reason))
        pixels = torch.from_numpy(preprocess(radiograph, preprocessing).pixels)[None]
        lung_mask = lung_net(reduce_to(pixels, MASK_SIDE)).sigmoid()
        channels = channels_of(*inputs_of(pixels, lung_mask, architecture.side, lung_crop=architecture.lung_crop))
        logits, _ = classifier(channels)
        return Answer(float(logits.softmax(dim=-1)[0, 1]), "", radiograph.source.rows, radiograph.source.columns)

    return score
