"""The int8 graph: what is quantised, what stays in floating point, and that its answers stay near fp32."""

from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest

from calib.answers import ask_graph
from calib.quantise import check, halve_large_weights
from calib.quantiser import Quantiser
from edge.errors import UsageError
from export.parity import compare

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's exporter and onnxruntime
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]


@pytest.fixture(scope="session")
def int8(quantiser: Quantiser) -> Path:
    path = quantiser.prepared.with_name("model.int8.onnx")
    quantiser.write(path, quantiser.layers)
    return path


def test_only_first_convolutions_those_after_a_concatenation_and_the_lung_logits_stay_in_float(int8: Path) -> None:
    model = onnx.load(int8)
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    plain = {node.name for node in model.graph.node if node.op_type == "Conv" and node.input[1] not in dequantised}
    unet = "lungs.unet"
    first = {f"{unet}.encoder.conv1", "members.0.backbone.conv1"}
    after_a_skip = {f"{unet}.decoder.blocks.{place}.conv1.0" for place in (0, 1)}
    assert plain == {*first, *after_a_skip, f"{unet}.segmentation_head.0"}


def test_no_bias_is_quantised_and_heads_stay_in_floating_point(int8: Path) -> None:
    model = onnx.load(int8)
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) > 2:
            assert node.input[2] not in dequantised
        if node.op_type in ("Gemm", "MatMul"):
            assert node.input[1] not in dequantised
    zero_points = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    found = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    assert all(found[name].dtype == np.int8 and not found[name].any() for name in zero_points)


def test_the_check_refuses_a_quantised_bias(int8: Path) -> None:
    model = onnx.load(int8)
    dequantised = next(node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear")
    convolution = next(node for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2)
    convolution.input[2] = dequantised
    with pytest.raises(UsageError, match="quantised bias"):
        check(model, floating=())


def test_the_check_refuses_what_must_stay_in_floating_point(int8: Path) -> None:
    model = onnx.load(int8)
    dequantised = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    one = next(node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in dequantised)
    with pytest.raises(UsageError, match="must stay in floating point"):
        check(model, floating={one.name})


def test_no_layer_at_all_is_refused(quantiser: Quantiser, tmp_path: Path) -> None:
    """The quantizer would take an empty list for every node."""
    with pytest.raises(UsageError, match="no layer is left to quantise"):
        quantiser.write(tmp_path / "none.onnx", [])
    assert not (tmp_path / "none.onnx").exists()


def test_weights_fit_cpus_without_vnni(int8: Path) -> None:
    """Two products of a weight and an unsigned 8-bit activation fit into 16 bits; the check refuses other weights."""
    model = onnx.load(int8)
    weights = [
        item for item in model.graph.initializer if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 4
    ]
    levels = [np.abs(onnx.numpy_helper.to_array(item).astype(int)).max() for item in weights]
    assert weights
    assert max(levels) * 255 * 2 < 2**15
    assert max(levels) >= 63  # all 7 bits are used
    weights[0].CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights[0]) * 2 - 1, weights[0].name))
    with pytest.raises(UsageError, match="overflows on CPUs without VNNI"):
        check(model, floating=())


def test_the_check_refuses_a_graph_without_quantisation(graph: Path) -> None:
    with pytest.raises(UsageError, match="no Q/DQ"):
        check(onnx.load(graph), floating=())


def test_answers_stay_near_fp32(graph: Path, int8: Path, kept: list[Path]) -> None:
    parity = compare(ask_graph(graph, kept), ask_graph(int8, kept))
    assert parity.radiographs == 3
    assert 0 < parity.score_change_max < 0.1  # not zero: it is another graph
    assert parity.embedding_cosine_min > 0.98
    assert int8.stat().st_size < 0.6 * graph.stat().st_size


def test_what_a_convolution_writes_is_not_quantised_so_that_its_relu_fuses(int8: Path) -> None:
    model = onnx.load(int8)
    made = {output: node.op_type for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert made.get(node.input[0]) != "Conv", node.name


def test_a_layer_that_stays_in_floating_point_is_typed_as_fp16(quantiser: Quantiser, tmp_path: Path) -> None:
    spared = quantiser.layers[3]
    path = tmp_path / "most.onnx"
    quantiser.write(path, [layer for layer in quantiser.layers if layer != spared])
    model = onnx.load(path)
    weights = {item.name: item for item in model.graph.initializer}
    layer = next(node for node in model.graph.node if node.name == spared)
    assert {weights[name].data_type for name in layer.input[1:]} == {onnx.TensorProto.FLOAT16}
    made = {output: node for node in model.graph.node for output in node.output}
    assert made[layer.input[0]].op_type == "Cast"
    quantised = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in made]
    assert {node.name for node in quantised} == {*quantiser.layers} - {spared}
    assert list(path.parent.iterdir()) == [path]  # no weights beside it


def test_large_weights_that_stay_in_floating_point_take_half_the_room(tmp_path: Path) -> None:
    """The answers stay within fp16's rounding, and no small weight is touched."""
    random = np.random.default_rng(0)
    large, small = random.normal(0, 0.1, (256, 128)).astype(np.float32), np.ones(128, np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Gemm", ["x", "large", "small"], ["y"])],
        "head",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 256])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 128])],
        [onnx.numpy_helper.from_array(large, "large"), onnx.numpy_helper.from_array(small, "small")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    before = model.ByteSize()
    halve_large_weights(model)
    onnx.checker.check_model(model, full_check=True)
    assert model.ByteSize() < 0.55 * before
    kinds = {item.name: onnx.numpy_helper.to_array(item).dtype for item in model.graph.initializer}
    assert kinds == {"large_fp16": np.float16, "small": np.float32}
    row = random.normal(0, 1, (1, 256)).astype(np.float32)
    (answered,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": row})
    np.testing.assert_allclose(answered, row @ large + small, atol=2e-3)
