"""The whole study by its command: every network of the preset smoke on phantoms, its folder, its report, and a kill."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from edge.errors import UsageError
from training.cli import evaluate, train
from training.phantoms import write_training_set
from training.presets import NO_PREPROCESSING, PRESETS

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's and kornia's own
ROOT = Path(__file__).parents[2]
SMOKE = PRESETS["smoke"]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms of three hospitals and two sources; some have a sex, an age, days, or are called hard."""
    folder = tmp_path_factory.mktemp("cohort")
    written = write_training_set(folder, {"train": 24, "val": 8, "test": 12}, longest_side=256)
    with written.open(newline="") as text:
        rows = list(csv.DictReader(text))
    for number, row in enumerate(rows):
        row["source"] = ("north", "south")[number // 2 % 2]
        row["hospital"] = f"hospital {number % 3}"
        row["sex"], row["age"] = ("M", "F", "")[number % 3], str(30 + number % 50)
        row["days_since_admission"] = str(number % 5) if row["label"] == "covid" else ""
        row["hard"] = "yes" if number % 11 == 0 else ""
        row["view"] = "AP"
    rows[3]["view"] = "LATERAL"
    rows[5]["age"] = "12"
    with written.open("w", newline="") as text:
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return written


def asked(manifest: Path, folder: Path, *more: str) -> list[str]:
    wanted = ["--preset", "smoke", "--manifest", str(manifest), "--out", str(folder / "study")]
    return [*wanted, "--cache", str(folder / "arrays"), *more]


def invoke(arguments: list[str]) -> Result:
    return CliRunner().invoke(train, arguments)


@pytest.fixture(scope="module")
def study(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    finished = CliRunner().invoke(train, asked(manifest, folder), catch_exceptions=False)
    assert finished.exit_code == 0, finished.output
    told = json.loads(finished.stdout)
    assert told == {"study": str(folder / "study"), "report": str(folder / "study/report/report.html")}
    return folder / "study"


def test_every_network_of_the_preset_is_trained_on_every_division(study: Path) -> None:
    assert {path.name for path in (study / "split-0").iterdir()} == set(SMOKE.networks)
    assert {path.name for path in (study / "split-1").iterdir()} == set(SMOKE.members)
    for number in (0, 1):
        assert {path.name for path in (study / f"source-{number}").iterdir()} == {SMOKE.embedding_member}
    for network, preset in SMOKE.networks.items():
        record = json.loads((study / "split-0" / network / "best.json").read_text())
        assert (record["network"], record["architecture"]["backbone"]) == (network, preset.architecture.backbone)
        assert record["first_weights"] == "scratch"
        answers = np.load(study / "split-0" / network / "answers.npz")
        assert answers["embeddings"].shape == (len(answers["scores"]), 128)
        assert ((answers["scores"] > 0) & (answers["scores"] < 1)).all()


def test_who_takes_no_part_is_counted_and_nobody_is_in_two_splits(study: Path, manifest: Path) -> None:
    record = json.loads((study / "study.json").read_text())
    assert Counter(reason for _, reason, _ in record["excluded"]) == {"lateral": 1, "minor": 1}
    first = dict(zip(record["draws"][0]["lines"], record["draws"][0]["splits"], strict=True))
    assert Counter(first.values())["test"] == 12  # what the manifest fixes stays
    later = dict(zip(record["draws"][1]["lines"], record["draws"][1]["splits"], strict=True))
    assert all(later[line] == "test" for line, split in first.items() if split == "test")
    assert {line for line, split in first.items() if split == "train"} != {
        line for line, split in later.items() if split == "train"
    }
    for number, draw in enumerate(record["source_draws"]):
        held = {line for line, split in zip(draw["lines"], draw["splits"], strict=True) if split == "test_source"}
        lines = manifest.read_text().splitlines()
        assert held and all(("north", "south")[number] in lines[line - 1] for line in held)


def test_the_report_holds_every_table_and_figure(study: Path) -> None:
    markdown = (study / "report/report.md").read_text()
    for number in ("1", "2", "3", "4", "5", "6", "s1", "s2", "s3", "s4", "s5", "s6"):
        assert f"Figure {number}" in markdown
    assert "Table 1" in markdown and "Table 2" in markdown
    for network in ("ResNet34", "ResNet50", "ResNet152", "VGG16", "CheXpert", "Ensemble"):
        assert network in markdown
    html = (study / "report/report.html").read_text()
    assert "<script" not in html and "Content-Security-Policy" in html
    patients = {line.split(",")[1] for line in (study.parent / "manifest.csv").read_text().splitlines()[1:]} if (
        study.parent / "manifest.csv").exists() else set()  # fmt: skip
    assert not any(f">{patient}<" in html for patient in patients)


def test_figures_for_machines_agree_with_the_answers(study: Path) -> None:
    figures = json.loads((study / "report/figures.json").read_text())
    assert set(figures) == {*SMOKE.networks, "ensemble"}
    test = figures["ensemble"]["test"]
    assert (test["n_covid"], test["n_other"]) == (6, 6)
    members = [np.load(study / "split-0" / name / "answers.npz")["scores"] for name in SMOKE.members]
    record = json.loads((study / "study.json").read_text())["draws"][0]
    held = [at for at, split in enumerate(record["splits"]) if split == "test"]
    found = int((np.mean(members, axis=0)[held] >= test["point"]).sum())
    assert found == test["sensitivity"]["count"] + test["n_other"] - test["specificity"]["count"]


def test_done_before_it_trains_nothing_and_the_report_is_the_same(study: Path, manifest: Path) -> None:
    report = study / "report/report.html"
    before = {path: path.stat().st_mtime_ns for path in study.rglob("best.safetensors")}
    earlier = report.read_bytes()
    report.unlink()
    again = ["--manifest", str(manifest), "--study", str(study), "--cache", str(study.parent / "arrays")]
    finished = CliRunner().invoke(evaluate, again, catch_exceptions=False)
    assert json.loads(finished.stdout) == {"report": str(report)}
    assert report.read_bytes() == earlier
    assert {path: path.stat().st_mtime_ns for path in study.rglob("best.safetensors")} == before


def test_a_report_without_radiographs_shows_none(study: Path, manifest: Path, tmp_path: Path) -> None:
    again = ["--manifest", str(manifest), "--study", str(study), "--cache", str(study.parent / "arrays")]
    CliRunner().invoke(evaluate, [*again, "--without-radiographs", "--report", str(tmp_path)], catch_exceptions=False)
    shared = (tmp_path / "report.html").read_text()
    assert "Figure 2" in shared and "data:image/png" not in shared and "shows radiographs of patients" not in shared
    assert not list((tmp_path / "figures").glob("*.png"))
    assert "data:image/png" in (study / "report/report.html").read_text()


def test_the_report_of_another_manifest_is_refused(study: Path, manifest: Path, tmp_path: Path) -> None:
    other = manifest.with_name("other.csv")
    other.write_text(manifest.read_text().replace("hospital 0", "hospital 9"))
    finished = CliRunner().invoke(evaluate, ["--manifest", str(other), "--study", str(study)])
    assert isinstance(finished.exception, UsageError) and "is not the manifest of study" in str(finished.exception)
    unfinished = CliRunner().invoke(evaluate, ["--manifest", str(manifest), "--study", str(tmp_path)])
    assert isinstance(unfinished.exception, UsageError) and "no finished study" in str(unfinished.exception)


def test_killed_and_started_again_it_ends_with_the_weights_of_an_undisturbed_run(
    study: Path, manifest: Path, tmp_path: Path
) -> None:
    """SIGKILL when the U-Net's first epoch is on disk: somewhere in its second. The study's own was undisturbed."""
    command = asked(manifest, tmp_path, "--network", "lungs")
    command[command.index("--cache") + 1] = str(study.parent / "arrays")
    killed = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "training.cli", "train", *command],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    wait_for(tmp_path / "study/lungs/last.json", killed)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    finished = CliRunner().invoke(train, command, catch_exceptions=False)
    assert finished.exit_code == 0, finished.output
    one, other = (load_file(out / "lungs/best.safetensors") for out in (tmp_path / "study", study))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)
    assert len((tmp_path / "study/lungs/log.jsonl").read_text().splitlines()) == 2


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


