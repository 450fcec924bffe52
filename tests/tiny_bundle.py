"""A complete model bundle of a few hundred kilobytes whose network is a few lines of arithmetic, never trained."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.bundle import FORMAT, Bundle, read_bundle
from edge.engines import open_engine
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.known_answer import ask
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.values import PRECISIONS

REFERENCE_CASES = 8


def write_tiny_bundle(folder: Path, *, low: float = 0.0, operating_point: float | None = 0.5) -> Path:
    """Write it, golden case included. low: the least lung fraction that its gate lets through."""
    (folder / "golden").mkdir(parents=True)
    (folder / "model.fp32.onnx").write_bytes(tiny_network().SerializeToString())
    rng = np.random.default_rng(0)
    np.savez(
        folder / "reference.npz",
        embeddings=rng.normal(size=(REFERENCE_CASES, 128)).astype(np.float32),
        labels=np.array(["covid", "other"] * (REFERENCE_CASES // 2)),
        scores=rng.random(REFERENCE_CASES).astype(np.float32),
        case_ids=np.array([f"{number:016x}" for number in range(REFERENCE_CASES)]),
        origins=np.array(["phantom:1:covid"] * REFERENCE_CASES),
    )
    (folder / "MODEL_CARD.md").write_text("# A network of six lines, for tests\n")
    write_dicom(render(5, "covid", longest_side=384), folder / "golden/a.dcm", photometric_interpretation="MONOCHROME1")
    _write_expected(folder, {"score": 0.0, "lung_fraction": 0.0})
    write_manifest(folder, low=low, operating_point=operating_point)
    _write_expected(folder, _answers(read_bundle(folder)))
    write_manifest(folder, low=low, operating_point=operating_point)
    return folder


def tiny_network() -> onnx.ModelProto:
    """Dark is lung; the evidence is brightness; the score comes from a fixed random projection of 32 x 32 means."""

    def constant(name: str, value: object) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value), name)

    projection = np.random.default_rng(1).normal(size=(1024, 128)).astype(np.float32) * 0.3
    constants = [
        constant("one", np.float32(1)),
        constant("most", np.float32(0.8)),
        constant("projection", projection),
        constant("axis", np.array([1])),
    ]
    nodes = [
        helper.make_node("AveragePool", ["radiograph"], ["reduced"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Sub", ["one", "reduced"], ["darkness"]),
        helper.make_node("Mul", ["darkness", "most"], ["lung_mask"]),
        helper.make_node("AveragePool", ["radiograph"], ["evidence_map"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Flatten", ["evidence_map"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["embedding"]),
        helper.make_node("ReduceMean", ["embedding", "axis"], ["logit"], keepdims=1),
        helper.make_node("Sigmoid", ["logit"], ["member_scores"]),
        helper.make_node("Squeeze", ["member_scores", "axis"], ["score"]),
    ]
    shapes = {
        "score": ["N"],
        "member_scores": ["N", 1],
        "embedding": ["N", 128],
        "lung_mask": ["N", 1, 256, 256],
        "evidence_map": ["N", 1, 32, 32],
    }
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    radiograph = helper.make_tensor_value_info("radiograph", TensorProto.FLOAT, ["N", 1, 1024, 1024])
    graph = helper.make_graph(nodes, "tiny", [radiograph], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def write_manifest(folder: Path, *, low: float = 0.0, operating_point: float | None = 0.5, **changes: object) -> None:
    """Write manifest.json for what lies in the folder; `changes` replace keys, right or wrong."""
    parameters = Preprocessing()
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "manifest.sig")
    }
    manifest = {
        "format": FORMAT,
        "name": "tiny",
        "role": "phantom",
        "files": files,
        "labels": ["other", "covid"],
        "members": ["tiny"],
        "embedding_member": "tiny",
        "network_input_size": 1024,
        "preprocessing": asdict(parameters),
        "preprocessing_digest": parameters.digest,
        "precisions": ["fp32"],
        "operating_points": {"fp32": operating_point},
        "temperatures": {"fp32": None},
        "gates": {"lung_fraction": {"low": low, "high": 1.0, "margin": 0.0}},
        "metrics": {},
        "intended_use": "tests",
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))


PROVEN = {"fp32": {"radiographs": 300, "ece": 0.01, "ece_high": 0.02}}  # what a temperature needs beside it


def _answers(bundle: Bundle) -> dict[str, float]:
    engine = open_engine(bundle)
    with Decoder(bundle.manifest.preprocessing, site_key=bytes(32)) as decoder:
        (answer,) = [ask(case, engine, decoder) for case in bundle.golden_cases()]
    engine.close()
    return {"score": answer.score, "lung_fraction": answer.lung_fraction}


def _write_expected(folder: Path, expected: dict[str, float]) -> None:
    cases = [{"file": "golden/a.dcm", "precisions": dict.fromkeys(PRECISIONS, expected)}]
    (folder / "golden/expected.json").write_text(json.dumps({"cases": cases}))
