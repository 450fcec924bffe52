"""Graphs through the real TensorRT for RTX, which builds without a GPU: parsed, inspected, built, kept, refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array, to_array
from tiny_bundle import tiny_network, write_manifest, write_tiny_bundle

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


def targets_of(plan: bytes) -> int:
    """A bit for each compute capability, as TensorRT-RTX 1.7 writes them behind the second mark of a plan's header."""
    return plan[plan.index(b"vtrt", 4) + 4]


def test_a_plan_for_two_compute_capabilities(flavour: Flavour) -> None:
    ada, blackwell, both = (
        targets_of(build_plan(graph_of("fp32"), flavour, targets=targets))
        for targets in (["sm_89"], ["sm_120"], ["sm_89", "sm_120"])
    )
    assert ada & blackwell == 0
    assert ada != 0 != blackwell
    assert both == ada | blackwell


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


def in_fp16(graph: bytes, kind: str, count: int | None = None, *, unless_quantised: bool = False) -> bytes:
    """The graph with its first `count` operators of a kind in fp16, between casts."""
    model = onnx.load_from_string(graph)
    constants = {item.name: item for item in model.graph.initializer}
    of_kind = [node for node in model.graph.node if node.op_type == kind]
    chosen = [one.output[0] for one in of_kind if not unless_quantised or one.input[1] in constants][:count]
    nodes = []
    for node in model.graph.node:
        if node.output[0] not in chosen:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if name in constants:
                constants[name].CopyFrom(from_array(to_array(constants[name]).astype(np.float16), name))
            else:
                node.input[place] = f"{node.output[0]}.read{place}"
                nodes.append(helper.make_node("Cast", [name], [node.input[place]], to=TensorProto.FLOAT16))
        written, node.output[0] = node.output[0], f"{node.output[0]}.written"
        nodes += [node, helper.make_node("Cast", [node.output[0]], [written], to=TensorProto.FLOAT)]
    return with_nodes(model, nodes)


def with_quantised(graph: bytes, count: int) -> bytes:
    """The fp32 graph with Q/DQ around its first `count` convolutions and their weights, in steps of 0.05."""
    model = onnx.load_from_string(graph)
    constants = {item.name: to_array(item) for item in model.graph.initializer}
    added = {"step": np.float32(0.05), "zero": np.int8(0)}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Conv" and count > 0:
            count -= 1
            (read, weights), name = node.input[:2], node.output[0]
            added[f"{name}.int8"] = np.clip(constants[weights] / 0.05, -64, 64).astype(np.int8)
            for given, taken in ((f"{name}.rounded", f"{name}.read"), (f"{name}.int8", f"{name}.weights")):
                nodes.append(helper.make_node("DequantizeLinear", [given, "step", "zero"], [taken]))
            nodes.insert(-2, helper.make_node("QuantizeLinear", [read, "step", "zero"], [f"{name}.rounded"]))
            node.input[0], node.input[1] = f"{name}.read", f"{name}.weights"
        nodes.append(node)
    model.graph.initializer.extend(from_array(np.asarray(value), name) for name, value in added.items())
    return with_nodes(model, nodes)


def with_nodes(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> bytes:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    model.graph.ClearField("node")
    model.graph.node.extend(kept)
    model.graph.ClearField("value_info")  # the types of before
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("graph", "precision", "told"),
    [
        (lambda: graph_of("fp32"), "int8", "38 convolutions 0 read Q/DQ and 38 are in float32; .*calibrate"),
        (lambda: with_quantised(graph_of("fp32"), 1), "int8", "1 read Q/DQ and 37 are in float32"),
        (lambda: with_quantised(graph_of("fp32"), 19), "int8", "19 read Q/DQ and 19 are in float32"),
        (lambda: in_fp16(graph_of("fp32"), "Conv"), "int8", "0 read Q/DQ and 0 are in float32"),
        (lambda: graph_of("int8"), "fp32", "the fp32 graph holds Q/DQ"),
        (lambda: graph_of("int8"), "fp16", "the fp16 graph holds Q/DQ"),
        (lambda: graph_of("fp32"), "fp16", "the fp16 graph's convolutions are in float32; all must be in float16"),
        (lambda: in_fp16(graph_of("fp32"), "Conv", 1), "fp16", "convolutions are in float16, float32; all must be"),
        (lambda: in_fp16(graph_of("fp32"), "Conv", 1), "fp32", "layers of the fp32 graph answer in float16"),
        (lambda: in_fp16(graph_of("int8"), "Softmax"), "int8", "the graph's heads are in float16, float32"),
    ],
    ids=["fp32 as int8", "one Q/DQ", "half Q/DQ", "fp16 as int8", "int8 as fp32", "int8 as fp16", "fp32 as fp16",
         "one fp16 as fp16", "one fp16 as fp32", "heads in fp16"],
)  # fmt: skip
def test_a_graph_must_be_in_the_precision_it_is_said_to_be(
    graph: Callable[[], bytes], precision: str, told: str, flavour: Flavour
) -> None:
    with pytest.raises(EngineError, match=told):
        check(summary_of(graph(), flavour), precision)


def test_many_layers_of_an_int8_graph_may_be_in_fp16(flavour: Flavour) -> None:
    """What the gate leaves of a small network may be a few in int8, the others in fp16."""
    check(summary_of(with_quantised(graph_of("fp32"), 20), flavour), "int8")
    few = with_quantised(graph_of("fp32"), 7)
    check(summary_of(in_fp16(few, "Conv", unless_quantised=True), flavour), "int8")
    check(summary_of(in_fp16(graph_of("fp32"), "Conv"), flavour), "fp16")