# Wishes that cannot be met, and manifests that cannot be trained on, end before any radiograph is read.


def told(finished: Result) -> str:
    assert isinstance(finished.exception, UsageError), finished.output or finished.exception
    return str(finished.exception)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",val,", ",train,"), "split-0 of changed.csv has no val row"),
        (lambda text: text.replace(",covid,", ",flu,", 1), "label 'flu' is neither other nor covid"),
        (lambda text: text.replace(",covid,", ",other,"), "covid"),
        (lambda text: text.splitlines(keepends=True)[0], "has no rows"),
        (lambda text: text + text.splitlines()[1] + "\n", "stands already on line 2"),
        (lambda text: text.replace("dicom/", "nowhere/", 1), "no such file"),
        (lambda text: text.replace(",100001,", ",100000,").replace(",train,", ",val,", 1), "this patient is in"),
    ],
    ids=["no val row", "unknown label", "one label", "empty", "twice", "missing file", "patient across splits"],
)
def test_a_bad_manifest_is_one_clear_error(
    study: Path, manifest: Path, tmp_path: Path, change: object, message: str
) -> None:
    changed = manifest.with_name("changed.csv")
    changed.write_text(change(manifest.read_text()))  # type: ignore[operator]
    cached = ("--cache", str(study.parent / "arrays"))
    assert message in told(invoke(asked(changed, tmp_path, *cached)))
    assert not (tmp_path / "study/lungs").exists()


@pytest.mark.parametrize(
    ("preset", "more", "message"),
    [
        ("phantom", ["--network", "vgg16"], "preset phantom has no network vgg16; it has resnet18"),
        ("paper", ["--network", "chexpert"], "no network of the ensemble"),
        ("paper", ["--network", NO_PREPROCESSING], "no network of the ensemble"),
        ("finetune", [], "no network of the ensemble (resnet34, resnet50, resnet50-c4) is left"),
    ],
)
def test_wishes_that_cannot_be_met_are_told(
    manifest: Path, tmp_path: Path, preset: str, more: list[str], message: str
) -> None:
    arguments = asked(manifest, tmp_path, *more)
    arguments[arguments.index("smoke")] = preset
    finished = invoke(arguments)
    assert message in told(finished)
    if preset != "phantom":
        assert preset == "paper" or "resnet34: left out, for it begins from weights" in finished.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--init", "resnet50"], "is not NETWORK=FILE"),
        (["--init", "resnet50=nowhere"], "there is no file nowhere"),
        (["--operating-rule", "best"], "best"),
        (["--labels", "covid"], "does not name two labels"),
        (["--draws", "0"], "0 is not in the range"),
    ],
)
def test_options_that_mean_nothing_are_usage_errors(
    manifest: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    finished = invoke(asked(manifest, tmp_path, *more))
    assert finished.exit_code == 2 and message in finished.stderr


def test_a_test_split_that_is_not_there_is_told(manifest: Path, tmp_path: Path) -> None:
    assert "there is no split test_x; there are test" in told(
        invoke(asked(manifest, tmp_path, "--test-split", "test_x"))
    )
