"""A few phantoms to a finished bundle, by the commands that people type; what it holds is worked out again here."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import pytest
from click import Command
from click.testing import CliRunner, Result

from calib.cli import calibrate
from edge.bundle import Bundle, open_bundle
from edge.errors import UsageError
from edge.operating_point import youden_point
from edge.values import case_id_of
from export.assemble import GATE_MARGIN
from export.bundle_cli import assemble_command, finish_command
from export.card import first_line
from export.cli import export
from training.cli import evaluate, train
from training.manifest import of_split, read_manifest
from training.model import copy_checkpoint
from training.phantoms import write_training_set
from training.row import Row
from training.scorers import EngineAnswer, ask_engine

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch, its exporter, onnxruntime and kornia
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]


def run(command: Command, *arguments: object) -> str:
    finished = CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=False)
    assert finished.exit_code == 0, finished.output
    return finished.stdout


@dataclass(frozen=True)
class Work:
    """What the commands left behind."""

    folder: Path
    manifest: Path

    @property
    def weights(self) -> tuple[str, Path, str, Path]:
        study = self.folder / "study"
        return "--lungs", study / "lungs/best", "--member", study / "split-0/resnet18/best"

    @property
    def cache(self) -> tuple[object, ...]:
        return "--cache", self.folder / "arrays"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Smoke-trained networks, their graphs, and the bundle made of them."""
    folder = tmp_path_factory.mktemp("work")
    counts = {"train": 6, "val": 4, "test": 4}
    made = Work(folder, write_training_set(folder / "phantoms", counts, longest_side=256))
    trained = ("--preset", "phantom", "--manifest", made.manifest, *made.cache, "--no-report")
    run(train, *trained, "--out", folder / "study")
    (folder / "graphs").mkdir()
    (folder / "graphs/accuracy.json").write_text("of other graphs")
    exported = json.loads(run(export, *made.weights, "--out", folder / "graphs"))
    assert not (folder / "graphs/accuracy.json").exists()
    (folder / "export.json").write_text(json.dumps(exported))
    asked = ("--graphs", folder / "graphs", "--manifest", made.manifest, *made.cache, "--sensitivity", "--count", 2)
    told = CliRunner().invoke(calibrate, [str(argument) for argument in asked])
    assert "the accuracy gate fails for fp16, int8" in str(told.exception), told.output
    assert "int8: 4 radiographs prove nothing; the gate needs 300" in told.stdout
    (folder / "graphs/accuracy.json").rename(folder / "accuracy.json")  # what failed is not assembled
    told = run(
        assemble_command, "--recipe", "phantom", "--graphs", folder / "graphs", *made.weights,
        "--manifest", made.manifest, "--out", folder / "bundle",
    )  # fmt: skip
    measure = ("--manifest", made.manifest, "--split", "test", "--bundle", folder / "bundle")
    (folder / "metrics.json").write_text(run(evaluate, *measure, "--shortcuts"))
    (folder / "lungs.json").write_text(run(evaluate, *measure, "--lung-masks"))
    (folder / "commands.txt").write_text("make it\n")
    finished = run(
        finish_command, folder / "bundle", "--metrics", folder / "metrics.json", "--dice", folder / "lungs.json",
        "--commands", folder / "commands.txt",
    )  # fmt: skip
    assert json.loads(told)["id"] != json.loads(finished)["id"] == open_bundle(str(folder / "bundle")).id
    return made


@pytest.fixture(scope="module")
def bundle(work: Work) -> Bundle:
    return open_bundle(str(work.folder / "bundle"))


@pytest.fixture(scope="module")
def rows(work: Work) -> tuple[Row, ...]:
    return tuple(row for row in read_manifest(work.manifest) if row.split in ("train", "val"))


@pytest.fixture(scope="module")
def answers(bundle: Bundle, rows: tuple[Row, ...]) -> dict[str, dict[Path, EngineAnswer]]:
    """Per precision, of the train and val rows."""
    paths = [row.path for row in rows]
    return {
        precision: {answer.path: answer for answer in ask_engine(bundle, precision, paths)}
        for precision in bundle.manifest.precisions
    }


def test_the_gate_lets_the_radiographs_pass_that_it_was_drawn_from(
    bundle: Bundle, answers: dict[str, dict[Path, EngineAnswer]]
) -> None:
    fractions = []
    for answer in answers["int8"].values():
        crop = answer.model_input.crop
        inside = np.zeros((1024, 1024), bool)
        inside[crop.model_top : crop.model_top + crop.model_height,
               crop.model_left : crop.model_left + crop.model_width] = True  # fmt: skip
        lungs = answer.prediction.lung_mask.reshape(256, 256).repeat(4, axis=0).repeat(4, axis=1) > 0.5
        fractions.append(lungs[inside].mean())
    low, high = np.percentile(fractions, [0.2, 99.8])
    limits = bundle.manifest.gates.lung_fraction
    assert limits.margin == GATE_MARGIN
    assert limits.low == pytest.approx(math.floor(low * 100) / 100, abs=0.011)  # the gate counts at 256 pixels
    assert limits.high == pytest.approx(math.ceil(high * 100) / 100, abs=0.011)


