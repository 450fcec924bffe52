"""Both networks through `train` on phantoms: two epochs, checkpoints, and a run that resumes to the same weights."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor, nn

from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training.arrays import load, load_mask, readable, standardise
from training.augment import Augmentation
from training.classify import ClassifierExamples, ClassifierPreset, predict, train_classifier
from training.cli import evaluate, train
from training.fit import Schedule, Task, fit
from training.lungs import dice
from training.manifest import of_split, read_manifest
from training.model import (
    Classifier,
    ClassifierArchitecture,
    LungArchitecture,
    LungNet,
    load_classifier,
    save_checkpoint,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's and kornia's own
TINY = LungArchitecture(depth=3, widths=(8, 8, 8))


def run_train(manifest: Path, folder: Path, *arguments: str) -> dict[str, str]:
    finished = CliRunner().invoke(
        train,
        ["--preset", "smoke", "--manifest", str(manifest), "--cache", str(folder / "arrays"), *arguments],
        catch_exceptions=False,
    )
    assert finished.exit_code == 0, finished.output
    return json.loads(finished.stdout)


def test_both_networks_train_and_answer(phantom_manifest: Path, tmp_path: Path) -> None:
    lungs = run_train(phantom_manifest, tmp_path, "--network", "lungs", "--out", str(tmp_path / "lungs"))["checkpoint"]
    out = tmp_path / "chest"
    member = run_train(phantom_manifest, tmp_path, "--network", "classifier", "--lungs", lungs, "--out", str(out))
    record = json.loads((out / "best.json").read_text())
    assert (record["kind"], record["rows"]) == ("classifier", {"train": 8, "val": 4})
    assert len((out / "log.jsonl").read_text().splitlines()) == 2
    asked = ["--manifest", str(phantom_manifest), "--lungs", lungs, "--member", member["checkpoint"]]
    measured = CliRunner().invoke(evaluate, asked, catch_exceptions=False)
    figures = json.loads(measured.stdout)["test"]
    assert (figures["n_covid"], figures["n_other"], figures["n_refused"]) == (2, 2, 0)
    assert 0 <= figures["auc_low"] <= figures["auc"] <= figures["auc_high"] <= 1


def toy_task() -> Task:
    """Bright pixels are lung; half of the examples are blank, so that order and seed matter."""
    random = torch.Generator().manual_seed(0)
    radiographs = torch.rand(8, 1, 32, 32, generator=random)

    def loss_of(network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        noisy = batch[0] + 0.1 * torch.randn_like(batch[0])
        return nn.functional.binary_cross_entropy_with_logits(network(noisy), (batch[0] > 0.5).float())

    return Task((radiographs,), loss_of, lambda network: -float(network(radiographs).square().mean()))


def test_a_resumed_run_gives_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    whole = Schedule(epochs=3, batch=4, learning_rate=1e-3)
    weights = {}
    for name in ("undisturbed", "resumed"):
        torch.manual_seed(0)
        network, task = LungNet(TINY), toy_task()
        if name == "resumed":
            interrupted = replace(task, score_of=Interrupt(task.score_of, after=2))
            with pytest.raises(KeyboardInterrupt):
                fit(network, TINY, interrupted, whole, tmp_path / name, {}, say=lambda line: None)
            torch.manual_seed(99)
            network = LungNet(TINY)
        fit(network, TINY, task, whole, tmp_path / name, {}, say=lambda line: None)
        weights[name] = load_file(tmp_path / name / "last-3.safetensors")
    assert weights["undisturbed"].keys() == weights["resumed"].keys()
    assert all(torch.equal(weights["resumed"][key], tensor) for key, tensor in weights["undisturbed"].items())


class Interrupt:
    """A score that is never given: the run ends in the middle of an epoch, as by a kill."""

    def __init__(self, score_of: object, *, after: int) -> None:
        self.score_of = score_of
        self.left = after

    def __call__(self, network: nn.Module) -> float:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.score_of(network)  # type: ignore[operator]


def test_a_frozen_backbone_stays_and_a_fresh_head_learns(tmp_path: Path) -> None:
    architecture = ClassifierArchitecture("tiny", "resnet18", (8, 8, 16, 16), 64)
    torch.manual_seed(0)
    earlier = Classifier(architecture)
    save_checkpoint(tmp_path / "earlier", earlier, architecture, {})
    labels = torch.arange(8) % 2
    bright = (labels[:, None, None, None] * 120 + torch.randint(0, 100, (8, 1, 64, 64))).to(torch.uint8)
    examples = ClassifierExamples(bright, torch.zeros_like(bright), labels)
    preset = ClassifierPreset(architecture, Schedule(15, 8, 1e-2), Augmentation(), frozen_views=2)
    train_classifier(examples, examples, preset, tmp_path / "out", {}, init=tmp_path / "earlier", say=lambda line: None)
    trained, _ = load_classifier(tmp_path / "out" / "best")
    before, after = earlier.backbone.state_dict(), trained.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    scores = predict(trained, examples)
    assert scores[labels == 1].mean() > scores[labels == 0].mean() + 0.2


def test_a_folder_with_another_run_is_refused(tmp_path: Path) -> None:
    schedule = Schedule(epochs=1, batch=4, learning_rate=1e-3)
    fit(LungNet(TINY), TINY, toy_task(), schedule, tmp_path, {}, say=lambda line: None)
    with pytest.raises(UsageError, match="other settings"):
        fit(LungNet(TINY), TINY, toy_task(), replace(schedule, seed=1), tmp_path, {}, say=lambda line: None)


def test_arrays_are_made_once_and_masks_follow_the_crop(phantom_manifest: Path, tmp_path: Path) -> None:
    rows = of_split(read_manifest(phantom_manifest), "val")
    preprocessing = Preprocessing()
    _, kept = readable(standardise(rows, preprocessing, tmp_path, workers=1))
    times = [path.stat().st_mtime_ns for path in kept]
    _, again = readable(standardise(rows, preprocessing, tmp_path, workers=1))
    assert (again, [path.stat().st_mtime_ns for path in again]) == (kept, times)
    for row, path in zip(rows, kept, strict=True):
        standardised = load(path)
        mask = load_mask(row, standardised.crop, 1024, 1024) > 127
        surround = ~mask & (standardised.pixels > 0)
        assert standardised.pixels[mask].mean() < standardised.pixels[surround].mean()  # lungs are darker


def test_an_unreadable_radiograph_is_named(phantom_manifest: Path, tmp_path: Path) -> None:
    row = replace(read_manifest(phantom_manifest)[0], path=tmp_path / "broken.dcm", line=7)
    row.path.write_bytes(b"no radiograph")
    with pytest.raises(UsageError, match=r"line 7: broken\.dcm is refused"):
        readable(standardise([row], Preprocessing(), tmp_path / "arrays", workers=1))


def test_dice_ignores_what_the_annotator_left_open() -> None:
    lung, known = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    lung[..., :2] = 1
    predicted = lung.bool().clone()
    predicted[..., 3] = True
    assert dice(predicted, torch.cat([lung, known], dim=1)).item() == pytest.approx(2 * 8 / (12 + 8))
    known[..., 0] = known[..., 3] = 0
    assert dice(predicted, torch.cat([lung, known], dim=1)).item() == 1.0
