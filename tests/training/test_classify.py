"""The classifier's examples, losses and first weights, on tiny networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.augment import STRONG
from training.classify import (
    ClassifierPreset,
    Examples,
    Places,
    ask_checkpoint,
    predict,
    source_weights,
    train_classifier,
)
from training.devices import ALONE
from training.fit import Schedule
from training.model import Classifier, ClassifierArchitecture, load_classifier, read_record, save_checkpoint
from training.presets import PRESETS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's and kornia's own
TINY = ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), 64)
LEARN = ClassifierPreset(TINY, Schedule(15, 8, 1e-2), None)


def bright(side: int = 64) -> Examples:
    """Every other radiograph is bright: a task for a network of this size."""
    labels = torch.arange(12) % 2
    noise = torch.randint(0, 100, (12, 1, side, side), generator=torch.Generator().manual_seed(0))
    radiographs = (labels[:, None, None, None] * 120 + noise).to(torch.uint8)
    return Examples(radiographs, torch.zeros_like(radiographs), labels, torch.ones(12))


PLACES = Places(torch.arange(8), torch.arange(8, 12))


def trained(preset: ClassifierPreset, out: Path, examples: Examples | None = None, init: Path | None = None) -> Path:
    chosen = bright(preset.architecture.side) if examples is None else examples
    return train_classifier(chosen, PLACES, preset, out, {}, init=init, place=ALONE, say=lambda line: None)


def separation(scores: Tensor, labels: Tensor) -> float:
    return float(scores[labels == 1].mean() - scores[labels == 0].mean())


def test_a_whole_network_learns_and_answers_for_radiographs_it_never_saw(tmp_path: Path) -> None:
    examples = bright()
    answers = ask_checkpoint(trained(LEARN, tmp_path), examples, place=ALONE)
    assert answers.embeddings.shape == (12, 128) and answers.scores.dtype == np.float64
    assert separation(torch.from_numpy(answers.scores)[8:], examples.labels[8:]) > 0.2


def test_a_frozen_backbone_stays_and_a_fresh_head_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    earlier = Classifier(TINY)
    for weights in earlier.head.parameters():
        torch.nn.init.zeros_(weights)  # a head that could never learn: it must not be taken over
    save_checkpoint(tmp_path / "earlier", earlier, TINY, {})
    preset = replace(LEARN, augmentation=STRONG, frozen_views=2)
    network, _ = load_classifier(trained(preset, tmp_path / "out", init=tmp_path / "earlier"))
    before, after = earlier.backbone.state_dict(), network.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    examples = bright()
    assert separation(predict(network, examples, torch.arange(12)), examples.labels) > 0.2


def test_a_coarse_stage_comes_first_at_half_the_side_and_gives_the_first_weights(tmp_path: Path) -> None:
    preset = replace(LEARN, coarse=Schedule(2, 8, 1e-2), schedule=Schedule(1, 8, 0.0))
    trained(preset, tmp_path)
    coarse, whole = (load_file(tmp_path / part / "best.safetensors") for part in ("coarse", "."))
    assert read_record(tmp_path / "coarse/best")["architecture"]["side"] == 32
    assert read_record(tmp_path / "best")["first_weights"] == "checkpoint coarse/best"
    learned = [name for name in coarse if name.endswith(".weight")]
    assert all(torch.equal(coarse[name], whole[name]) for name in learned)  # the second stage's rate was 0


def test_halving_averages_blocks_of_four() -> None:
    examples = bright(4)
    halved = examples.halved()
    expected = examples.radiographs.float().reshape(12, 1, 2, 2, 2, 2).mean(dim=(3, 5)).round()
    assert torch.equal(halved.radiographs.float(), expected)
    assert halved.lungs.shape == (12, 1, 2, 2) and torch.equal(halved.labels, examples.labels)


def test_a_file_of_weights_fills_the_backbone_and_is_recorded(tmp_path: Path) -> None:
    torch.manual_seed(5)
    backbone = Classifier(TINY).backbone.state_dict()
    file = tmp_path / "first.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in backbone.items()}, file)
    preset = replace(LEARN, schedule=Schedule(1, 8, 0.0))
    best = trained(preset, tmp_path / "out", init=file)
    assert read_record(best)["first_weights"].startswith("file first.safetensors sha256 ")
    found = load_file(f"{best}.safetensors")
    assert torch.equal(found["backbone.conv1.weight"], backbone["conv1.weight"])


def test_sources_and_labels_weigh_alike() -> None:
    """Three positives of one source, one of another; the negatives are of one; the last row is held out."""
    labels = torch.tensor([1, 1, 1, 1, 0, 0, 1])
    sources = ["a", "a", "a", "b", "a", "a", "b"]
    weights = source_weights(labels, sources, torch.arange(6))
    assert weights[:3].sum() == pytest.approx(float(weights[3]))
    assert weights[:4].sum() == pytest.approx(float(weights[4:6].sum()))
    assert weights[:6].mean() == pytest.approx(1.0) and weights[6] == 1


def test_weights_count_in_the_loss(tmp_path: Path) -> None:
    examples = bright()
    ignored = replace(examples, weights=(examples.labels == 0).float() * 2)
    scores = ask_checkpoint(trained(LEARN, tmp_path / "ignored", ignored), examples, place=ALONE).scores
    assert scores.max() < 0.5  # it never learned from a positive


@pytest.mark.parametrize("preset", ["paper", "scratch"])
def test_presets_hold_the_papers_networks(preset: str) -> None:
    chosen = PRESETS[preset]
    assert list(chosen.members) == ["resnet34", "resnet50", "resnet152", "vgg16"]
    assert list(chosen.compared) == ["chexpert", "resnet50-no-preprocessing"]
    assert chosen.embedding_member == "resnet50"
    assert chosen.compared["chexpert"].start == "file"
    ablated = chosen.compared["resnet50-no-preprocessing"]
    assert ablated.unprocessed and ablated.augmentation is None and not ablated.architecture.lung_channel


def test_the_papers_training_details() -> None:
    """Supplement, "Training details"."""
    for member in PRESETS["paper"].networks.values():
        schedule = member.schedule
        assert (schedule.optimiser, schedule.learning_rate, schedule.weight_decay) == ("adam", 1e-6, 1e-2)
        assert (schedule.epochs, member.architecture.side, member.label_smoothing) == (32, 1024, 0.0)
    assert PRESETS["paper"].draws == 10


@pytest.mark.parametrize(
    ("backbone", "features"),
    [("resnet34", 512), ("resnet50-v1", 2048), ("resnet152", 2048), ("vgg16", 512), ("vgg16_bn", 512),
     ("densenet121", 1024)],
)  # fmt: skip
def test_every_backbone_ends_in_a_feature_map(backbone: str, features: int) -> None:
    network = Classifier(ClassifierArchitecture(backbone, backbone, side=64)).eval()
    with torch.inference_mode():
        feature_map = network.backbone(torch.zeros(1, 3, 64, 64))
        logits, embedding = network(torch.zeros(1, 3, 64, 64))
        evidence = network.evidence(feature_map)
    assert feature_map.shape == (1, features, 2, 2) and network.features == features
    assert (logits.shape, embedding.shape, evidence.shape) == ((1, 2), (1, 128), (1, 1, 2, 2))