def test_the_operating_point_is_set_on_the_validation_rows_of_each_precision(
    bundle: Bundle, rows: tuple[Row, ...], answers: dict[str, dict[Path, EngineAnswer]]
) -> None:
    held = of_split(rows, "val")
    for precision, found in answers.items():
        scores = [found[row.path].prediction.score for row in held]
        expected = youden_point(scores, [row.label == "covid" for row in held])
        assert bundle.manifest.operating_points[precision] == pytest.approx(expected, abs=1e-6)


def test_the_reference_set_is_the_train_rows_as_fp32_answers(
    bundle: Bundle, rows: tuple[Row, ...], answers: dict[str, dict[Path, EngineAnswer]]
) -> None:
    reference, training = bundle.reference(), of_split(rows, "train")
    assert reference.case_ids == tuple(
        case_id_of(hashlib.sha256(row.path.read_bytes()).hexdigest()) for row in training
    )
    assert reference.labels == tuple(row.label for row in training)
    assert reference.origins == tuple(row.columns["origin"] for row in training)
    expected = [answers["fp32"][row.path].prediction for row in training]
    np.testing.assert_allclose(reference.scores, [prediction.score for prediction in expected], atol=1e-6)
    np.testing.assert_allclose(reference.embeddings, [prediction.embedding for prediction in expected], atol=1e-5)


def test_golden_scores_rise_from_a_quarter_of_the_way_to_three_quarters(bundle: Bundle) -> None:
    low, middle, high = (case.expected["int8"]["score"] for case in bundle.golden_cases())
    assert low < middle < high


def test_a_packaged_bundle_gets_no_pictures(work: Work, tmp_path: Path) -> None:
    into = ("--graphs", work.folder / "graphs", "--manifest", work.manifest, "--out", tmp_path / "bundle")
    asked = ("--recipe", "phantom", *work.weights, *into, "--thumbnails")
    refused = CliRunner().invoke(assemble_command, [str(argument) for argument in asked])
    assert refused.exit_code == 2 and "leave out --thumbnails" in refused.output


def test_the_card_states_what_was_measured(work: Work, bundle: Bundle) -> None:
    card = bundle.files["MODEL_CARD.md"].decode()
    metrics = json.loads((work.folder / "metrics.json").read_text())
    assert bundle.manifest.metrics == metrics
    assert card.splitlines()[0] == first_line("phantom", metrics)
    figures = metrics["test"]
    assert figures["n_covid"] + figures["n_other"] + figures["n_refused"] == 4
    dice = json.loads((work.folder / "lungs.json").read_text())["test"]
    assert (dice["n"], dice["n_radiographs"], dice["n_refused"]) == (4, 4, 0)
    assert f"| test | {dice['median']:.3f} | {dice['tenth_percentile']:.3f} | 4 | 4 | 0 |" in card
    assert "- lungs: 6 train and 4 val rows of manifest.csv, preset phantom, seed 0." in card


# What does not belong together is refused before anything is written.


def told(command: Command, *arguments: object) -> str:
    finished: Result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert isinstance(finished.exception, UsageError), finished.output or finished.exception
    return str(finished.exception)


def with_record(checkpoint: Path, folder: Path, **changes: str) -> Path:
    """A copy of a checkpoint whose record says something else."""
    copy = folder / checkpoint.parent.name / "best"
    copy_checkpoint(checkpoint, copy)
    record = copy.with_suffix(".json")
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))
    return copy


def test_networks_of_two_preprocessings_make_no_graph(work: Work, tmp_path: Path) -> None:
    lungs = with_record(work.weights[1], tmp_path, preprocessing_digest="0" * 64)
    asked = ("--lungs", lungs, *work.weights[2:], "--out", tmp_path / "graphs")
    assert "resnet18/best was trained with preprocessing" in told(export, *asked)


def test_a_classifier_goes_only_with_its_own_lung_network(work: Work, tmp_path: Path) -> None:
    member = with_record(work.weights[3], tmp_path, lungs_sha256="0" * 64)
    asked = (*work.weights[:2], "--member", member)
    assert "other lung weights than lungs/best" in told(export, *asked, "--out", tmp_path / "graphs")
    into = ("--graphs", work.folder / "graphs", "--manifest", work.manifest, "--out", tmp_path / "bundle")
    assert "other lung weights than lungs/best" in told(assemble_command, "--recipe", "phantom", *asked, *into)


def test_a_recipe_of_another_framing_is_refused(work: Work, tmp_path: Path) -> None:
    into = ("--graphs", work.folder / "graphs", "--manifest", work.manifest, "--out", tmp_path / "bundle")
    assert "resnet18/best was trained with preprocessing" in told(
        assemble_command, "--recipe", "research", *work.weights, *into
    )
    assert not (tmp_path / "bundle").exists()


