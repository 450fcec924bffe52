"""The lung U-Net: its examples, loss (Dice and cross-entropy), training, and overlap with masks."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor, nn

from edge.engines.base import MASK_SIDE
from edge.imaging.preprocess import Preprocessing
from training.arrays import IGNORE, load, load_mask, reduce_pixels
from training.augment import Augmentation, Augmenter
from training.devices import Place
from training.fit import Say, Schedule, Task, ended, fit
from training.model import LungArchitecture, LungNet, initialise
from training.progress import bar
from training.row import Row


@dataclass(frozen=True)
class LungPreset:
    """side: pixels at which it trains; the exported graph runs it at 256. coarse: a first schedule at half the side,
    for a quarter of the cost: most of the learning happens there.
    """

    architecture: LungArchitecture
    schedule: Schedule
    augmentation: Augmentation
    side: int = MASK_SIDE
    coarse: Schedule | None = None


@dataclass(frozen=True)
class LungExamples:
    """radiographs: uint8 [n, 1, side, side]. masks: uint8 [n, 2, side, side]: lung, and where the annotator decided."""

    radiographs: Tensor
    masks: Tensor


def load_examples(rows: Sequence[Row], kept: Sequence[Path], preprocessing: Preprocessing, side: int) -> LungExamples:
    """The radiographs and masks of every row, reduced to `side`."""
    radiographs, masks = [], []
    for row, path in bar(zip(rows, kept, strict=True), "lung masks", total=len(rows)):
        standardised = load(path)
        mask = load_mask(row, standardised.crop, side, preprocessing.side)
        radiographs.append(reduce_pixels(standardised.pixels, side))
        planes = np.stack([mask > IGNORE, mask != IGNORE]).astype(np.uint8)
        masks.append(torch.from_numpy(planes)[None])
    return LungExamples(torch.cat(radiographs), torch.cat(masks))


def train_lungs(
    load_at: Callable[[int], tuple[LungExamples, LungExamples]], preset: LungPreset, out: Path, made_by: dict[str, Any],
    *, place: Place, say: Say,
) -> Path:  # fmt: skip
    """The path of the best checkpoint by mean Dice on the validation rows.

    load_at: side -> training and validation examples.
    """
    init = None
    if preset.coarse is not None:
        coarse = replace(preset, schedule=preset.coarse, side=preset.side // 2, coarse=None)
        init = train_lungs(load_at, coarse, out / "coarse", made_by, place=place, say=say)
    settings = {**made_by, "augmentation": asdict(preset.augmentation), "side": preset.side}
    if ended(out, preset.architecture, preset.schedule, settings, place=place):
        return out / "best"
    torch.manual_seed(preset.schedule.seed)
    network = LungNet(preset.architecture)
    if init is not None:
        initialise(network, init)
    network = network.to(place.device, memory_format=torch.channels_last)
    augmenter = Augmenter(preset.augmentation)
    training, validation = load_at(preset.side)

    def loss_of(learner: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        radiographs, masks = augmenter(batch[0].float() / 255, batch[1].float())
        logits = learner(radiographs.contiguous(memory_format=torch.channels_last))
        return lung_loss(logits.float(), masks[:, :1], (masks[:, 1:] > 0.99).float())

    def score() -> float:
        return float(dice_of(network, validation).mean())

    task = Task(network, (training.radiographs, training.masks), torch.arange(len(training.masks)), loss_of, score)
    return fit(network, preset.architecture, task, preset.schedule, out, settings, place=place, say=say)


def lung_loss(logits: Tensor, lung: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy plus one minus soft Dice, over known pixels only. All [N, 1, side, side]."""
    entropy = F.binary_cross_entropy_with_logits(logits, lung, weight=known, reduction="sum") / known.sum().clamp(min=1)
    probability = logits.sigmoid() * known
    lung = lung * known
    overlap = 2 * (probability * lung).sum(dim=(1, 2, 3))
    both = (probability + lung).sum(dim=(1, 2, 3))
    return entropy + 1 - ((overlap + 1) / (both + 1)).mean()


def dice(predicted: Tensor, masks: Tensor) -> Tensor:
    """Dice [n] of bool predictions [n, 1, s, s] against masks [n, 2, s, s], over the pixels the annotator decided."""
    known = masks[:, 1:].bool()
    lung = masks[:, :1].bool() & known
    predicted = predicted & known
    overlap = (predicted & lung).sum(dim=(1, 2, 3))
    both = predicted.sum(dim=(1, 2, 3)) + lung.sum(dim=(1, 2, 3))
    return 2 * overlap / both.clamp(min=1)


def iou(overlap_dice: Tensor) -> Tensor:
    """Intersection over union from Dice: both count the same pixels."""
    return overlap_dice / (2 - overlap_dice)


def dice_of(network: nn.Module, examples: LungExamples) -> Tensor:
    predicted = lung_probabilities(network, examples.radiographs) > 0.5
    return dice(predicted, examples.masks)


@torch.inference_mode()
def lung_probabilities(network: nn.Module, radiographs: Tensor, *, batch: int = 16) -> Tensor:
    """uint8 [n, 1, side, side] -> float [n, 1, side, side] in 0..1, on the CPU."""
    device = next(network.parameters()).device
    parts = (part.to(device).float().div(255) for part in radiographs.split(batch))
    return torch.cat([network(part.contiguous(memory_format=torch.channels_last)).sigmoid().cpu() for part in parts])
