"""`edge-cxr bench --accuracy`: every precision is asked on the box's own engines, even one that failed before."""

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from array_files import write_array
from click.testing import CliRunner, Result
from fake_cuda import PLAN, FakeCuda, FakeTensorRT
from fake_engine import FakeEngine, mean_of, outputs_of
from manifest_files import write as write_rows
from numpy.typing import NDArray
from tiny_bundle import tiny_network, write_manifest, write_tiny_bundle

from benchmarks.accuracy import (
    REFERENCE,
    Accuracy,
    Listing,
    judge_precisions,
    measure_accuracy,
    warn_of_other_calibration,
)
from calib.cohort import Cohort, Part
from calib.gate import GateFailed, Labels
from calib.gate_set import GateSet
from edge.bundle import Manifest, read_bundle
from edge.cli import main
from edge.config import Config
from edge.engines import Outputs
from edge.engines.opening import GpuPlace
from edge.engines.plans import PlanStore, plan_key
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.state import open_state
from edge.temperature import apply_temperature
from training.manifest import read_manifest
from training.phantoms import write_training_set
from training.row import Row

BOTH = ("fp32", "fp16")
SHIFT = np.float32(0.25)


class Turned(FakeEngine):
    """What is bright is dark to it."""

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        return outputs_of(1 - mean_of(batch).score)


class Shifted(FakeEngine):
    """It ranks and retrieves as FakeEngine does, but its scores are lower."""

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        answers = mean_of(batch)
        return replace(answers, score=np.maximum(answers.score - SHIFT, 0))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of eight training and eight validation phantoms."""
    return write_training_set(tmp_path_factory.mktemp("phantoms"), {"train": 8, "val": 8}, longest_side=256)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> GateSet:
    """320 radiographs, of which eight are different: brighter is more often positive."""
    folder = tmp_path_factory.mktemp("arrays")
    paths = []
    for level in range(8):
        array = np.full((1024, 1024), 20 + 30 * level, np.uint8)
        array[0, 0] = 0  # a blank one is refused
        paths.append(write_array(folder / f"{level}.npz", array))
    positive = np.tile(np.arange(8) >= 4, 40)
    return GateSet(tuple(paths * 40), tuple(paths), Labels(positive, np.arange(320) < 16), "g" * 64)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fp16 is the same network, and the record says that it failed."""
    folder = write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    (folder / "model.fp16.onnx").write_bytes(tiny_network().SerializeToString())
    failed = {"fp16": {"passed": False, "failures": ["AUC fell by 0.1"]}}
    write_manifest(folder, precisions=list(BOTH), operating_points=dict.fromkeys(BOTH, 0.5), accuracy=failed)
    return folder


@pytest.fixture(scope="module")
def manifest(bundle: Path) -> Manifest:
    return read_bundle(bundle).manifest


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)], catch_exceptions=False)


def named(precision: str, engine: FakeEngine, backend: str = "openvino") -> FakeEngine:
    engine.identity = replace(engine.identity, precision=precision, backend=backend)
    return engine


def first(gate: GateSet, count: int) -> GateSet:
    labels = Labels(gate.labels.positive[:count], gate.labels.validation[:count])
    return replace(gate, radiographs=gate.radiographs[:count], labels=labels)


def test_each_engine_is_judged_by_fp32(gate: GateSet, manifest: Manifest) -> None:
    engines = {"fp32": FakeEngine(), "fp16": named("fp16", FakeEngine()), "int8": named("int8", Shifted())}
    three = replace(manifest, precisions=tuple(engines), operating_points=dict.fromkeys(engines, 0.5))
    judged = judge_precisions(three, gate, {REFERENCE: FakeEngine(), **engines}.__getitem__)
    assert [*judged] == ["fp32", "fp16", "int8"]
    passed = {name: found.outcome.passed for name, found in judged.items()}
    assert passed == {"fp32": True, "fp16": True, "int8": False}
    (failure,) = judged["int8"].outcome.failures
    assert failure.startswith("80 of 320 decisions flip")
    accuracy = Accuracy("b" * 64, "f" * 64, gate.sha256, judged)
    with pytest.raises(GateFailed, match="fails for int8 on this machine"):
        accuracy.require()
    assert accuracy.table().endswith("answered: fp32 by openvino, fp16 by openvino, int8 by openvino")
    replace(accuracy, precisions={"fp32": judged["fp32"], "fp16": judged["fp16"]}).require()


