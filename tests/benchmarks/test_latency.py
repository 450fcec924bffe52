"""`edge-cxr bench`: what it prints is what it measured, and refusals are not counted as fast answers."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from tiny_bundle import write_tiny_bundle

from benchmarks import latency
from benchmarks.latency import PHANTOMS, SEEDS, STAGES, TOTAL, scored_phantoms
from edge.cli import main
from edge.config import Config
from edge.errors import EdgeError
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.reading_room import open_pipeline
from edge.values import Reason

SHORT = ("--runs", "4", "--warm-up", "1")
ALONE = (*SHORT, "--batch", "1")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chest") / "chest.dcm"
    write_dicom(render(1, "covid", longest_side=256), path)
    return path


def bench(bundle: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", "--bundle", str(bundle), *map(str, arguments)])


@pytest.fixture(scope="module")
def whole(bundle: Path, chest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, dict[str, Any], bytes]:
    """One run of all: what it printed, its JSON, its picture."""
    kept, plot = (tmp_path_factory.mktemp("kept") / name for name in ("bench.json", "bench.png"))
    arguments = [chest, *SHORT, "--batch", "1", "--batch", "2", "--requests", "2", "--reaction", "--rate", "4",
                 "--idle-s", "0.5", "--known", "3", "--output", kept, "--plot", plot]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edge-cxr", "bench", *map(str, arguments)])
        done = bench(bundle, *arguments)
    assert done.exit_code == 0, done.output
    return done, json.loads(kept.read_text()), plot.read_bytes()


def test_machine_versions_bundle_and_every_stage(whole: tuple[Result, dict[str, Any], bytes], bundle: Path) -> None:
    _, document, _ = whole
    assert document["schema"] == "edge-cxr/bench/1"
    assert document["bundle"] == str(bundle)
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["versions"]["openvino"]
    assert document["machine"]["command"].startswith("edge-cxr bench FILE --runs 4")  # never a patient's name
    assert document["engine"]["precision"] == "fp32"
    assert [latency["stage"] for latency in document["latencies"]] == [*STAGES, TOTAL]
    assert {latency["spread"]["count"] for latency in document["latencies"]} == {4}
    means = {latency["stage"]: latency["spread"]["mean_s"] for latency in document["latencies"]}
    assert means[TOTAL] > 1.0001 * sum(means[stage] for stage in STAGES)  # opening, hashing and handing over add to it
    assert document["start_s"] > 0
    assert document["memory"]["workers"] >= 1 and document["memory"]["workers_rss_bytes"] > 0


def test_the_engine_alone(whole: tuple[Result, dict[str, Any], bytes]) -> None:
    rows = whole[1]["engine_rows"]
    assert [(row["batch"], row["requests"], row["latency"]["count"]) for row in rows] == [(1, 2, 6), (2, 2, 6)]
    assert all(row["radiographs_per_s"] == pytest.approx(row["batch"] * row["throughput_qps"]) for row in rows)


def test_the_running_daemon(whole: tuple[Result, dict[str, Any], bytes]) -> None:
    reaction = whole[1]["reaction"]
    assert [reaction[part]["count"] for part in ("reaction", "infer", "besides_infer")] == [4, 4, 4]
    assert 0 < reaction["infer"]["min_s"] < reaction["reaction"]["min_s"]
    assert (reaction["rate_per_s"], reaction["known_files"], reaction["idle_s"]) == (4, 3, 0.5)
    assert 0 <= reaction["idle_cpu_share"] < 2
    assert reaction["cpu_s"] > 0
    for when in ("at_start", "when_idle", "at_end"):
        assert reaction[when]["rss_bytes"] > 0
        assert reaction[when]["workers"] >= 1
    assert reaction["start_s"] > 0


def test_tables_and_picture(whole: tuple[Result, dict[str, Any], bytes]) -> None:
    done, _, picture = whole
    words = ("qps", "radiographs/s", "median", "p99", *STAGES, TOTAL, "besides infer", "of a core", "start-up")
    assert all(word in done.stdout for word in words)
    assert "cannot be told from 4 runs; give more --runs" in done.stderr
    drawn = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert drawn is not None and drawn.shape[0] > drawn.shape[1]  # three panels


def test_slower_than_before_is_exit_code_1(
    whole: tuple[Result, dict[str, Any], bytes], bundle: Path, chest: Path, tmp_path: Path
) -> None:
    before = json.loads(json.dumps(whole[1]))
    for one in before["latencies"]:
        one["spread"]["median_s"] = 1e-9
    (tmp_path / "fast.json").write_text(json.dumps(before))
    done = bench(bundle, chest, *ALONE, "--compare", tmp_path / "fast.json", "--margin", "1000", "--json")
    assert done.exit_code == 1
    assert "edge-cxr: worse than before by more than 100000%: total" in done.stderr
    document = json.loads(done.stdout)
    assert document["comparison"]["worse"] == ["total"]
    assert document["reaction"] is None
    before["machine"]["cores"] += 1
    (tmp_path / "elsewhere.json").write_text(json.dumps(before))
    done = bench(tmp_path / "no bundle", "--compare", tmp_path / "elsewhere.json")  # before anything is opened
    assert done.exit_code == 2
    assert "machine cores was" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_a_place_for_what_is_written_is_looked_for_first(bundle: Path, tmp_path: Path, option: str) -> None:
    done = bench(bundle, option, tmp_path / "no" / "bench")
    assert done.exit_code == 2
    assert "lies in no folder; create" in done.stderr


def test_a_picture_needs_matplotlib(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.bench_figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    done = bench(bundle, "--plot", tmp_path / "bench.png")
    assert done.exit_code == 2
    assert "--plot needs matplotlib" in done.stderr and "pip install '.[train]'" in done.stderr


def test_a_refused_file_is_an_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not a radiograph")
    done = bench(bundle, tmp_path / "note.txt")
    assert done.exit_code == 1
    assert "file 1 of 1 is not scored (unreadable" in done.stderr


def test_both_packaged_bundles_score_the_first_phantoms(tmp_path: Path) -> None:
    with open_pipeline(Config(bundle="research", state=str(tmp_path / "state"))) as pipeline:
        found = scored_phantoms(pipeline, tmp_path)
    assert [int(path.stem) for path in found] == list(SEEDS[:PHANTOMS])
    with open_pipeline(Config(bundle="phantom", state=str(tmp_path / "state"))) as pipeline:
        assert all(pipeline.report(path).scored for path in found)


def test_a_bundle_that_scores_no_phantom_says_so(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SEEDS", SEEDS[:2])
    with open_pipeline(Config(bundle=str(bundle), state=str(tmp_path / "state"))) as pipeline:
        assert len(scored_phantoms(pipeline, tmp_path, longest_side=128)) == 2
        refuse = replace(pipeline.report(tmp_path / "0.dcm"), reason=Reason.UNLIKE_REFERENCE)
        monkeypatch.setattr(pipeline, "score", lambda decoded: refuse)
        with pytest.raises(EdgeError, match="scores none of the phantoms; name radiographs"):
            scored_phantoms(pipeline, tmp_path, longest_side=128)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rate", "2"), "'--rate' goes with --reaction; add it"),
        (("--known", "2"), "'--known' goes with --reaction; add it"),
        (("--margin", "2"), "'--margin' goes with --compare; add it"),
        (("--anyway",), "'--anyway' goes with --compare; add it"),
        (("--accuracy", "--reaction"), "'--reaction' does not go with --accuracy"),
        (("--accuracy", "--plot", "a.png"), "'--plot' does not go with --accuracy"),
        (("--seed", "2"), "'--seed' goes with --accuracy alone"),
    ],
)
def test_what_would_be_passed_over_is_refused(bundle: Path, arguments: tuple[str, ...], told: str) -> None:
    done = bench(bundle, *arguments)
    assert done.exit_code == 2
    assert told in done.stderr