def test_an_operating_point_needs_validation_rows_of_both_labels(work: Work, tmp_path: Path) -> None:
    manifest = work.manifest.with_name("one-label.csv")
    lines = work.manifest.read_text().splitlines(keepends=True)
    into = ("--graphs", work.folder / "graphs", "--manifest", manifest, "--out", tmp_path / "bundle")
    asked = ("--recipe", "phantom", *work.weights, *into)
    manifest.write_text("".join(line for line in lines if ",covid,val," not in line))
    assert "val rows of both labels" in told(assemble_command, *asked)
    # Without splits the reference rows are drawn as `train` draws; of so few patients none is held out.
    manifest.write_text("".join(lines[:5]).replace(",train,", ",,"))
    assert "val rows of both labels" in told(assemble_command, *asked)
    manifest.write_text("".join(line for line in lines if ",train," not in line))
    assert "no train row" in told(assemble_command, *asked)


def test_both_graphs_answer_as_torch_does(work: Work) -> None:
    exported = json.loads((work.folder / "export.json").read_text())
    assert exported["opset"] == onnx.load(work.folder / "graphs/model.fp16.onnx").opset_import[0].version
    exact, half = exported["parity"]["OpenVINO fp32"], exported["parity"]["OpenVINO fp16"]
    assert exact["score_change_max"] < 1e-4 and exact["flipped"] == 0
    assert 0 < half["score_change_max"] < 0.02  # not zero: it is another graph
    assert half["lung_dice_min"] > 0.98
    assert exported["bytes"]["fp16"] < 0.55 * exported["bytes"]["fp32"]


def test_calibrate_leaves_behind_what_it_measured(work: Work) -> None:
    outcomes = json.loads((work.folder / "accuracy.json").read_text())
    assert outcomes.keys() == {"fp32", "fp16", "int8"}
    for outcome in outcomes.values():
        assert outcome["radiographs"] == 4
    assert [outcome["passed"] for outcome in outcomes.values()] == [True, False, False]
    assert (outcomes["fp32"]["flipped"], outcomes["fp32"]["recall"]) == (0, 1.0)
    assert (outcomes["int8"]["calibration_radiographs"], outcomes["int8"]["calibrator"]) == (2, "percentile")
    left = {path.name for path in (work.folder / "graphs/calibration").iterdir()}
    assert {"ranges-percentile.json", "sensitivity.json", "sensitivity.png"} <= left
    sensitivity = json.loads((work.folder / "graphs/calibration/sensitivity.json").read_text())
    assert all(layer["embedding_error"] > 0 for layer in sensitivity["layers"])


def test_a_site_makes_its_own_bundle_of_what_passed_the_gate(work: Work, tmp_path: Path) -> None:
    outcomes = json.loads((work.folder / "accuracy.json").read_text())
    outcomes["fp16"] |= {"passed": True, "failures": [], "operating_point": 0.625}
    graphs = copytree(work.folder / "graphs", tmp_path / "graphs")
    into = ("--graphs", graphs, *work.weights, "--manifest", work.manifest, "--out", tmp_path / "bundle")
    assert "no outcome of the accuracy gate" in told(assemble_command, "--name", "ward-3", *into)
    (graphs / "accuracy.json").write_text(json.dumps(outcomes))
    for wrong in ("research", "Ward 3", "../ward"):
        refused = CliRunner().invoke(assemble_command, [str(one) for one in ("--name", wrong, *into)])
        assert refused.exit_code == 2 and "needs a --name" in refused.output
    made = CliRunner().invoke(assemble_command, [str(one) for one in ("--name", "ward-3", "--thumbnails", *into)])
    assert "int8 is left out: 4 radiographs prove nothing" in made.stderr
    opened = open_bundle(str(tmp_path / "bundle"))
    manifest = opened.manifest
    assert (manifest.name, manifest.role, manifest.precisions) == ("ward-3", "site", ("fp32", "fp16"))
    assert manifest.operating_points == {"fp32": outcomes["fp32"]["operating_point"], "fp16": 0.625}
    assert manifest.temperatures == {"fp32": None, "fp16": None}  # four val rows prove none
    assert sum(name.startswith("thumbnails/") for name in opened.files) == len(opened.reference().case_ids) == 6
    figures = run(evaluate, "--manifest", work.manifest, "--split", "test", "--bundle", tmp_path / "bundle")
    # There is no int8: the box would choose fp32.
    assert json.loads(figures)["test"]["point"] == manifest.operating_points["fp32"] != 0.625
    run(finish_command, tmp_path / "bundle")
    assert open_bundle(str(tmp_path / "bundle")).files["MODEL_CARD.md"].startswith(b"**Nobody has measured")


def test_a_gate_needs_val_rows_of_both_labels(work: Work) -> None:
    first = work.manifest.with_name("train-only.csv")
    lines = work.manifest.read_text().splitlines(keepends=True)
    first.write_text("".join(line for line in lines if ",val," not in line))
    asked = ("--graphs", work.folder / "graphs", *work.cache)
    assert "no val row" in told(calibrate, *asked, "--manifest", first)
    # The labels of the second are of another task.
    assert "val rows of both labels" in told(calibrate, *asked, "--manifest", first, "--manifest", work.manifest)
