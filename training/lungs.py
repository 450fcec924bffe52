"""The lung U-Net: its examples, loss (Dice and cross-entropy) and Dice; and lung probabilities for the classifier."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor, nn

from edge.engines.base import MASK_SIDE
from edge.imaging.preprocess import Preprocessing
from training.arrays import IGNORE, load, load_mask, progress, reduce_pixels
from training.augment import Augmentation, Augmenter
from training.fit import Say, Schedule, Task, fit
from training.model import LungArchitecture, LungNet, initialise, reduce_to
from training.row import Row


@dataclass(frozen=True)
class LungPreset:
    """side: pixels at which it trains; the exported graph runs it at 256."""

    architecture: LungArchitecture
    schedule: Schedule
    augmentation: Augmentation
    side: int = MASK_SIDE


_STRONG = Augmentation(degrees=12.0, translate=0.08, contrast=0.4, brightness=0.3, gamma=0.4)
_TINY = LungArchitecture(depth=3, widths=(48, 24, 12))
PRESETS: dict[str, LungPreset] = {
    # Half the side costs a quarter: most of the learning happens there, `lungs` then sharpens the edges.
    "lungs-coarse": LungPreset(LungArchitecture(), Schedule(60, 8, 1e-3, patience=20), _STRONG, side=128),
    "lungs": LungPreset(LungArchitecture(), Schedule(12, 8, 4e-4, patience=6), _STRONG),
    "phantom": LungPreset(_TINY, Schedule(8, 16, 2e-3, patience=8), Augmentation(), side=128),
    "smoke": LungPreset(_TINY, Schedule(2, 4, 1e-3), Augmentation(), side=64),
}


@dataclass(frozen=True)
class LungExamples:
    """radiographs: uint8 [n, 1, side, side]. masks: uint8 [n, 2, side, side]: lung, and where the annotator decided."""

    radiographs: Tensor
    masks: Tensor


def load_examples(rows: Sequence[Row], kept: Sequence[Path], preprocessing: Preprocessing, side: int) -> LungExamples:
    radiographs, masks = [], []
    for row, path in zip(rows, kept, strict=True):
        standardised = load(path)
        mask = load_mask(row, standardised.crop, side, preprocessing.side)
        radiographs.append(reduce_pixels(standardised.pixels, side))
        planes = np.stack([mask > IGNORE, mask != IGNORE]).astype(np.uint8)
        masks.append(torch.from_numpy(planes)[None])
    return LungExamples(torch.cat(radiographs), torch.cat(masks))


def train_lungs(
    training: LungExamples, validation: LungExamples, preset: LungPreset, out: Path, made_by: dict[str, Any],
    *, init: Path | None, say: Say,
) -> Path:  # fmt: skip
    """The path of the best checkpoint by mean Dice on the validation rows."""
    torch.manual_seed(preset.schedule.seed)
    network = LungNet(preset.architecture)
    if init is not None:
        initialise(network, init)
    augmenter = Augmenter(preset.augmentation)

    def loss_of(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        radiographs, masks = augmenter(batch[0].float() / 255, batch[1].float())
        return lung_loss(network(radiographs).float(), masks[:, :1], (masks[:, 1:] > 0.99).float())

    def score_of(network: nn.Module) -> float:
        return float(dice_of(network, validation).mean())

    task = Task((training.radiographs, training.masks), loss_of, score_of)
    settings = {**made_by, "augmentation": asdict(preset.augmentation), "side": preset.side}
    return fit(network, preset.architecture, task, preset.schedule, out, settings, say=say)


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


def dice_of(network: nn.Module, examples: LungExamples) -> Tensor:
    predicted = lung_probabilities(network, examples.radiographs) > 0.5
    return dice(predicted, examples.masks)


@torch.inference_mode()
def lung_probabilities(network: nn.Module, radiographs: Tensor, *, batch: int = 16) -> Tensor:
    """uint8 [n, 1, side, side] -> float [n, 1, side, side] in 0..1."""
    parts = (part.float().div(255).to(memory_format=torch.channels_last) for part in radiographs.split(batch))
    return torch.cat([network(part).sigmoid() for part in parts])


def lung_channel(network: nn.Module, kept: Sequence[Path], side: int) -> Tensor:
    """uint8 [n, 1, side, side]: the classifier's second channel, times 255, as the exported graph makes it."""
    channels = []
    for path in progress(kept, "lung channel", total=len(kept)):
        probability = lung_probabilities(network, reduce_pixels(load(path).pixels, MASK_SIDE))
        channels.append((reduce_to(probability, side) * 255).round().to(torch.uint8))
    return torch.cat(channels)
