"""The classifier: what a preset says, its examples, losses and answers. The loop is in fit.py, the networks in
model.py.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor, nn

from edge.errors import UsageError
from training.augment import Augmentation, Augmenter
from training.checkpoints import RECORD
from training.devices import Place
from training.fit import Say, Schedule, Task, ended, fit, quiet
from training.model import Classifier, ClassifierArchitecture, DecisionHead, channels_of, initialise, load_classifier
from training.outcome import Answers
from training.pretrained import first_weights

_BATCH = 16  # radiographs asked at once


@dataclass(frozen=True)
class ClassifierPreset:
    """What is trained, and how. augmentation: None for none. start: where first weights come from when the user
    names none.

    coarse: a first schedule at half the side, for a quarter of the cost. frozen_views: above 0, only a fresh head
    learns, on features of so many augmented views of each row. unprocessed: the ablation, whose radiographs are only
    resized.
    """

    architecture: ClassifierArchitecture
    schedule: Schedule
    augmentation: Augmentation | None
    start: Literal["imagenet", "file", "scratch"] = "scratch"
    label_smoothing: float = 0.05
    coarse: Schedule | None = None
    frozen_views: int = 0
    unprocessed: bool = False


@dataclass(frozen=True)
class Examples:
    """radiographs, lungs: uint8 [n, 1, side, side]. labels: int64 [n], 1 is positive. weights: float32 [n]."""

    radiographs: Tensor
    lungs: Tensor
    labels: Tensor
    weights: Tensor

    @property
    def side(self) -> int:
        return self.radiographs.shape[-1]

    def halved(self) -> "Examples":
        """At half the side, by averaging blocks of four pixels."""
        radiographs, lungs = (
            torch.cat([F.avg_pool2d(part.float(), 2).round().to(torch.uint8) for part in whole.split(_BATCH)])
            for whole in (self.radiographs, self.lungs)
        )
        return replace(self, radiographs=radiographs, lungs=lungs)


@dataclass(frozen=True)
class Places:
    """Which examples a network learns from, and which it is held against: int64 [n] each."""

    training: Tensor
    validation: Tensor


def train_classifier(
    examples: Examples, places: Places, preset: ClassifierPreset, out: Path, made_by: dict[str, Any],
    *, init: Path | None, place: Place, say: Say,
) -> Path:  # fmt: skip
    """The path of the best checkpoint by cross-entropy on the validation rows: steadier than AUC on a few dozen.

    init: a checkpoint of ours, or a file of weights for the backbone.
    """
    if preset.coarse is not None:
        architecture = replace(preset.architecture, side=preset.architecture.side // 2)
        coarse = replace(preset, schedule=preset.coarse, architecture=architecture, coarse=None)
        halved = examples.halved()
        init = train_classifier(halved, places, coarse, out / "coarse", made_by, init=init, place=place, say=say)
    torch.manual_seed(preset.schedule.seed)
    network = Classifier(preset.architecture)
    settings = {
        **made_by,
        "augmentation": None if preset.augmentation is None else asdict(preset.augmentation),
        "label_smoothing": preset.label_smoothing,
        "frozen_views": preset.frozen_views,
        # Of a run that goes on only its record needs to know; its own weights take their place.
        "first_weights": _start(network, preset, init, quiet if (out / RECORD).exists() else say),
    }
    if ended(out, preset.architecture, preset.schedule, settings, place=place):
        return out / "best"
    augmenter = None if preset.augmentation is None else Augmenter(preset.augmentation)
    if preset.frozen_views:
        network.head = DecisionHead(network.features)
    network = network.to(place.device, memory_format=torch.channels_last)
    make_task = _frozen_task if preset.frozen_views else _whole_task
    task = make_task(network, examples, places, augmenter, preset)
    return fit(network, preset.architecture, task, preset.schedule, out, settings, place=place, say=say)


def _start(network: Classifier, preset: ClassifierPreset, init: Path | None, say: Say) -> str:
    """Give the network its first weights; returns which, for the record."""
    if init is not None and Path(f"{init}.json").exists():
        initialise(network, init)
        return f"checkpoint {init.parent.name}/{init.name}"
    wish = init if init is not None else "imagenet" if preset.start == "imagenet" else None
    if wish is None:
        say(f"{preset.architecture.name}: no first weights, training from scratch")
        return "scratch"
    return first_weights(network.backbone, preset.architecture.backbone, wish, say)


def _whole_task(
    network: Classifier, examples: Examples, places: Places, augmenter: Augmenter | None, preset: ClassifierPreset
) -> Task:
    def loss_of(learner: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        radiographs, lungs, labels, weights = batch
        logits, _ = learner(_channels(radiographs, lungs, augmenter))
        return _loss(logits, labels, weights, preset.label_smoothing)

    def score() -> float:
        return _goodness(predict(network, examples, places.validation), examples.labels[places.validation])

    tensors = (examples.radiographs, examples.lungs, examples.labels, examples.weights)
    return Task(network, tensors, places.training, loss_of, score)


def _frozen_task(
    network: Classifier, examples: Examples, places: Places, augmenter: Augmenter | None, preset: ClassifierPreset
) -> Task:
    """The head alone: pooled features of augmented views are made once, so that an epoch costs nothing."""
    network.eval()
    views = torch.stack(
        [features_of(network, examples, places.training, augmenter) for _ in range(preset.frozen_views)]
    )
    learned = Features(views, examples.labels[places.training], examples.weights[places.training])
    held = features_of(network, examples, places.validation)[None]
    held_out = Features(held, examples.labels[places.validation], examples.weights[places.validation])
    return head_task(network.head, learned, held_out, label_smoothing=preset.label_smoothing)


@dataclass(frozen=True)
class Features:
    """Of a frozen backbone. views: float32 [v, n, features]. labels: int64 [n]. weights: float32 [n]."""

    views: Tensor
    labels: Tensor
    weights: Tensor


def head_task(head: DecisionHead, learned: Features, held_out: Features, *, label_smoothing: float) -> Task:
    """A decision head on features. held_out has one view, of radiographs as they are."""

    def loss_of(learner: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        features, labels, weights = batch
        return _loss(learner(features)[0], labels, weights, label_smoothing)

    def score() -> float:
        return _goodness(head_scores(head, held_out.views[0]), held_out.labels)

    count = len(learned.views)
    labels, weights = learned.labels.repeat(count), learned.weights.repeat(count)
    return Task(head, (learned.views.flatten(0, 1), labels, weights), torch.arange(len(labels)), loss_of, score)


@torch.no_grad()
def head_scores(head: DecisionHead, features: Tensor) -> Tensor:
    """float32 [n, features] -> positive-class probability [n], on the CPU, of a head in evaluation mode."""
    logits, _ = head(features.to(next(head.parameters()).device))
    return logits.softmax(dim=-1)[:, 1].cpu()


def _loss(logits: Tensor, labels: Tensor, weights: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy; weights have mean 1 over the training rows."""
    each = F.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing, reduction="none")
    return (each * weights).mean()


