"""What is put into a bundle and what is refused, with networks of a few lines; by commands in test_bundle_cli.py."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import onnx
import pytest
from tiny_bundle import tiny_network

from edge.bundle import Bundle, open_bundle
from edge.calibration import Proof, Reliability, Scaling
from edge.case_pictures import THUMBNAILS, sources_of
from edge.errors import UsageError
from edge.imaging.read import read
from edge.statistics import Interval
from edge.temperature import apply_temperature
from export import assemble as assembling
from export.assemble import Radiographs, assemble
from export.loose_graphs import bundle_of
from export.recipes import Recipe, site_recipe
from training.manifest import of_split, read_manifest
from training.phantoms import write_training_set
from training.scorers import ask_engine

LABELS = ("no_finding", "pneumonia")
BOTH = ("fp32", "int8")
POINTS = {"fp32": 0.0, "int8": 0.625}
PATIENTS = {0: "a" * 64, 1: "A" * 64, 2: "a" * 63}  # of the first rows; the rest have names
TEMPERATURES = {"fp32": 2.0, "int8": 3.0}


def recipe(*precisions: str) -> Recipe:
    return site_recipe("ward-3", "pad", precisions, labels=LABELS, licence="ours", credits=())


def made(folder: Path, recipe: Recipe, graphs: Path, radiographs: Radiographs) -> Bundle:
    identity = assemble(recipe, graphs, ("tiny",), 1024, radiographs, {}, folder)
    bundle = open_bundle(str(folder))
    assert bundle.id == identity
    return bundle


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """int8 answers the opposite of fp32; both passed the gate."""
    folder = tmp_path_factory.mktemp("graphs")
    digests = {}
    for precision, factor in (("fp32", 10), ("int8", -10)):  # sure enough that phantoms with anatomy suffice
        network = tiny_network()
        (projection,) = [constant for constant in network.graph.initializer if constant.name == "projection"]
        values = np.float32(factor) * onnx.numpy_helper.to_array(projection)
        projection.CopyFrom(onnx.numpy_helper.from_array(values, "projection"))
        content = network.SerializeToString()
        (folder / f"model.{precision}.onnx").write_bytes(content)
        digests[precision] = hashlib.sha256(content).hexdigest()
    outcomes = {
        precision: {
            "passed": True, "failures": [], "decisions_judged": True, "operating_point": POINTS[precision],
            "graph_sha256": digests[precision], "fp32_sha256": digests["fp32"], "labels": [*LABELS],
        }
        for precision in BOTH
    }  # fmt: skip
    (folder / "accuracy.json").write_text(json.dumps(outcomes))
    return folder


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Radiographs:
    rows = read_manifest(
        write_training_set(tmp_path_factory.mktemp("phantoms"), {"train": 4, "val": 4}, longest_side=256)
    )
    named = [
        replace(row, label=LABELS[row.label == "covid"], patient_id=PATIENTS.get(place, row.patient_id))
        for place, row in enumerate(rows)
    ]
    return Radiographs(of_split(named, "train"), of_split(named, "val"), named)


def proven(temperature: float) -> Scaling:
    held_out = Reliability(np.array([0.5]), np.array([0.5]), np.array([300]), Interval(0.01, 0.0, 0.02), 0.01)
    return Scaling(temperature, held_out, None)


@pytest.fixture(scope="module")
def ungated(graphs: Path, radiographs: Radiographs, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of int8 alone, which never went through the gate; it took the place of an older bundle."""
    folder = tmp_path_factory.mktemp("ungated")
    (folder / "bundle").mkdir()
    (folder / "bundle/left.txt").write_text("of the older one")
    bare = copytree(graphs, folder / "graphs")
    (bare / "accuracy.json").unlink()
    bundle = made(folder / "bundle", recipe("int8"), bare, radiographs)
    assert not (folder / "bundle/left.txt").exists()
    return bundle


