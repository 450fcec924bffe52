"""A written bundle is one that the box opens: digests of every file, and another byte is refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge.bundle import read_bundle
from edge.errors import BundleError, UsageError
from edge.gate_limits import GateLimits, Limits
from edge.imaging.preprocess import Preprocessing
from edge.reference_levels import Levels
from export.bundle_writer import BundleContent, digests, read_content, write_manifest

CONTENT = BundleContent(
    name="site",
    role="site",
    labels=("other", "covid"),
    members=("resnet34",),
    embedding_member="resnet34",
    network_input_size=320,
    preprocessing=Preprocessing(framing="stretch"),
    precisions=("int8",),
    operating_points={"int8": 0.4},
    temperatures={"int8": None},
    gates=GateLimits(Limits(0.1, 0.6, 0.03)),
    metrics={"test": {"auc": 0.8}},
    training={"seed": 0},
    drift={"score": Levels.of([0.1, 0.2, 0.30001] * 50)},
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "golden").mkdir()
    (tmp_path / "model.int8.onnx").write_bytes(b"graph")
    (tmp_path / "golden" / "expected.json").write_bytes(b"{}")
    return tmp_path


def test_the_box_opens_what_is_written(folder: Path) -> None:
    identity = write_manifest(folder, CONTENT)
    bundle = read_bundle(folder)
    assert bundle.id == identity == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert set(bundle.files) == {"model.int8.onnx", "golden/expected.json"}
    assert bundle.manifest.preprocessing == CONTENT.preprocessing
    assert bundle.manifest.gates == CONTENT.gates
    assert bundle.manifest.drift == CONTENT.drift
    assert bundle.manifest.operating_points == {"int8": 0.4}
    assert bundle.manifest.temperatures == {"int8": None}


@pytest.mark.parametrize("name", ["model.int8.onnx", "golden/expected.json"])
def test_another_byte_in_any_file_is_refused(folder: Path, name: str) -> None:
    write_manifest(folder, CONTENT)
    with (folder / name).open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match="does not match its digest"):
        read_bundle(folder)


def test_writing_again_gives_the_same_bytes_and_reading_gives_the_content(folder: Path) -> None:
    identity = write_manifest(folder, CONTENT)
    assert read_content(folder) == CONTENT
    assert write_manifest(folder, read_content(folder)) == identity
    assert json.loads((folder / "manifest.json").read_text())["format"] == "edge-cxr/bundle/1"


def test_the_outcome_of_the_accuracy_gate_is_kept_and_absent_until_there_is_one(folder: Path) -> None:
    write_manifest(folder, CONTENT)
    assert "accuracy" not in json.loads((folder / "manifest.json").read_text())
    outcome = {"int8": {"passed": False, "failures": ["AUC fell by 0.02"], "auc_loss": 0.02}}
    write_manifest(folder, replace(CONTENT, accuracy=outcome))
    assert read_bundle(folder).manifest.accuracy == read_content(folder).accuracy == outcome


def test_a_signature_is_not_part_of_the_bundle_and_goes_with_the_manifest_that_it_signed(folder: Path) -> None:
    identity = write_manifest(folder, CONTENT)
    (folder / "manifest.sig").write_bytes(b"of that manifest")
    assert "manifest.sig" not in digests(folder)
    assert write_manifest(folder, CONTENT) == identity
    assert not (folder / "manifest.sig").exists()


def test_a_precision_without_its_model_is_an_error(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no model\.fp32\.onnx"):
        write_manifest(folder, replace(CONTENT, precisions=("int8", "fp32")))