@torch.no_grad()
def features_of(network: Classifier, examples: Examples, places: Tensor, augmenter: Augmenter | None = None) -> Tensor:
    """Pooled features of a backbone in evaluation mode, [n, features], on the CPU."""
    return torch.cat([network.pooled(channels).cpu() for channels in _batches(network, examples, places, augmenter)])


def _batches(
    network: nn.Module, examples: Examples, places: Tensor, augmenter: Augmenter | None = None
) -> Iterator[Tensor]:
    """Channels [n, 3, side, side] on the network's device."""
    device = next(network.parameters()).device
    for chosen in places.split(_BATCH):
        yield _channels(examples.radiographs[chosen].to(device), examples.lungs[chosen].to(device), augmenter)


def _channels(radiographs: Tensor, lungs: Tensor, augmenter: Augmenter | None) -> Tensor:
    """uint8 [n, 1, side, side] each -> float [n, 3, side, side]."""
    pair = radiographs.float() / 255, lungs.float() / 255
    if augmenter is not None:
        pair = augmenter(*pair)
    return channels_of(*pair).contiguous(memory_format=torch.channels_last)


def _goodness(scores: Tensor, labels: Tensor) -> float:
    """Minus the cross-entropy."""
    return -float(F.binary_cross_entropy(scores.clamp(1e-4, 1 - 1e-4), labels.float()))


def predict(network: Classifier, examples: Examples, places: Tensor) -> Tensor:
    """Positive-class probability [n], float32 on the CPU, of a network in evaluation mode."""
    return torch.from_numpy(answers_of(network, examples, places).scores.astype(np.float32))


@torch.inference_mode()
def answers_of(network: Classifier, examples: Examples, places: Tensor) -> Answers:
    """Scores and embeddings of a network in evaluation mode."""
    scores, embeddings = [], []
    for channels in _batches(network, examples, places):
        logits, embedding = network(channels)
        scores.append(logits.float().softmax(dim=-1)[:, 1].cpu())
        embeddings.append(embedding.float().cpu())
    return Answers(torch.cat(scores).double().numpy(), torch.cat(embeddings).numpy())


def ask_checkpoint(path: Path, examples: Examples, *, place: Place) -> Answers:
    """What a trained network says of every example. Raises UsageError when they have another size than it reads."""
    network, architecture = load_classifier(path)
    if architecture.side != examples.side:
        raise UsageError(f"{path.parent.name} reads {architecture.side} pixels, not {examples.side}; train it again")
    network = network.to(place.device, memory_format=torch.channels_last)
    return answers_of(network, examples, torch.arange(len(examples.labels)))


def first_features(examples: Examples, preset: ClassifierPreset, init: Path | None, *, place: Place) -> Tensor | None:
    """Pooled features [n, f] of the backbone with its first weights, of every example; None where it has none."""
    network = Classifier(preset.architecture)
    if _start(network, preset, init, quiet) == "scratch":
        return None
    network = network.to(place.device, memory_format=torch.channels_last).eval()
    return features_of(network, examples, torch.arange(len(examples.labels)))


def source_weights(labels: Tensor, sources: list[str], places: Tensor) -> Tensor:
    """float32 [n]: within each label every source of the training rows weighs alike, and both labels do; mean 1
    there.
    """
    weights = torch.ones(len(labels))
    strata = [(int(labels[place]), sources[place]) for place in places.tolist()]
    for stratum in set(strata):
        beside = len({source for label, source in strata if label == stratum[0]})
        weight = len(strata) / (2 * beside * strata.count(stratum))
        for place in places.tolist():
            if (int(labels[place]), sources[place]) == stratum:
                weights[place] = weight
    return weights