@pytest.fixture(scope="module")
def scaled(graphs: Path, radiographs: Radiographs, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of both precisions, which passed the gate, with thumbnails. Four val rows prove no temperature, so that the proof
    is left out.
    """
    found = iter(TEMPERATURES.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembling, "proven_scaling", lambda *asked: proven(next(found)))
        pictured = replace(radiographs, thumbnails=True)
        folder = tmp_path_factory.mktemp("scaled") / "bundle"
        bundle = made(folder, recipe(*BOTH), graphs, pictured)
    assert {path.stat().st_mode & 0o777 for path in (folder / THUMBNAILS).iterdir()} == {0o600}
    return bundle


@pytest.fixture(scope="module")
def scores(graphs: Path, radiographs: Radiographs) -> tuple[np.ndarray, np.ndarray]:
    """What fp32 answers to the train rows: scores and embeddings."""
    paths = [row.path for row in radiographs.reference]
    asked = ask_engine(bundle_of(graphs, ("fp32",), name="fp32", members=("tiny",)), "fp32", paths)
    predictions = [answer.prediction for answer in asked]
    return np.array([each.score for each in predictions]), np.stack([each.embedding for each in predictions])


def test_every_precision_retrieves_among_the_cases_as_fp32_answers(
    ungated: Bundle, scaled: Bundle, radiographs: Radiographs, scores: tuple[np.ndarray, np.ndarray]
) -> None:
    before, embeddings = scores
    assert ungated.manifest.precisions == ("int8",) and "model.fp32.onnx" not in ungated.files
    for bundle, expected in ((ungated, before), (scaled, apply_temperature(before, TEMPERATURES["fp32"]))):
        reference = bundle.reference()
        np.testing.assert_allclose(reference.scores, expected, atol=1e-6)
        np.testing.assert_allclose(reference.embeddings, embeddings, atol=1e-5)
        assert reference.labels == tuple(row.label for row in radiographs.reference)
        assert reference.patients == ("a" * 64, "", "", "")  # keys alone: other identifiers stay in the manifest


def test_a_temperature_scales_operating_point_and_golden_answers(scaled: Bundle) -> None:
    assert scaled.manifest.temperatures == TEMPERATURES
    point = float(apply_temperature(POINTS["int8"], TEMPERATURES["int8"]))
    assert scaled.manifest.operating_points == {"fp32": 0.0, "int8": pytest.approx(point)}
    for case in scaled.golden_cases():
        fp32, int8 = (apply_temperature(case.expected[name]["score"], 1 / TEMPERATURES[name]) for name in BOTH)
        assert int8 == pytest.approx(1 - fp32, abs=1e-4)


def test_what_proves_a_temperature_is_in_the_manifest(scaled: Bundle, ungated: Bundle) -> None:
    assert scaled.manifest.calibration == dict.fromkeys(BOTH, Proof(300, 0.01, 0.02))
    assert ungated.manifest.calibration == {}


def test_what_passed_the_gate_is_recorded(ungated: Bundle, scaled: Bundle, graphs: Path) -> None:
    assert scaled.manifest.accuracy == json.loads((graphs / "accuracy.json").read_text())
    assert ungated.manifest.accuracy == {}


def test_a_bundle_that_stays_where_it_is_made_has_a_private_picture_of_each_reference_case(
    scaled: Bundle, ungated: Bundle, tmp_path: Path
) -> None:
    shown = {name for name in scaled.files if name.startswith(THUMBNAILS)}
    assert shown == {f"{THUMBNAILS}/{case_id}.png" for case_id in scaled.reference().case_ids}
    sources = sources_of(scaled.reference().case_ids, scaled, tmp_path / "state", None)
    for places in sources.values():
        with places[0]() as frozen:
            picture = read(os.pread(frozen.descriptor, frozen.size_bytes, 0))
        assert max(picture.pixels.shape) > 200  # the phantom's own size
    assert not any(name.startswith(THUMBNAILS) for name in ungated.files)


# A new bundle takes the place of the old one when it is complete, and not before.


@pytest.fixture
def older(tmp_path: Path) -> Path:
    (tmp_path / "out/bundle").mkdir(parents=True)
    (tmp_path / "out/bundle/manifest.json").write_text("of the older one")
    return tmp_path / "out/bundle"


def untouched(older: Path) -> bool:
    return [*older.parent.rglob("*")] == [older, older / "manifest.json"]


def test_a_failure_leaves_the_older_bundle_as_it_was(
    older: Path, graphs: Path, radiographs: Radiographs, tmp_path: Path
) -> None:
    gone = replace(radiographs.reference[0], path=tmp_path / "gone.dcm")
    with pytest.raises(FileNotFoundError):
        made(older, recipe("int8"), graphs, replace(radiographs, reference=[gone]))
    assert untouched(older)


def outcome(precision: str, **changes: Any) -> Callable[[Path], None]:
    def change(graphs: Path) -> None:
        outcomes = json.loads((graphs / "accuracy.json").read_text())
        outcomes[precision] |= changes
        (graphs / "accuracy.json").write_text(json.dumps(outcomes))

    return change


def exported_again(precision: str) -> Callable[[Path], None]:
    def change(graphs: Path) -> None:
        with (graphs / f"model.{precision}.onnx").open("ab") as graph:
            graph.write(b"!")

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (exported_again("int8"), r"judged int8 by another model\.int8\.onnx .* run: edge-cxr calibrate --graphs"),
        (exported_again("fp32"), r"judged int8 by another model\.fp32\.onnx .* run: edge-cxr calibrate --graphs"),
        (lambda graphs: (graphs / "model.fp32.onnx").unlink(), r"holds no model\.fp32\.onnx; run: edge-cxr export"),
        (outcome("int8", labels=["other", "covid"]), r"labels \['other', 'covid'\].* --labels no_finding,pneumonia"),
        (outcome("int8", labels=[*reversed(LABELS)]), r"labels \['pneumonia', 'no_finding'\]"),
        (outcome("int8", passed=False, failures=["AUC falls"]), r"int8 failed the accuracy gate \(AUC falls\)"),
        (outcome("int8", decisions_judged=False), r"did not judge the decisions of int8.* without --undecided"),
    ],
)
def test_what_the_gate_did_not_prove_of_these_graphs_is_refused_before_anything_is_written(
    older: Path, graphs: Path, radiographs: Radiographs, tmp_path: Path, change: Callable[[Path], None], told: str
) -> None:
    changed = copytree(graphs, tmp_path / "graphs")
    change(changed)
    with pytest.raises(UsageError, match=told):
        made(older, recipe("int8"), changed, radiographs)
    assert untouched(older)
