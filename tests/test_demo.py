"""The demo is the first thing a stranger sees: a dozen phantoms, one result each, and a sheet worth looking at."""

import json
from pathlib import Path

import cv2
import pytest
from click.testing import CliRunner

from edge.cli import main
from edge.demo import run_demo
from edge.errors import UsageError


def test_a_dozen_phantoms_end_to_end(tmp_path: Path) -> None:
    """Twice into the same folder: the second demo clears the first one away, and nothing else."""
    for _ in range(2):
        outcome = run_demo(tmp_path / "demo", lambda *_: None)
    scored = {row.name: row.report for row in outcome.rows if row.report.scored}
    refused = {row.name: row.report.reason for row in outcome.rows if not row.report.scored}
    assert len(scored) == 11
    assert refused == {"12_lateral.dcm": "not_frontal_chest"}
    scores = {"covid": [], "other": []}
    for row in outcome.rows:
        if row.report.prediction is not None:
            scores[row.truth].append(row.report.prediction.score)
    wins = sum(covid > other for covid in scores["covid"] for other in scores["other"])
    assert wins / (len(scores["covid"]) * len(scores["other"])) >= 0.9
    assert len(list(outcome.results.glob("*.json"))) == 12
    for path in outcome.results.glob("*.json"):
        assert json.loads(path.read_bytes())["case_id"] == path.stem

    sheet = cv2.imread(str(outcome.contact_sheet))
    assert sheet.shape[1] > 1300
    for left in range(10, 1340, 266):  # every column of the first row holds a picture
        tile = sheet[64:320, left : left + 256]
        assert tile.std() > 20
    evidence, lungs = sheet[64:320, 542:798], sheet[64:320, 276:532]
    assert (abs(evidence.astype(int) - evidence.mean(axis=2, keepdims=True)) > 20).any()  # in colour
    assert (abs(lungs.astype(int) - lungs.mean(axis=2, keepdims=True)) > 20).any()


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(UsageError, match="other things than an earlier demo"):
        run_demo(tmp_path, lambda *_: None)
    assert (tmp_path / "thesis.txt").exists()


def test_a_demo_that_was_killed_half_way_does_not_block_the_next(tmp_path: Path) -> None:
    """Killed at its first step, or while clearing away: the mark is there, the rest is not."""
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "made-by-edge-cxr-demo").touch()
    assert len(run_demo(folder, lambda *_: None).rows) == 12


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo").write_bytes(b"")
    with pytest.raises(UsageError, match="demo holds other things"):
        run_demo(tmp_path / "demo", lambda *_: None)


def test_the_command_says_where_everything_is(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["demo", "--folder", str(tmp_path / "demo")], catch_exceptions=False)
    assert done.exit_code == 0
    assert "contact_sheet.png" in done.stdout
    assert "02_monochrome1.dcm" in done.stdout
    assert "not scored: not_frontal_chest" in done.stdout
