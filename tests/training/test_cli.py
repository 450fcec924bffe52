"""`train` and `evaluate` as commands: what one holds out the other finds, and what does not go together is refused."""

import json
from pathlib import Path

import pytest
import torch
from click import Command
from click.testing import CliRunner, Result

from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training.cli import evaluate, train
from training.manifest import of_split, read_manifest
from training.model import LungNet, save_checkpoint, weights_sha256
from training.options import HELD_OUT
from training.presets import PRESETS
from training.splits import hold_out

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's and kornia's own


def invoke_train(manifest: Path, folder: Path, *arguments: str) -> Result:
    wanted = ["--preset", "phantom", "--manifest", str(manifest), "--cache", str(folder / "arrays"), "--no-report"]
    return CliRunner().invoke(train, [*wanted, *arguments])


def run_train(manifest: Path, folder: Path, *arguments: str) -> dict[str, str]:
    finished = invoke_train(manifest, folder, *arguments)
    assert finished.exit_code == 0, finished.output
    return json.loads(finished.stdout)


def told(finished: Result) -> str:
    """The UsageError that a command ended with; anything else fails."""
    assert isinstance(finished.exception, UsageError), finished.output or finished.exception
    return str(finished.exception)


def save_lungs(checkpoint: Path, *, seed: int) -> None:
    """Untrained weights; under a name that there was, as a second training would leave others."""
    torch.manual_seed(seed)
    architecture = PRESETS["phantom"].lungs.architecture
    save_checkpoint(checkpoint, LungNet(architecture), architecture, {"preprocessing_digest": Preprocessing().digest})


def test_what_belongs_together_is_known_by_its_digests(phantom_manifest: Path, tmp_path: Path) -> None:
    save_lungs(tmp_path / "lungs", seed=0)
    lungs, out = tmp_path / "lungs", tmp_path / "study"
    again = ("--lungs", str(lungs), "--out", str(out))
    made = run_train(phantom_manifest, tmp_path, *again)
    assert made == {"study": str(out)}
    member = out / "split-0/resnet18/best"
    record = json.loads(member.with_suffix(".json").read_text())
    assert record["rows"] == {"train": 8, "val": 4}
    assert record["lungs_sha256"] == weights_sha256(lungs) == weights_sha256(out / "lungs/best")

    asked = ["--manifest", str(phantom_manifest), "--lungs", str(out / "lungs/best"), "--member", str(member)]
    figures = json.loads(CliRunner().invoke(evaluate, asked, catch_exceptions=False).stdout)["test"]
    assert (figures["n_covid"], figures["n_other"], figures["n_refused"]) == (2, 2, 0)
    assert 0 <= figures["auc_low"] <= figures["auc"] <= figures["auc_high"] <= 1
    assert "trained with preprocessing" in told(CliRunner().invoke(evaluate, [*asked, "--framing", "stretch"]))
    assert "trained with preprocessing" in told(
        invoke_train(
            phantom_manifest, tmp_path, "--lungs", str(lungs), "--framing", "stretch", "--out", str(tmp_path / "s")
        )
    )
    assert run_train(phantom_manifest, tmp_path, *again) == made  # done before: the same weights at once
    save_lungs(lungs, seed=1)
    before = weights_sha256(out / "lungs/best")
    assert "study holds other lung weights than --lungs names" in told(invoke_train(phantom_manifest, tmp_path, *again))
    assert weights_sha256(out / "lungs/best") == before
    assert "other lung weights" in told(CliRunner().invoke(evaluate, [*asked, "--lungs", str(lungs)]))
    swapped = (*again[2:], "--lungs", str(out / "lungs/best"), "--labels", "covid,other")
    assert "other settings (labels)" in told(invoke_train(phantom_manifest, tmp_path, *swapped))


def test_a_run_from_another_manifest_is_another_run(phantom_manifest: Path, tmp_path: Path) -> None:
    """Under the name that it had: only its bytes tell."""
    manifest = tmp_path / phantom_manifest.name
    lines = phantom_manifest.read_text().replace("dicom/", f"{phantom_manifest.parent}/dicom/")
    manifest.write_text(lines.replace("masks/", f"{phantom_manifest.parent}/masks/"))
    arguments = ["--network", "lungs", "--out", str(tmp_path / "lungs")]
    made = run_train(manifest, tmp_path, *arguments)
    assert made == {"checkpoint": str(tmp_path / "lungs/lungs/best")}
    manifest.write_text(manifest.read_text().replace(",test,", ",test_b,"))
    assert "other settings (manifest_sha256)" in told(invoke_train(manifest, tmp_path, *arguments))


def test_without_masks_there_is_no_lung_channel(phantom_manifest: Path, tmp_path: Path) -> None:
    manifest = phantom_manifest.with_name("maskless.csv")
    manifest.write_text(phantom_manifest.read_text().replace("mask_path", "drawn"))
    message = told(invoke_train(manifest, tmp_path, "--out", str(tmp_path / "study")))
    assert "name lung weights with --lungs, or masks with --lung-manifest" in message


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
