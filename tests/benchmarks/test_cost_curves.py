"""Curves of cost: measured on the real daemon, a made ledger and a real engine, each small; merged, told and drawn."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import cost_curves, engine_curves, index_curve, ledger_curve, waiting_curve
from edge.bundle import open_bundle
from edge.errors import EdgeError, UsageError
from edge.ledger_reader import LedgerReader


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cost_curves.CURVES, "index", ("made_curve", "CURVE"))


def run(out: Path, *options: str) -> str:
    answer = CliRunner().invoke(cost_curves.cost_curves, ["--curve", "index", "--out", str(out), *options])
    if answer.exception is not None:
        raise answer.exception
    return answer.stdout


@pytest.mark.usefixtures("made")
def test_a_curve_takes_the_place_of_its_earlier_figures_alone(tmp_path: Path) -> None:
    out = tmp_path / "curves.json"
    assert "things, from 700 ms to 2.5 s; 500 ms in any case and 2 ms for each." in run(out)
    document = json.loads(out.read_text())
    assert [len(document["curves"]["index"][name]) for name in ("points", "growth")] == [5, 3]
    assert document["curves"]["index"]["machine"]["command"].startswith("python -m benchmarks.cost_curves")
    document["curves"] = {"pixels": document["curves"]["index"]}
    out.write_text(json.dumps(document))
    run(out, "--most", "100")
    curves = json.loads(out.read_text())["curves"]
    assert list(curves) == ["index", "pixels"]  # in their order, whichever was measured last
    assert [len(curve["points"]) for curve in curves.values()] == [3, 5]
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("made")
def test_nothing_is_written_over_another_file_or_for_no_size(tmp_path: Path) -> None:
    out = tmp_path / "other.json"
    with pytest.raises(UsageError, match="has no size up to 9; give --most a greater number"):
        run(out, "--most", "9")
    assert not out.exists()
    out.write_text('{"schema": "edge-cxr/bench/1"}')
    with pytest.raises(EdgeError, match="schema edge-cxr/bench/1"):
        run(out)
    assert json.loads(out.read_text()) == {"schema": "edge-cxr/bench/1"}


def test_radiographs_that_wait_are_taken_by_the_real_daemon(tmp_path: Path) -> None:
    costs = waiting_curve.measure(waiting_curve.Waiting(5, 2), tmp_path)  # it counts the results itself
    assert 0 < costs["ready_s"] < costs["all_s"]
    assert 0 < costs["first_result_s"] < costs["all_s"]
    assert costs["cpu_s"] > 0.1
    assert min(costs["peak_bytes"], costs["workers_bytes"]) > 1e7
    assert not list(tmp_path.iterdir())


def test_the_first_result_is_the_one_renamed_first(tmp_path: Path) -> None:
    parts, results = [tmp_path / ".a", tmp_path / ".b"], [tmp_path / "a.json", tmp_path / "b.json"]
    for part in parts:
        part.touch()
    time.sleep(0.05)
    between_s = time.time()
    time.sleep(0.05)
    parts[1].rename(results[1])
    time.sleep(0.05)
    after_s = time.time()
    time.sleep(0.05)
    parts[0].rename(results[0])
    assert between_s < waiting_curve.first_visible_s(results) < after_s < results[0].stat().st_ctime


def test_a_refusal_is_no_result_of_a_curve(tmp_path: Path) -> None:
    results = [tmp_path / f"{number}.json" for number in range(2)]
    for path, status in zip(results, ("scored", "not_scored"), strict=True):
        path.write_text(json.dumps({"status": status}))
    waiting_curve._require_scored(results[:1], 1)
    with pytest.raises(EdgeError, match="1 radiographs are new and 1 of 2 results are scored"):
        waiting_curve._require_scored(results, 1)
    with pytest.raises(EdgeError, match="2 radiographs are new and 1 of 2 results are scored"):
        waiting_curve._require_scored(results, 2)
    with pytest.raises(EdgeError, match="2 radiographs are new and 1 of 1 results are scored"):
        waiting_curve._require_scored(results[:1], 2)


def test_a_made_ledger_is_whole_and_is_served_asked_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_curve, "_COUNTING", 5)
    monkeypatch.setattr(ledger_curve, "_SCRAPES", 20)
    state = tmp_path / "state"
    ledger_curve.fill((state, 30))
    with LedgerReader(state / "ledger.sqlite") as reader:
        assert reader.count_cases(up_to=100) == reader.audit_head().number == 30
        assert reader.finished(ledger_curve.digest_of(29)) is not None
        assert reader.finished(ledger_curve.digest_of(30)) is None
    costs = ledger_curve._served(tmp_path) | ledger_curve._asked((state, 30))
    assert min(costs[name] for name in costs if name != "scrape_cpu_s") > 0  # CPU of few scrapes may be no tick
    assert costs["write_cpu_s"] > costs["reports_cpu_s"]  # an insertion, its entry and a commit against one row read
    with LedgerReader(state / "ledger.sqlite") as reader:
        assert reader.count_cases(up_to=1000) == 30 + ledger_curve._WRITTEN


def test_a_million_is_taken_from_named_files() -> None:
    taken = list(index_curve.taken(Path(index_curve.__file__).parent / "results"))
    millions = {point.series: point.source for point in taken if point.size == index_curve.MILLION}
    assert millions == {
        index_curve.WHOLE: "results/index-cost.json",
        index_curve.ALONE: "results/retrieval-million.json",
    }
    assert [point.size for point in taken if point.series == index_curve.ALONE] == [10_000, 100_000, 1_000_000]
    assert all(point.source for point in taken)


def test_an_engine_is_measured_without_torch_in_its_process(tmp_path: Path) -> None:
    """torch would be most of the memory that is measured."""
    bundle = open_bundle("phantom")
    (tmp_path / "model.int8.onnx").write_bytes(bundle.model_bytes("int8"))
    np.save(tmp_path / engine_curves._INPUTS, np.zeros((2, 1, 1024, 1024), np.float32))
    costs = engine_curves.measure(tmp_path, "int8", bundle.manifest.members)
    assert 0 < costs["wall_s"] < costs["open_s"]
    assert costs["peak_bytes"] > 1e8
    imported = "benchmarks.cost_curves, benchmarks.engine_curves, edge.engines.opening, export.loose_graphs"
    code = f"import sys, {imported}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