def test_fp32_by_another_backend_is_judged_like_the_others(gate: GateSet, manifest: Manifest) -> None:
    engines = {REFERENCE: FakeEngine(), "fp32": named("fp32", Turned(), "tensorrt"), "fp16": FakeEngine()}
    judged = judge_precisions(manifest, first(gate, 16), engines.__getitem__)
    assert [*judged] == ["fp32 by openvino", "fp32", "fp16"]
    assert [found.outcome.auc for found in judged.values()] == [1, 0, 1]
    assert not judged["fp32"].outcome.passed


def test_a_plan_that_answers_wrongly_is_found_out_by_openvino(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    """In both precisions alike: by the plan of fp32 that of fp16 would pass."""
    flavour, gpu = FakeTensorRT(FakeCuda()).flavour(), FakeCuda().gpu
    state = open_state(tmp_path / "state")
    for precision in BOTH:
        key = plan_key(read_bundle(bundle).model_bytes(precision), precision, flavour, gpu)
        PlanStore(state.plans, site_key=state.site_key).keep(key, PLAN)

    def find() -> GpuPlace:
        cuda = FakeCuda()
        return GpuPlace(cuda, FakeTensorRT(cuda).flavour())

    config = Config(bundle=str(bundle), state=str(state.root), backend="tensorrt")
    said: list[str] = []
    listing = Listing((phantoms,), tmp_path / "arrays")
    accuracy = measure_accuracy(config, listing, None, say=said.append, find=find)
    assert accuracy.table().endswith("answered: fp32 by openvino, fp32 by tensorrt, fp16 by tensorrt")
    changes = {name: judged.outcome.parity.score_change_max for name, judged in accuracy.precisions.items()}
    assert changes[REFERENCE] == 0
    assert changes["fp32"] == changes["fp16"] > 0.1
    assert [line[:55] for line in said] == ["warning: the bundle records no AUC of fp32 on these rad"]


@pytest.mark.parametrize(
    ("recorded", "gate_sha256", "refused"),
    [(1.0, "g" * 64, True), (0.504, "g" * 64, False), (1.0, "o" * 64, False)],
    ids=["better", "hardly better", "another gate set"],
)
def test_fp32_that_was_better_when_calibrated_judges_nobody(
    gate: GateSet, manifest: Manifest, recorded: float, gate_sha256: str, refused: bool
) -> None:
    """A network that answers the same to everyone decides and retrieves alike in every precision. Of another gate set
    the record tells nothing.
    """
    outcome = {"passed": True, "failures": [], "auc_fp32": recorded, "gate_sha256": gate_sha256}
    calibrated = replace(manifest, accuracy={"fp16": outcome})
    told = pytest.raises(GateFailed, match=r"AUC of 0\.5000 on this machine and had 1\.0000")
    with told if refused else contextlib.nullcontext():
        judge_precisions(calibrated, first(gate, 16), lambda name: FakeEngine(score=0.3))


@pytest.mark.parametrize(
    ("point", "temperature", "engine", "flipped"),
    [
        (0.5, None, Shifted(), 4),  # two of eight levels
        (0.25, 2.0, Shifted(), 2),  # among scaled scores it lies lower
        (float(apply_temperature(0.25, 2.0)), 2.0, Shifted(), 0),
        (1.0, 2.0, Shifted(), 8),  # nobody reaches it
        (1.0, 0.05, FakeEngine(), 6),  # scaling lifts the brightest level to 1, to the last bit, and no other
    ],
)
def test_decisions_are_those_of_the_box(
    gate: GateSet, manifest: Manifest, point: float, temperature: float | None, engine: FakeEngine, flipped: int
) -> None:
    """At the bundle's points, which another set of radiographs may not ask for."""
    deciding = replace(
        manifest, operating_points={"fp32": 0.5, "fp16": point}, temperatures={"fp32": None, "fp16": temperature}
    )
    engines = {REFERENCE: FakeEngine(), "fp32": FakeEngine(), "fp16": engine}
    assert judge_precisions(deciding, first(gate, 16), engines.__getitem__)["fp16"].outcome.flipped == flipped


def test_fp32_that_a_bundle_lacks_decides_by_the_val_rows(gate: GateSet, manifest: Manifest) -> None:
    lacking = replace(manifest, precisions=("fp16",), operating_points={"fp16": 0.25})
    engines = {REFERENCE: FakeEngine(), "fp16": Shifted()}
    judged = judge_precisions(lacking, first(gate, 16), engines.__getitem__)
    assert {name: found.outcome.flipped for name, found in judged.items()} == {"fp32": 0, "fp16": 0}


@pytest.mark.parametrize(
    ("held", "points", "decides"),
    [
        (("fp32", "int8"), {"fp32": 0.5, "int8": 0.0}, {"fp32": True, "int8": True}),
        (("fp32", "int8"), {"fp32": 0.5, "int8": None}, {"fp32": True, "int8": False}),
        (("int8",), {"int8": 0.5}, {"fp32": True, "int8": True}),  # fp32 is asked all the same
        (("int8",), {"int8": None}, {"fp32": False, "int8": False}),
    ],
)
def test_flips_count_where_the_bundle_decides(
    gate: GateSet, manifest: Manifest, held: tuple[str, ...], points: dict[str, float | None], decides: dict[str, bool]
) -> None:
    """Of 16 radiographs the upper bound of what may have flipped is far above 1 %."""
    asked = replace(manifest, precisions=held, operating_points=points)
    judged = judge_precisions(asked, first(gate, 16), lambda precision: FakeEngine())
    assert {name: found.outcome.decisions_judged for name, found in judged.items()} == decides
    failures = "; ".join(judged["int8"].outcome.failures)
    assert "16 radiographs prove nothing" in failures
    assert ("decisions flip" in failures) == decides["int8"]


def test_a_precision_that_failed_is_measured_anew(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    kept = tmp_path / "accuracy.json"
    done = bench(
        "--accuracy", "--bundle", bundle, "--manifest", phantoms, "--cache", tmp_path, "--json", "--output", kept
    )
    assert done.exit_code == 1
    assert "the accuracy gate fails for fp16 on this machine" in done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads(kept.read_text())
    assert document["machine"]["versions"]["openvino"]
    assert document["bundle_id"] == read_bundle(bundle).id
    assert [*document["precisions"]] == [*BOTH]
    fp16 = document["precisions"]["fp16"]
    assert fp16["backend"] == "openvino" and fp16["radiographs"] == 8
    assert (fp16["score_change_max"], fp16["recall"]) == (0, 1)
    assert fp16["failures"][0] == "8 radiographs prove nothing; the gate needs 300"


def test_a_graph_stands_in_for_the_fp32_that_a_bundle_lacks(phantoms: Path, tmp_path: Path) -> None:
    folder, graph = write_tiny_bundle(tmp_path / "tiny"), tmp_path / "kept.onnx"
    network = (folder / "model.fp32.onnx").rename(folder / "model.int8.onnx").read_bytes()
    write_manifest(folder, precisions=["int8"], operating_points={"int8": None})
    arguments = ("--accuracy", "--bundle", folder, "--manifest", phantoms, "--cache", tmp_path)
    lacking = bench(*arguments)
    assert lacking.exit_code == 2 and "holds int8 and no fp32 to measure by" in lacking.stderr
    other = onnx.load_from_string(network)
    (projection,) = [constant for constant in other.graph.initializer if constant.name == "projection"]
    projection.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(projection), "projection"))
    graph.write_bytes(other.SerializeToString())
    done = bench(*arguments, "--fp32", graph, "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["fp32_sha256"] == hashlib.sha256(graph.read_bytes()).hexdigest()
    assert document["precisions"]["int8"]["embedding_cosine_mean"] == pytest.approx(-1)
    graph.write_bytes(b"no graph")
    broken = bench(*arguments, "--fp32", graph)
    assert broken.exit_code == 1 and "cannot compile model.fp32.onnx" in broken.stderr


def test_two_fp32_are_one_too_many(bundle: Path, phantoms: Path) -> None:
    done = bench("--accuracy", "--bundle", bundle, "--manifest", phantoms, "--fp32", bundle / "model.fp32.onnx")
    assert done.exit_code == 2
    assert "leave out --fp32 model.fp32.onnx" in done.stderr


def test_an_engine_that_is_missing_is_told_before_anyone_is_asked(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    cache = tmp_path / "arrays"
    done = bench("--accuracy", "--bundle", bundle, "--manifest", phantoms, "--cache", cache, "--backend", "tensorrt")
    assert done.exit_code == 1
    assert not cache.exists()


@pytest.mark.parametrize("count", [1, 2])
def test_calibration_radiographs_are_chosen_again_as_recorded(manifest: Manifest, tmp_path: Path, count: int) -> None:
    rows = read_manifest(write_rows(tmp_path, *[f"{name}.png,{name},covid,train,CC0" for name in "abc"]), labels=None)
    calibrated = cohort(rows).calibration(count)
    told = recorded(manifest, calibration_radiographs=count, calibration_sha256=calibrated.sha256)
    said: list[str] = []
    warn_of_other_calibration(told, cohort(rows), said.append)
    assert said == []
    others = tuple(row for row in rows if row not in calibrated.rows)
    warn_of_other_calibration(told, cohort(others), said.append)
    (line,) = said
    assert f"calibrated with other radiographs ({calibrated.sha256[:12]})" in line
    warn_of_other_calibration(manifest, cohort(others), said.append)  # of a bundle that recorded nothing
    assert said == [line]


def cohort(rows: Sequence[Row]) -> Cohort:
    return Cohort((Part(tuple(rows), (), tuple(rows)),))


def recorded(manifest: Manifest, **figures: object) -> Manifest:
    return replace(manifest, accuracy={"int8": {"passed": True, "failures": [], **figures}})


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--manifest", __file__], "'--manifest' goes with --accuracy alone"),
        (["--fp32", __file__], "'--fp32' goes with --accuracy alone"),
        (["--cache", "arrays"], "'--cache' goes with --accuracy alone"),
        (["--permitted-only"], "'--permitted-only' goes with --accuracy alone"),
        (["--seed", "0"], "'--seed' goes with --accuracy alone"),
        (["--accuracy", "--manifest", __file__, "--runs", "40"], "'--runs' does not go with --accuracy"),
        (["--accuracy", "--manifest", __file__, "--warm-up", "5"], "'--warm-up' does not go with --accuracy"),
        (["--accuracy", "--manifest", __file__, "--precision", "int8"], "'--precision' does not go with --accuracy"),
        (["--accuracy", "--manifest", __file__, "chest.dcm"], "'[FILES]...' does not go with --accuracy"),
        (["--accuracy"], "name them with --manifest"),
    ],
)
def test_options_of_the_other_measurement_are_refused(arguments: Sequence[str], told: str) -> None:
    done = bench(*arguments)
    assert done.exit_code == 2
    assert told in done.stderr


def test_only_accuracy_needs_what_training_needs(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    write_dicom(render(1, "covid", longest_side=256), tmp_path / "chest.dcm")
    without = "import sys; sys.modules |= dict.fromkeys(['torch', 'onnxruntime', 'onnx', 'scipy', 'sklearn'])\n"
    program = f"{without}from edge.cli import main; main(['bench', '--bundle', {str(bundle)!r}, *sys.argv[1:]])"

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        called = [sys.executable, "-c", program, *arguments]
        return subprocess.run(called, capture_output=True, text=True, timeout=120, check=False)

    latency = call(str(tmp_path / "chest.dcm"), "--runs", "1", "--warm-up", "0", "--json")
    assert latency.returncode == 0, latency.stderr
    accuracy = call("--accuracy", "--manifest", str(phantoms))
    assert accuracy.returncode == 2
    assert "pip install '.[export]'" in accuracy.stderr
