"""The classifier: presets, examples and loss. The loop is in fit.py, the networks are in model.py."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor, nn

from training.augment import Augmentation, Augmenter
from training.fit import Say, Schedule, Task, fit
from training.model import Classifier, ClassifierArchitecture, DecisionHead, channels_of, initialise


@dataclass(frozen=True)
class ClassifierPreset:
    architecture: ClassifierArchitecture
    schedule: Schedule
    augmentation: Augmentation
    label_smoothing: float = 0.05
    frozen_views: int = 0  # above 0: only a fresh head learns, on features of so many augmented views of each row


_STRONG = Augmentation(probability=0.6, contrast=0.4, brightness=0.3, gamma=0.4, scale=0.15, translate=0.06, noise=0.04)
_COARSE = ClassifierArchitecture(side=160)
_RESNET34 = ClassifierArchitecture(side=320)
_SLIM = ClassifierArchitecture(name="resnet18", backbone="resnet18", channels=(16, 32, 64, 128), side=256)
PRESETS: dict[str, ClassifierPreset] = {
    # From scratch most of the learning happens at half the side, at a quarter of the cost; `scratch` goes on at 320.
    "scratch-coarse": ClassifierPreset(_COARSE, Schedule(24, 16, 6e-4, weight_decay=5e-2, patience=8), _STRONG),
    "scratch": ClassifierPreset(_RESNET34, Schedule(3, 16, 2e-4, weight_decay=5e-2, patience=4), _STRONG),
    # A few dozen radiographs cannot move a whole network well: the backbone stays as it was, the head learns anew.
    "finetune": ClassifierPreset(_RESNET34, Schedule(40, 32, 2e-3, patience=10), _STRONG, frozen_views=8),
    "phantom": ClassifierPreset(_SLIM, Schedule(12, 16, 2e-3, weight_decay=2e-2), Augmentation()),
    "smoke": ClassifierPreset(
        ClassifierArchitecture("resnet18", "resnet18", (8, 8, 16, 16), side=64), Schedule(2, 4, 1e-3), Augmentation()
    ),
}


@dataclass(frozen=True)
class ClassifierExamples:
    """radiographs, lungs: uint8 [n, 1, side, side]. labels: int64 [n], 1 is the positive label."""

    radiographs: Tensor
    lungs: Tensor
    labels: Tensor


def train_classifier(
    training: ClassifierExamples, validation: ClassifierExamples, preset: ClassifierPreset, out: Path,
    made_by: dict[str, Any], *, init: Path | None, say: Say,
) -> Path:  # fmt: skip
    """The path of the best checkpoint by cross-entropy on the validation rows: steadier than AUC on a few dozen."""
    torch.manual_seed(preset.schedule.seed)
    network = Classifier(preset.architecture)
    if init is not None:
        initialise(network, init)
    augmenter = Augmenter(preset.augmentation)
    settings = {
        **made_by,
        "augmentation": asdict(preset.augmentation),
        "label_smoothing": preset.label_smoothing,
        "side": preset.architecture.side,
    }
    if preset.frozen_views:
        network.head = DecisionHead(network.features)
        task = _frozen_task(network, training, validation, augmenter, preset)
        return fit(network, preset.architecture, task, preset.schedule, out, settings, say=say)

    def loss_of(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        radiographs, lungs = augmenter(batch[0].float() / 255, batch[1].float() / 255)
        logits, _ = network(channels_of(radiographs, lungs).contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits.float(), batch[2], label_smoothing=preset.label_smoothing)

    def score_of(network: nn.Module) -> float:
        return _goodness(predict(network, validation), validation.labels)

    task = Task((training.radiographs, training.lungs, training.labels), loss_of, score_of)
    return fit(network, preset.architecture, task, preset.schedule, out, settings, say=say)


def _frozen_task(
    network: Classifier, training: ClassifierExamples, validation: ClassifierExamples, augmenter: Augmenter,
    preset: ClassifierPreset,
) -> Task:  # fmt: skip
    """The head alone: pooled features of augmented views are made once, so that an epoch costs nothing."""
    network.eval()
    views = [_features(network, training, augmenter) for _ in range(preset.frozen_views)]
    held_out = _features(network, validation, None)

    def loss_of(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        logits, _ = network.get_submodule("head")(batch[0])
        return F.cross_entropy(logits.float(), batch[1], label_smoothing=preset.label_smoothing)

    def score_of(network: nn.Module) -> float:
        logits, _ = network.get_submodule("head")(held_out)
        return _goodness(logits.softmax(dim=-1)[:, 1], validation.labels)

    return Task((torch.cat(views), training.labels.repeat(preset.frozen_views)), loss_of, score_of)


@torch.no_grad()
def _features(network: Classifier, examples: ClassifierExamples, augmenter: Augmenter | None) -> Tensor:
    """Pooled features of the backbone, [n, features]."""
    features = []
    for radiographs, lungs in zip(examples.radiographs.split(16), examples.lungs.split(16), strict=True):
        pair = radiographs.float() / 255, lungs.float() / 255
        channels = channels_of(*(pair if augmenter is None else augmenter(*pair)))
        features.append(network.backbone(channels.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3)))
    return torch.cat(features)


def _goodness(scores: Tensor, labels: Tensor) -> float:
    """Minus the cross-entropy."""
    return -float(F.binary_cross_entropy(scores.clamp(1e-4, 1 - 1e-4), labels.float()))


@torch.inference_mode()
def predict(network: nn.Module, examples: ClassifierExamples, *, batch: int = 16) -> Tensor:
    """Positive-class probability [n] of a network in evaluation mode."""
    scores = []
    for radiographs, lungs in zip(examples.radiographs.split(batch), examples.lungs.split(batch), strict=True):
        channels = channels_of(radiographs.float() / 255, lungs.float() / 255)
        logits, _ = network(channels.contiguous(memory_format=torch.channels_last))
        scores.append(logits.softmax(dim=-1)[:, 1])
    return torch.cat(scores)
