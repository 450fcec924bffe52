"""Graphs through the real TensorRT for RTX, which builds without a GPU: parsed, inspected, built, kept, refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import helper
from tiny_bundle import tiny_network

from edge.bundle import open_bundle
from edge.cli import main
from edge.engines.cuda import Gpu
from edge.engines.flavours import Flavour, installed_flavour
from edge.engines.plans import Found, NotFound, PlanKey, PlanStore, plan_key
from edge.errors import BackendUnavailable, EngineError, UsageError
from edge.signature import make_key
from edge.state import open_state
from export.fused import Fused
from export.graph import write_graph
from export.half import in_half
from export.plan import NetworkSummary, build_plan, check, inspect, parse

pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is built for other processors")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]
ADA = Gpu("", "", "sm_89")


@pytest.fixture(scope="module")
def flavour() -> Flavour:
    return installed_flavour("tensorrt-rtx")


def graph_of(precision: str) -> bytes:
    return open_bundle("phantom").model_bytes(precision)


def nodes(graph: bytes, kind: str) -> int:
    return sum(node.op_type == kind for node in onnx.load_from_string(graph).graph.node)


def summary_of(graph: bytes, flavour: Flavour) -> NetworkSummary:
    return inspect(parse(graph, flavour).network)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_of_the_phantom_bundle_is_inspected_built_and_kept(
    precision: str, flavour: Flavour, tmp_path: Path
) -> None:
    graph = graph_of(precision)
    summary = summary_of(graph, flavour)
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in (*summary.inputs, *summary.outputs)] == [
        ("radiograph", "float32", (-1, 1, 1024, 1024)),
        ("score", "float32", (-1,)),
        ("member_scores", "float32", (-1, 1)),
        ("embedding", "float32", (-1, 128)),
        ("lung_mask", "float32", (-1, 1, 256, 256)),
        ("evidence_map", "float32", (-1, 1, 32, 32)),
    ]
    assert summary.batches == (1, 1, 8)
    assert summary.heads == ("float32",)
    assert dict(summary.layers)["convolution"] == nodes(graph, "Conv")
    assert (summary.quantise, summary.dequantise) == (nodes(graph, "QuantizeLinear"), nodes(graph, "DequantizeLinear"))
    assert (summary.quantise > 0) == (precision == "int8")
    told: list[float] = []
    plan = build_plan(graph, flavour, precision=precision, targets=["sm_89"], progress=told.append)
    assert told == sorted(told)
    assert len(told) > 10
    assert (told[0] < 0.1, told[-1]) == (True, 1.0)
    store, key = PlanStore(tmp_path, site_key=bytes(32)), plan_key(graph, precision, flavour, ADA)
    store.keep(key, plan)
    assert store.find(key) == Found(plan, built_here=True)
    for part in fields(PlanKey):
        value = getattr(key, part.name)
        changed: Any = (*value, 1) if isinstance(value, tuple) else f"{value} "
        assert isinstance(store.find(replace(key, **{part.name: changed})), NotFound), part.name


def test_an_fp16_graph_computes_in_fp16_between_floating_heads(fused: Fused, flavour: Flavour, tmp_path: Path) -> None:
    write_graph(in_half(fused), tmp_path / "model.fp16.onnx")
    graph = (tmp_path / "model.fp16.onnx").read_bytes()
    summary = summary_of(graph, flavour)
    assert summary.convolutions == ("float16",)
    assert summary.heads == ("float32",)
    assert {tensor.dtype for tensor in (*summary.inputs, *summary.outputs)} == {"float32"}
    assert build_plan(graph, flavour, precision="fp16", targets=["sm_89"])


def test_a_plan_for_two_compute_capabilities(flavour: Flavour) -> None:
    one = build_plan(graph_of("fp32"), flavour, targets=["sm_89"])
    two = build_plan(graph_of("fp32"), flavour, targets=["sm_89", "sm_120"])
    assert len(two) > len(one)


def test_targets_that_cannot_be_had(flavour: Flavour) -> None:
    with pytest.raises(UsageError, match=r"builds for sm_75, .*sm_89.* alone, not for sm_90"):
        build_plan(graph_of("fp32"), flavour, targets=["sm_90"])


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = model.graph.node[-1].output[0] = "probability"


def fixed_batch(model: onnx.ModelProto) -> None:
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1


def full_size_mask(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.output[0] == "darkness").input[1] = "radiograph"


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Nonsense", ["radiograph"], ["nothing"], name="the culprit"))
    model.graph.node[1].input[0] = "nothing"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (renamed_output, r"inputs and outputs are radiograph, probability, .*they must be radiograph, score"),
        (fixed_batch, r"radiograph is float32 \[1, 1, 1024, 1024\]; it must be float32 \[-1, 1, 1024, 1024\]"),
        (full_size_mask, r"lung_mask is float32 \[-1, 1, 1024, 1024\]"),
        (unknown_operator, r"does not take the graph \(the culprit: .*export the bundle again"),
    ],
)
def test_a_graph_that_the_box_does_not_run_is_refused(
    change: Callable[[onnx.ModelProto], None], told: str, flavour: Flavour
) -> None:
    model = tiny_network()
    change(model)
    with pytest.raises(EngineError, match=told):
        build_plan(model.SerializeToString(), flavour, targets=["sm_89"])


def test_what_is_no_graph_is_refused(flavour: Flavour) -> None:
    with pytest.raises(EngineError):
        build_plan(b"not a network", flavour, targets=["sm_89"])


def test_a_graph_must_be_in_the_precision_it_is_said_to_be(flavour: Flavour) -> None:
    summary = summary_of(graph_of("fp32"), flavour)
    with pytest.raises(EngineError, match=r"int8 graph holds no Q/DQ.*edge-cxr calibrate"):
        check(summary, "int8")
    with pytest.raises(EngineError, match="no convolution of the fp16 graph is in fp16"):
        check(summary, "fp16")
    check(summary, "fp32")


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="tensorrt is installed")
def test_a_flavour_that_is_not_installed() -> None:
    with pytest.raises(BackendUnavailable, match=r"tensorrt cannot be imported; run: pip install tensorrt$"):
        installed_flavour("tensorrt")


def build(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["build", "--bundle", "phantom", *map(str, arguments)], catch_exceptions=False)


def test_the_command_keeps_a_plan_where_the_box_looks_for_it(flavour: Flavour, tmp_path: Path) -> None:
    done = build("--precision", "int8", "--target", "sm_89,sm_86", "--state", tmp_path / "state", "--json")
    assert done.exit_code == 0, done.stderr
    *progress, built = [json.loads(line) for line in done.stdout.splitlines()]
    fractions = [line["progress"] for line in progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert (built["outcome"], built["compute_capabilities"]) == ("built", ["sm_89", "sm_86"])
    state = open_state(tmp_path / "state")
    store = PlanStore(state.plans, site_key=state.site_key)
    for capability in ("sm_89", "sm_86"):
        found = store.find(plan_key(graph_of("int8"), "int8", flavour, Gpu("", "", capability)))
        assert isinstance(found, Found)
        assert (len(found.plan), found.built_here) == (built["bytes"], True)


def test_a_plan_for_other_boxes_is_signed(flavour: Flavour, tmp_path: Path) -> None:
    public_key = make_key(tmp_path / "key")
    done = build("--precision", "int8", "--target", "sm_89", "--key", tmp_path / "key", "--out", tmp_path / "plans")
    assert done.exit_code == 0, done.stderr
    assert f"for sm_89 in {tmp_path / 'plans'}" in done.stdout
    key = plan_key(graph_of("int8"), "int8", flavour, ADA)
    trusting = PlanStore(tmp_path / "plans", site_key=bytes(32), trusted_keys=(public_key,))
    found = trusting.find(key)
    assert isinstance(found, Found)
    assert not found.built_here
    assert isinstance(PlanStore(tmp_path / "plans", site_key=bytes(32)).find(key), NotFound)


def test_without_a_gpu_the_command_names_the_way_ahead_of_time(tmp_path: Path) -> None:
    done = build("--state", tmp_path / "state")
    if done.exit_code == 0:
        pytest.skip("a GPU is here")
    assert done.exit_code == 1
    assert "no GPU can be used" in done.stderr
    assert "--target sm_75" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(("flags", "told"), [({"STRONGLY_TYPED": 1}, 0b10), ({}, 0)], ids=["has the flag", "has none"])
def test_networks_are_strongly_typed_where_that_must_be_said(flags: dict[str, int], told: int) -> None:
    module = SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(**flags))
    assert Flavour("tensorrt", "10.16", module).strongly_typed == told


def test_a_key_and_a_folder_go_together(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    assert build("--target", "sm_89", "--key", tmp_path / "key").exit_code == 2
    assert build("--target", "sm_89", "--out", tmp_path / "plans").exit_code == 2


def test_the_box_builds_without_the_packages_of_training() -> None:
    program = "import sys, export.build_cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "edge.engines.plans" in loaded
    assert not {"torch", "onnx", "training", "onnxruntime", "tensorrt_rtx"} & set(loaded)
