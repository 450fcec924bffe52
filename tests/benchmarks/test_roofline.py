"""The roofline on graphs small enough to count by hand, and on a network whose work is known."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.roofline import Layer, Peaks, count_layers, time_bound_s
from edge.errors import EdgeError

SIDE = 8
PLACES = SIDE * SIDE


def weights(name: str, *shape: int, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, dtype), name)


def write(
    path: Path, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], outputs: list[str], kind: int = 1
) -> Path:
    """A graph with one input `x` [N, 4, 8, 8]; shapes of outputs are left for inference to find."""
    given = helper.make_tensor_value_info("x", kind, ["N", 4, SIDE, SIDE])
    asked = [onnx.ValueInfoProto(name=name, type=helper.make_tensor_type_proto(kind, None)) for name in outputs]
    graph = helper.make_graph(nodes, "by hand", [given], asked, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def convolution(given: str, kernel: str, made: str, size: int = 1) -> onnx.NodeProto:
    pads = [size // 2] * 4
    return helper.make_node("Conv", [given, kernel], [made], name=made, kernel_shape=[size, size], pads=pads)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_convolution(tmp_path: Path, batch: int) -> None:
    path = write(tmp_path / "m.onnx", [convolution("x", "w", "y", 3)], [weights("w", 16, 4, 3, 3)], ["y"])
    (layer,) = count_layers(path, batch)
    read, written = batch * 4 * PLACES * 4, batch * 16 * PLACES * 4
    assert layer == Layer("y", "Conv", "fp32", batch * 16 * PLACES * 4 * 9, read + 16 * 4 * 9 * 4 + written)


def test_grouped_convolutions_multiply_less(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="y", group=4)
    (layer,) = count_layers(write(tmp_path / "m.onnx", [node], [weights("w", 4, 1, 1, 1)], ["y"]), 1)
    assert layer.multiply_adds == 4 * PLACES


def test_elementwise_operators_go_with_the_layer_before_them(tmp_path: Path) -> None:
    """Two convolutions, two residual adds and an activation: two layers, and the second also reads the input."""
    nodes = [
        convolution("x", "w", "a"),
        helper.make_node("Relu", ["a"], ["b"]),
        convolution("b", "w", "c"),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("Add", ["d", "x"], ["e"]),
        helper.make_node("Relu", ["e"], ["f"]),
    ]
    first, second = count_layers(write(tmp_path / "m.onnx", nodes, [weights("w", 4, 4, 1, 1)], ["f"]), 1)
    activation, kernel = 4 * PLACES * 4, 4 * 4 * 4
    assert (first.name, first.bytes_moved) == ("a", activation + kernel + activation)
    assert (second.name, second.bytes_moved) == ("c", activation + kernel + activation + activation)
    assert first.multiply_adds == second.multiply_adds == 4 * 4 * PLACES


def test_what_is_read_twice_is_written_once(tmp_path: Path) -> None:
    nodes = [convolution("x", "w", "a"), convolution("a", "w", "b"), convolution("a", "w", "c")]
    layers = count_layers(write(tmp_path / "m.onnx", nodes, [weights("w", 4, 4, 1, 1)], ["b", "c"]), 1)
    assert {layer.bytes_moved for layer in layers} == {2 * 4 * PLACES * 4 + 64}


def test_concatenation_and_reshaping_move_nothing(tmp_path: Path) -> None:
    nodes = [
        convolution("x", "w", "a"),
        helper.make_node("Concat", ["a", "x"], ["both"], axis=1),
        helper.make_node("Reshape", ["both", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["y"], name="y"),
    ]
    constants = [weights("w", 4, 4, 1, 1), weights("v", PLACES, 2), numpy_helper.from_array(np.array([-1, 8, PLACES]))]
    constants[2].name = "shape"
    first, second = count_layers(write(tmp_path / "m.onnx", nodes, constants, ["y"]), 2)
    assert first.bytes_moved == 2 * (4 + 4) * PLACES * 4 + 64
    assert second.bytes_moved == 2 * 8 * PLACES * 4 + PLACES * 2 * 4 + 2 * 8 * 2 * 4
    assert second.multiply_adds == 2 * 8 * PLACES * 2


def test_a_slice_reads_its_part(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axis"], ["part"]),
        helper.make_node("MaxPool", ["part"], ["y"], name="y", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    ends = {"from": 0, "to": 1, "axis": 1}
    constants = [numpy_helper.from_array(np.array([value]), name) for name, value in ends.items()]
    (layer,) = count_layers(write(tmp_path / "m.onnx", nodes, constants, ["y"]), 1)
    assert layer == Layer("y", "MaxPool", "fp32", 0, PLACES * 4 + PLACES // 4 * 4)


def test_gemm_either_way_round(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["y"], name="y", transB=1),
    ]
    (layer,) = count_layers(write(tmp_path / "m.onnx", nodes, [weights("w", 10, 4 * PLACES)], ["y"]), 3)
    assert layer.multiply_adds == 3 * 4 * PLACES * 10
    nodes[1] = helper.make_node("Gemm", ["flat", "w"], ["y"], name="y", transA=1)
    (layer,) = count_layers(write(tmp_path / "m.onnx", nodes, [weights("w", 3, 10)], ["y"]), 3)
    assert layer.multiply_adds == 3 * 4 * PLACES * 10


def test_halves_move_half(tmp_path: Path) -> None:
    kernel = weights("w", 4, 4, 1, 1, dtype=np.float16)
    path = write(tmp_path / "m.onnx", [convolution("x", "w", "y")], [kernel], ["y"], kind=TensorProto.FLOAT16)
    (layer,) = count_layers(path, 1)
    assert (layer.precision, layer.bytes_moved) == ("fp16", 2 * 4 * PLACES * 2 + 4 * 4 * 2)


def test_quantised_layers_move_bytes_and_multiply_in_int8(tmp_path: Path) -> None:
    """Q/DQ around the second convolution: the first writes int8, the second reads int8 and int8 weights."""
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")
    kernel = weights("v", 4, 4, 1, 1, dtype=np.int8)
    nodes = [
        convolution("x", "w", "a"),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["dq"]),
        helper.make_node("DequantizeLinear", ["v", "s", "z"], ["dv"]),
        convolution("dq", "dv", "y"),
    ]
    path = write(tmp_path / "m.onnx", nodes, [weights("w", 4, 4, 1, 1), kernel, scale, zero], ["y"])
    first, second = count_layers(path, 1)
    assert (first.precision, second.precision) == ("fp32", "int8")
    assert first.bytes_moved == 4 * PLACES * 4 + 64 + 5 + 4 * PLACES  # scale and zero point; int8 out
    assert second.bytes_moved == 4 * PLACES + 4 * 4 + 4 * PLACES * 4


def test_a_shape_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Cast", ["found"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(EdgeError, match=r"shape of .* is not known"):
        count_layers(write(tmp_path / "m.onnx", nodes, [], ["y"]), 1)


def test_the_bound_takes_the_slower_of_both_for_each_layer() -> None:
    layers = [Layer("busy", "Conv", "fp16", 1000, 10), Layer("moving", "Resize", "fp32", 0, 400)]
    peaks = Peaks({"fp16": 1000.0}, bytes_per_s=100.0, host_bytes_per_s=50.0)
    assert time_bound_s(layers, peaks) == pytest.approx(2.0 + 4.0)
    assert time_bound_s(layers, peaks, host_bytes=25) == pytest.approx(6.5)
    assert time_bound_s([Layer("busy", "Conv", "int8", 1000, 10)], peaks) is None


@pytest.mark.filterwarnings("ignore")
def test_resnet50_takes_the_multiply_adds_that_are_known_of_it(tmp_path: Path) -> None:
    """4.1 G at 224 pixels, as papers give it (torchvision counts 4.09) and 25.6 M weights; twice as much for two."""
    network = timm.create_model("resnet50", pretrained=False).eval()
    torch.onnx.export(
        network, (torch.zeros(2, 3, 224, 224),), tmp_path / "m.onnx", dynamo=True, external_data=False, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},),
    )  # fmt: skip
    one, two = (count_layers(tmp_path / "m.onnx", batch) for batch in (1, 2))
    total = sum(layer.multiply_adds for layer in one)
    assert total == pytest.approx(4.089e9, rel=0.001)
    assert sum(layer.multiply_adds for layer in two) == 2 * total
    assert sum(layer.operator in ("Conv", "Gemm") for layer in one) == 54
    floats = sum(parameter.numel() for parameter in network.parameters())
    activations = sum(layer.bytes_moved for layer in two) - sum(layer.bytes_moved for layer in one)
    assert sum(layer.bytes_moved for layer in one) - activations == pytest.approx(4 * floats, rel=0.01)
