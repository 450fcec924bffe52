"""`edge-cxr bench`: what it prints is what it measured, and refusals are not counted as fast answers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_bundle import write_tiny_bundle

from benchmarks.latency import STAGES, TOTAL, summarise
from edge.cli import main
from edge.phantom import render
from edge.phantom_dicom import write_dicom


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def test_summary_of_known_times() -> None:
    latency = summarise("infer", [number / 100 for number in range(1, 101)])
    assert (latency.count, latency.max) == (100, 1.0)
    assert latency.mean == pytest.approx(0.505)
    assert latency.p50 == pytest.approx(0.505)
    assert latency.p99 == pytest.approx(0.9901)
    assert latency.p50 < latency.p90 < latency.p95 < latency.p99 < latency.max


def test_json_with_machine_versions_and_every_stage(bundle: Path, tmp_path: Path) -> None:
    chest = tmp_path / "chest.dcm"
    write_dicom(render(1, "covid", longest_side=256), chest)
    kept = tmp_path / "bench.json"
    arguments = ["bench", str(chest), "--bundle", str(bundle), "--runs", "4", "--warm-up", "1", "--json"]
    done = CliRunner().invoke(main, [*arguments, "--output", str(kept)], catch_exceptions=False)
    document = json.loads(done.stdout)
    assert document == json.loads(kept.read_text())
    assert [latency["stage"] for latency in document["latencies"]] == [*STAGES, TOTAL]
    assert {latency["count"] for latency in document["latencies"]} == {4}
    means = {latency["stage"]: latency["mean"] for latency in document["latencies"]}
    assert means[TOTAL] > 1.0001 * sum(means[stage] for stage in STAGES)  # opening, hashing and handing over add to it
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["versions"]["openvino"]
    assert document["engine"]["precision"] == "fp32"
    table = CliRunner().invoke(main, [*arguments[:-1]], catch_exceptions=False).stdout
    assert all(stage in table for stage in (*STAGES, TOTAL))


def test_a_place_for_the_output_is_looked_for_before_anything_is_measured(bundle: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["bench", "--bundle", str(bundle), "--output", str(tmp_path / "no" / "bench.json")])
    assert done.exit_code == 2
    assert "lies in no folder; create" in done.stderr


def test_a_refused_file_is_an_error(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not a radiograph")
    done = CliRunner().invoke(main, ["bench", str(tmp_path / "note.txt"), "--bundle", str(bundle)])
    assert done.exit_code == 1
    assert "is not scored (unreadable" in done.stderr
