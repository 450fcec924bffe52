"""The whole box on real radiographs: one terminal state a file, the expected reasons, and the card's own figures."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from edge.bundle import open_bundle
from edge.known_answer import SCORE_TOLERANCE

MEASURED = Path(__file__).parents[1] / "benchmarks/results/research-bundle/scores.csv"
pytestmark = pytest.mark.real


def watch(folder: Path, state: Path) -> dict[str, dict[str, Any]]:
    """Result files by case id, after one run with the default bundle."""
    command = [sys.executable, "-m", "edge.cli", "watch", str(folder), "--state", str(state), "--once"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    results = [json.loads(path.read_bytes()) for path in state.glob("results/*/*.json")]
    return {result["case_id"]: result for result in results}


def case_id(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_every_dicom_file_ends_as_it_should(real_data: Path, tmp_path: Path) -> None:
    listed = rows(real_data / "dicom.csv")
    results = watch(real_data / "dicom", tmp_path / "state")
    assert len(results) == len(listed)
    wrong = []
    for row in listed:
        result = results[case_id(real_data / row["path"])]
        allowed = set(row["expected_reasons"].split("|"))
        fits = result["status"] in row["expected_status"].split("|")
        if result["status"] == "not_scored":
            fits = fits and result["reason"] in allowed
            assert result["score"] is None
        if not fits:
            wrong.append((row["path"], result["status"], result["reason"], row["expected_status"], allowed))
    assert wrong == []


def test_no_lateral_view_and_no_slice_is_scored(real_data: Path, tmp_path: Path) -> None:
    """The rows `not_frontal`, on which nothing was fitted."""
    listed = [row for row in rows(real_data / "covid.csv") if row["split"] == "not_frontal"]
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for row in listed:
        shutil.copy(real_data / row["path"], incoming)
    results = watch(incoming, tmp_path / "state")
    reasons = Counter(result["reason"] for result in results.values())
    assert reasons.pop("not_a_radiograph", 0) <= 1  # a picture in colour
    assert reasons.keys() <= {"not_frontal_chest", "no_lungs", "inverted", "unlike_reference", "poor_quality"}
    assert sum(reasons.values()) >= len(listed) - 1
    assert all(result["status"] == "not_scored" for result in results.values())


def test_every_radiograph_has_one_result_and_scores_give_the_figures_in_the_manifest(
    real_data: Path, tmp_path: Path
) -> None:
    """The whole folder; AUC on both held-out sets from the result files, over the scored rows, refusals counted.

    Processors round int8 differently. Each score must lie within the known-answer tolerance of the measured one, and
    only pairs that lie nearer than the scores moved may change the AUC.
    """
    listed = rows(real_data / "covid.csv")
    results = watch(real_data / "classification", tmp_path / "state")
    files = [path for path in (real_data / "classification").rglob("*") if path.is_file()]
    assert results.keys() == {case_id(path) for path in files}
    metrics = open_bundle("research").manifest.metrics
    measured = {row["file"]: float(row["score"]) for row in rows(MEASURED) if row["score"]}
    for split in ("test_internal", "test_eurorad"):
        judged = [(row, results[row["sha256"][:16]]) for row in listed if row["split"] == split]
        scored = [(row, result) for row, result in judged if result["status"] == "scored"]
        labels = np.array([row["label"] == "covid" for row, _ in scored])
        scores = np.array([result["score"] for _, result in scored])
        before = np.array([measured[Path(row["path"]).name] for row, _ in scored])
        assert roc_auc_score(labels, before) == pytest.approx(metrics[split]["auc"], abs=1e-9)
        moved = np.abs(scores - before).max()
        assert moved <= SCORE_TOLERANCE["int8"]
        near = np.abs(before[labels][:, None] - before[~labels][None, :]) < 2 * moved
        assert roc_auc_score(labels, scores) == pytest.approx(metrics[split]["auc"], abs=0.001 + near.mean())
        assert len(judged) - len(scored) == metrics[split]["n_refused"]
        assert labels.sum() == metrics[split]["n_covid"]
