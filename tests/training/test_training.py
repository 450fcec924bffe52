"""Both networks through `train` on phantoms: two epochs, checkpoints, and a run that resumes to the same weights."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click import Command
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from torch import Tensor, nn

from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from edge.values import Crop
from training.arrays import load, load_mask, readable, reduce_pixels, standardise
from training.augment import Augmentation
from training.classify import ClassifierExamples, ClassifierPreset, predict, train_classifier
from training.cli import evaluate, train
from training.fit import Schedule, Task, fit
from training.lungs import PRESETS, dice, lung_loss
from training.manifest import of_split, read_manifest
from training.model import (
    Classifier,
    ClassifierArchitecture,
    LungArchitecture,
    LungNet,
    load_classifier,
    save_checkpoint,
    weights_sha256,
)
from training.options import HELD_OUT
from training.row import Row
from training.splits import hold_out

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's and kornia's own
TINY = LungArchitecture(depth=3, widths=(8, 8, 8))


def invoke_train(manifest: Path, folder: Path, *arguments: str) -> Result:
    cache = ["--cache", str(folder / "arrays")]
    return CliRunner().invoke(train, ["--preset", "smoke", "--manifest", str(manifest), *cache, *arguments])


def run_train(manifest: Path, folder: Path, *arguments: str) -> dict[str, str]:
    finished = invoke_train(manifest, folder, *arguments)
    assert finished.exit_code == 0, finished.output
    return json.loads(finished.stdout)


def told(finished: Result) -> str:
    """The UsageError that a command ended with; anything else fails."""
    assert isinstance(finished.exception, UsageError), finished.output or finished.exception
    return str(finished.exception)


def test_a_preset_of_the_other_network_is_refused(phantom_manifest: Path, tmp_path: Path) -> None:
    wrong = ("--network", "lungs", "--preset", "scratch", "--out", str(tmp_path / "lungs"))
    refused = invoke_train(phantom_manifest, tmp_path, *wrong)
    assert refused.exit_code == 2
    assert "--preset scratch is not for --network lungs; use one of lungs, lungs-coarse" in refused.output


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
    assert record["lungs_sha256"] == weights_sha256(Path(lungs))
    assert "trained with preprocessing" in told(CliRunner().invoke(evaluate, [*asked, "--framing", "stretch"]))

    classifier = ["--network", "classifier", "--lungs", lungs]
    stretched = invoke_train(
        phantom_manifest, tmp_path, *classifier, "--framing", "stretch", "--out", str(tmp_path / "stretched")
    )
    assert "lungs/best was trained with preprocessing" in told(stretched)
    again = [*classifier, "--out", str(out)]
    assert run_train(phantom_manifest, tmp_path, *again) == member  # done before: the same weights at once
    save_lungs(Path(lungs), seed=1)
    assert "other settings" in told(invoke_train(phantom_manifest, tmp_path, *again))
    assert "other lung weights" in told(CliRunner().invoke(evaluate, asked))


def save_lungs(checkpoint: Path, *, seed: int) -> None:
    """Untrained weights; under a name that there was, as a second training would leave others."""
    torch.manual_seed(seed)
    architecture = PRESETS["smoke"].architecture
    save_checkpoint(checkpoint, LungNet(architecture), architecture, {"preprocessing_digest": Preprocessing().digest})


def test_a_run_from_another_manifest_or_other_first_weights_is_another_run(
    phantom_manifest: Path, tmp_path: Path
) -> None:
    """Both under the names that they had: only their bytes tell."""
    manifest, init = tmp_path / phantom_manifest.name, tmp_path / "earlier" / "best"
    lines = phantom_manifest.read_text().replace("dicom/", f"{phantom_manifest.parent}/dicom/")
    lines = lines.replace("masks/", f"{phantom_manifest.parent}/masks/")
    manifest.write_text(lines)
    save_lungs(init, seed=1)
    arguments = ["--network", "lungs", "--init", str(init), "--out", str(tmp_path / "lungs")]
    checkpoint = run_train(manifest, tmp_path, *arguments)
    assert run_train(manifest, tmp_path, *arguments) == checkpoint
    manifest.write_text(lines.replace(",test,", ",test_b,"))
    assert "other settings" in told(invoke_train(manifest, tmp_path, *arguments))
    manifest.write_text(lines)
    save_lungs(init, seed=2)
    assert "other settings" in told(invoke_train(manifest, tmp_path, *arguments))


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


def test_a_run_of_an_earlier_version_goes_on_though_it_recorded_less(tmp_path: Path) -> None:
    schedule = Schedule(epochs=1, batch=4, learning_rate=1e-3)
    fit(LungNet(TINY), TINY, toy_task(), schedule, tmp_path, {"preset": "a"}, say=lambda line: None)
    now = {"preset": "a", "manifest_sha256": "0" * 64}
    assert fit(LungNet(TINY), TINY, toy_task(), schedule, tmp_path, now, say=lambda line: None) == tmp_path / "best"
    with pytest.raises(UsageError, match="other settings"):
        fit(LungNet(TINY), TINY, toy_task(), schedule, tmp_path, {"manifest_sha256": "0"}, say=lambda line: None)


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


@pytest.fixture
def drawn(tmp_path: Path) -> Row:
    """A radiograph with black margins and, off its centre, a bright figure; its mask is that figure."""
    radiograph, mask = np.zeros((500, 760), np.uint16), np.zeros((500, 760), np.uint8)
    radiograph[60:480, 90:700] = 9000
    cv2.fillPoly(mask, [np.array([[150, 120], [420, 150], [380, 400], [300, 260], [170, 380]])], 255)
    radiograph[mask > 0] = 40000
    cv2.imwrite(str(tmp_path / "chest.png"), radiograph)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    return Row(2, tmp_path / "chest.png", "p1", "other", "train", "AP", "", tmp_path / "mask.png")


@pytest.mark.parametrize("framing", ["pad", "stretch"])
@pytest.mark.parametrize("side", [1024, 256])
def test_a_mask_lies_where_its_radiograph_shows_it(drawn: Row, tmp_path: Path, framing: str, side: int) -> None:
    preprocessing = Preprocessing(framing=framing)
    _, (kept,) = readable(standardise([drawn], preprocessing, tmp_path / "arrays"))
    standardised = load(kept)
    assert standardised.crop.top > 40 and standardised.crop.left > 70  # without margins the test would prove less
    shown = reduce_pixels(standardised.pixels, side)[0, 0].numpy() > 150
    mask = load_mask(drawn, standardised.crop, side, preprocessing.side) > 127
    assert 2 * (shown & mask).sum() / (shown.sum() + mask.sum()) > 0.98


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask[:-1], "499 x 760 pixels, its radiograph 500 x 760"),
        (lambda mask: np.pad(mask, ((0, 40), (0, 40))), "540 x 800 pixels, its radiograph 500 x 760"),
        (lambda mask: mask // 255, "1 other values, such as 1"),
        (lambda mask: cv2.GaussianBlur(mask, (9, 9), 3), "other values"),
    ],
)
def test_a_mask_of_another_size_or_with_other_values_is_an_error(drawn: Row, change: object, message: str) -> None:
    mask = cv2.imread(str(drawn.mask_path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(drawn.mask_path), change(mask))  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        load_mask(drawn, Crop(60, 90, 420, 610, 0, 0, 1024, 1024), 64, 1024)


def test_an_unreadable_mask_is_an_error(drawn: Row) -> None:
    assert drawn.mask_path is not None
    drawn.mask_path.write_text("no mask")
    with pytest.raises(UsageError, match=r"mask\.png cannot be read"):
        load_mask(drawn, Crop(60, 90, 420, 610, 0, 0, 1024, 1024), 64, 1024)


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


def test_the_loss_ignores_what_the_annotator_left_open() -> None:
    logits, lung, known = torch.randn(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    lung[..., :3] = 1
    known[..., 5:] = 0
    loss = lung_loss(logits, lung, known)
    elsewhere, also_lung = logits.clone(), lung.clone()
    elsewhere[..., 5:], also_lung[..., 5:] = 30.0, 1.0
    torch.testing.assert_close(lung_loss(elsewhere, lung, known), loss)
    torch.testing.assert_close(lung_loss(logits, also_lung, known), loss)
    elsewhere[..., 4] = 30.0
    assert lung_loss(elsewhere, lung, known) > loss + 1


# Faults of the command line and of the manifest end before any radiograph is read.


def test_a_validation_split_of_another_name_is_an_error(phantom_manifest: Path, tmp_path: Path) -> None:
    manifest = phantom_manifest.with_name("renamed.csv")
    manifest.write_text(phantom_manifest.read_text().replace(",val,", ",validation,"))
    finished = invoke_train(manifest, tmp_path, "--network", "lungs", "--out", str(tmp_path / "lungs"))
    assert "no val row, but 4 test, 8 train, 4 validation" in told(finished)
    assert not (tmp_path / "arrays").exists()


def test_too_few_patients_to_hold_one_out_is_an_error(phantom_manifest: Path, tmp_path: Path) -> None:
    manifest = phantom_manifest.with_name("unsplit.csv")
    lines = phantom_manifest.read_text().replace(",train,", ",,").splitlines(keepends=True)
    manifest.write_text("".join(lines[:9]))
    finished = invoke_train(manifest, tmp_path, "--network", "lungs", "--out", str(tmp_path / "lungs"))
    assert "no val row" in told(finished)
    assert not (tmp_path / "arrays").exists()


@pytest.mark.parametrize("arguments", [[], ["--lung-masks", "--bundle", "phantom"]])
def test_an_unknown_split_is_an_error(phantom_manifest: Path, arguments: list[str]) -> None:
    finished = CliRunner().invoke(evaluate, ["--manifest", str(phantom_manifest), "--split", "tset", *arguments])
    assert "no tset row, but 4 test, 8 train, 4 val" in told(finished)


@pytest.mark.parametrize("labels", ["covid", "other,covid,flu", "covid,covid", "other,"])
@pytest.mark.parametrize("command", [train, evaluate])
def test_labels_must_be_two(phantom_manifest: Path, command: Command, labels: str) -> None:
    finished = CliRunner().invoke(command, ["--manifest", str(phantom_manifest), "--labels", labels])
    assert finished.exit_code == 2
    assert "does not name two labels" in finished.stderr


def test_evaluate_draws_what_train_held_out_of_the_permitted_rows(tmp_path: Path) -> None:
    """The patients without permission stand first in every draw, so that leaving them out changes it."""
    lines = ["path,patient_id,label,licence"]
    for number in range(80):
        (tmp_path / f"{number}.png").write_text(f"not read: {number}")
        lines.append(f"{number}.png,p{number:02},{('other', 'covid')[number % 2]},{'CC BY' if number > 39 else 'none'}")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    scores = tmp_path / "scores.csv"
    asked = ["--manifest", str(manifest), "--bundle", "phantom", "--scores", str(scores), "--precision", "fp32"]
    held = {}
    for arguments in ([], ["--permitted-only"]):
        CliRunner().invoke(evaluate, [*asked, *arguments], catch_exceptions=False)
        held[bool(arguments)] = {line.split(",")[0] for line in scores.read_text().splitlines()[1:]}
    drawn = hold_out(read_manifest(manifest, permitted_only=True), shares=HELD_OUT, seed=0)
    assert held[True] == {row.path.name for row in of_split(drawn, "test")} != held[False]