class Timings:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b" and more"


class Orders:
    """What a builder is told: TensorRT's configuration, without a GPU. strange: a timing cache that is refused."""

    strange = b"another GPU's"

    def __init__(self) -> None:
        self.profiles: list[Any] = []
        self.cleared: list[str] = []
        self.limits: dict[str, int] = {}
        self.timings: list[bytes] = []
        self.progress_monitor: Any = None

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def clear_flag(self, flag: Any) -> None:
        self.cleared.append(flag.name)

    def set_memory_pool_limit(self, pool: Any, size_bytes: int) -> None:
        self.limits[pool.name] = size_bytes

    def create_timing_cache(self, content: bytes) -> Timings:
        return Timings(content)

    def set_timing_cache(self, timings: Timings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if timings.content == self.strange:
            return False
        self.timings.append(timings.content)
        return True


class Recording:
    """The installed TensorRT, whose builder keeps its orders and builds nothing."""

    def __init__(self, flavour: Flavour) -> None:
        self._module, self.orders = flavour.module, Orders()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def flavour(self) -> Flavour:
        return Flavour("tensorrt", "11.0", self)

    def Builder(self, log: Any) -> Any:  # noqa: N802 - TensorRT's name
        real = self._module.Builder(log)
        return SimpleNamespace(
            create_network=real.create_network,
            create_optimization_profile=real.create_optimization_profile,
            create_builder_config=lambda: self.orders,
            build_serialized_network=lambda network, config: b"a plan",
        )


def test_what_the_builder_is_told(flavour: Flavour) -> None:
    """Batches of 1 to 8, best at 1; fp32 is computed in fp32; memory is left for others."""
    recording = Recording(flavour)
    build_plan(graph_of("fp32"), recording.flavour(), workspace_bytes=123)
    (profile,) = recording.orders.profiles
    assert [tuple(shape) for shape in profile.get_shape("radiograph")] == [(n, 1, 1024, 1024) for n in (1, 1, 8)]
    assert recording.orders.cleared == ["TF32"]
    assert recording.orders.limits == {"WORKSPACE": 123}


@pytest.mark.parametrize(
    ("kept", "used"), [(None, b""), (b"ours", b"ours"), (Orders.strange, b"")], ids=["none", "ours", "another GPU's"]
)
def test_timings_are_kept_for_the_next_build(kept: bytes | None, used: bytes, flavour: Flavour, tmp_path: Path) -> None:
    recording, file = Recording(flavour), tmp_path / "timing.cache"
    if kept is not None:
        file.write_bytes(kept)
    build_plan(graph_of("fp32"), recording.flavour(), timing_cache=file)
    assert recording.orders.timings == [used]
    assert file.read_bytes() == used + b" and more"


def test_a_driver_that_is_too_old_is_an_engine_fault(flavour: Flavour) -> None:
    def builder(log: Any) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module = SimpleNamespace(ILogger=flavour.module.ILogger, Builder=builder)
    with pytest.raises(EngineError, match=r"tensorrt 11\.0 does not start here .*newer NVIDIA driver"):
        build_plan(graph_of("fp32"), Flavour("tensorrt", "11.0", module))


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


def test_a_compute_capability_named_twice_is_built_for_once(tmp_path: Path) -> None:
    done = build("--precision", "fp32", "--target", "sm_89, sm_89", "--state", tmp_path / "state", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["compute_capabilities"] == ["sm_89"]
    assert done.stderr == ""


def test_a_plan_of_another_flavour_than_the_boxs_is_said_to_be_none_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other: Any = ModuleType("tensorrt")
    other.__version__ = "11.0"
    monkeypatch.setitem(sys.modules, "tensorrt", other)
    asked = ("--precision", "fp32", "--flavour", "tensorrt-rtx", "--target", "sm_89")
    done = build(*asked, "--state", tmp_path / "state")
    assert done.exit_code == 0, done.stderr
    assert "watch and infer run tensorrt 11.0 here and will not find this plan" in done.stderr
    make_key(tmp_path / "key")
    for_others = build(*asked, "--key", tmp_path / "key", "--out", tmp_path / "plans")
    assert for_others.exit_code == 0
    assert "will not find" not in for_others.stderr


def test_the_command_builds_what_the_gpu_would_run_of_a_bundle_that_is_trusted(tmp_path: Path) -> None:
    """A GPU takes fp16 before fp32, a CPU fp32: the fp16 graph here is one in name only, and is refused as such."""
    folder = write_tiny_bundle(tmp_path / "tiny")
    (folder / "model.fp16.onnx").write_bytes((folder / "model.fp32.onnx").read_bytes())
    nothing = {"fp32": None, "fp16": None}
    write_manifest(folder, precisions=[*nothing], operating_points=nothing, temperatures=nothing)
    asked = ("build", "--bundle", str(folder), "--target", "sm_89", "--state", str(tmp_path / "state"))
    done = CliRunner().invoke(main, asked)
    assert done.exit_code == 1
    assert "the fp16 graph's convolutions" in done.stderr
    done = CliRunner().invoke(main, (*asked, "--trusted-key", make_key(tmp_path / "key")))
    assert done.exit_code == 2
    assert "sign" in done.stderr


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
