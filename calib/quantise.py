"""fp32 graph -> int8 graph with explicit Q/DQ, by onnxruntime's quantizer, and the check that it is what was meant.

Symmetric int8 activations and weights, weights per channel, no quantised bias (TensorRT's parser refuses one).
Weights use 7 of their 8 bits: a CPU without VNNI adds two products in 16 bits, which 8-bit weights overflow. There
OpenVINO's scores of phantoms were off by up to 0.2; with 7-bit weights they lie within 0.02 of onnxruntime's.
Convolutions are quantised: nearly all the work. Heads, softmax, sigmoid and resizing stay in floating point, and
so do convolutions that read a concatenation: with those in signed int8 OpenVINO 2026.4 answered wrongly (scores off by
up to 0.7, lung Dice against fp32 0.86), where onnxruntime stayed within 0.06 and above 0.99.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnx.numpy_helper import from_array, to_array
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data
from onnxruntime.quantization.shape_inference import quant_pre_process

from calib.correction import Means, correct_biases
from calib.ranges import QUANTISED, Ranges
from edge.errors import UsageError
from export.graph import without_debris

FLOATING = ("Gemm", "MatMul", "Sigmoid", "Softmax", "Resize")
MOST_WEIGHT = 64  # 2 * 64 * 255 still fits into 16 bits with sign
FEW_CHANNELS = 2  # a convolution that reads so few is a first one
LARGE_WEIGHTS = 1 << 14  # elements
_SEARCH_DEPTH = 4  # operators between an output's sigmoid and the convolution that made it


def prepare(fp32: Path, prepared: Path) -> None:
    """Write the graph as it is quantised: simplified, its convolutions named by their place in the network."""
    quant_pre_process(str(fp32), str(prepared), skip_symbolic_shape=True, skip_optimization=True)
    model = onnx.load(prepared)
    for node in model.graph.node:
        if node.op_type == "Conv":
            node.name = node.input[1].removesuffix(".weight")
    onnx.save(model, prepared)


def quantisable(prepared: Path) -> tuple[str, ...]:
    """The convolutions that may be quantised, in the order in which they run."""
    graph = onnx.load(prepared).graph
    floating = left_in_float(graph)
    return tuple(node.name for node in graph.node if node.op_type == "Conv" and node.name not in floating)


def quantise(prepared: Path, int8: Path, ranges: Ranges, means: Means, *, layers: Collection[str]) -> None:
    """Write the int8 graph of a prepared one. layers: the convolutions to quantise; the others are typed as fp16.

    Raises UsageError without layers: onnxruntime would quantise every one.
    """
    if not layers:
        raise UsageError("no layer is left to quantise; use the fp16 graph")
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "ranges.json"
        limits = {name: (np.float32(-reach), np.float32(reach)) for name, reach in ranges.reach.items()}
        save_tensors_data(TensorsData(CalibrationMethod.MinMax, limits), cache)
        quantize_static(
            str(prepared),
            str(int8),
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=list(layers),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # What a convolution reads is quantised, what it writes is not: before a ReLU half the steps are wasted.
                "OpTypesToExcludeOutputQuantization": list(QUANTISED),
            },
            calibration_cache_path=cache,
        )
    model = without_debris(onnx.load(int8))
    used = {node.domain for node in model.graph.node}
    kept_imports = [opset for opset in model.opset_import if opset.domain in used]  # the optimiser adds unused ones
    model.ClearField("opset_import")
    model.opset_import.extend(kept_imports)
    whole = onnx.load(prepared)
    correct_biases(model, whole, means)
    halve_convolutions(model)
    halve_large_weights(model)
    onnx.checker.check_model(model, full_check=True)
    check(model, floating=left_in_float(whole.graph))
    onnx.save(model, int8)


def halve_convolutions(model: onnx.ModelProto) -> None:
    """Type the convolutions that are not quantised as fp16: their weights, what they read and what they write."""
    constants = {item.name: item for item in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Conv" or node.input[1] not in constants:
            nodes.append(node)
            continue
        for place in (1, 2)[: len(node.input) - 1]:
            constant = constants[node.input[place]]
            constant.CopyFrom(from_array(to_array(constant).astype(np.float16), constant.name))
        read, written = node.input[0], node.output[0]
        node.input[0], node.output[0] = f"{node.name}.read", f"{node.name}.written"
        nodes += [
            onnx.helper.make_node("Cast", [read], [node.input[0]], f"{node.name}.to_fp16", to=TensorProto.FLOAT16),
            node,
            onnx.helper.make_node("Cast", [node.output[0]], [written], f"{node.name}.to_fp32", to=TensorProto.FLOAT),
        ]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    model.graph.ClearField("value_info")  # the types of before


def halve_large_weights(model: onnx.ModelProto) -> None:
    """Keep large weights that are read as fp32 (those of the heads) as fp16, and cast them: half the file."""
    casts = []
    for initializer in model.graph.initializer:
        weights = to_array(initializer)
        if weights.dtype == np.float32 and weights.size >= LARGE_WEIGHTS:
            whole, half = initializer.name, f"{initializer.name}_fp16"
            initializer.CopyFrom(from_array(weights.astype(np.float16), half))
            casts.append(onnx.helper.make_node("Cast", [half], [whole], f"{whole}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def left_in_float(graph: onnx.GraphProto) -> set[str]:
    """Convolutions that stay in floating point: first ones, those after a concatenation, the one of the lung logits."""
    constants = {initializer.name: initializer for initializer in graph.initializer}
    made_by = {output: node for node in graph.node for output in node.output}
    kept = set()
    for node in graph.node:
        if node.op_type == "Conv" and (
            constants[node.input[1]].dims[1] <= FEW_CHANNELS or made_by[node.input[0]].op_type == "Concat"
        ):
            kept.add(node.name)
        if node.op_type == "Sigmoid":
            kept.add(_convolution_before(node, made_by).name)
    return kept


def _convolution_before(node: onnx.NodeProto, made_by: dict[str, onnx.NodeProto]) -> onnx.NodeProto:
    for _ in range(_SEARCH_DEPTH):
        node = made_by[node.input[0]]
        if node.op_type == "Conv":
            return node
    raise UsageError("the graph's sigmoid follows no convolution; export it again")


def check(model: onnx.ModelProto, *, floating: Collection[str]) -> None:
    """Raises UsageError when a bias is quantised, a weight needs all 8 bits, a zero point is not zero, or a head or a
    convolution of `floating` is not in floating point.
    """
    initializers = {item.name: to_array(item) for item in model.graph.initializer}
    dequantised = {n.output[0]: n for n in model.graph.node if n.op_type == "DequantizeLinear"}
    if not dequantised:
        raise UsageError("the int8 graph holds no Q/DQ; quantise the fp32 graph")
    for node in model.graph.node:
        if node.name in floating and node.input[1] in dequantised:
            raise UsageError(f"{node.name} reads quantised weights; it must stay in floating point")
        if node.op_type == "Conv" and len(node.input) > 2 and node.input[2] in dequantised:
            raise UsageError(f"{node.name} has a quantised bias, which TensorRT refuses; quantise again without")
        if node.op_type == "Conv" and node.input[1] in dequantised:
            greatest = np.abs(initializers[dequantised[node.input[1]].input[0]].astype(int)).max()
            if greatest > MOST_WEIGHT:
                raise UsageError(f"{node.name} has a weight of {greatest}, which overflows on CPUs without VNNI; "
                                 f"quantise again to at most {MOST_WEIGHT}")  # fmt: skip
        if node.op_type in FLOATING and any(name in dequantised for name in node.input[1:]):
            raise UsageError(f"{node.name} ({node.op_type}) reads quantised weights; it must stay in floating point")
        quantising = node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2
        if quantising and initializers[node.input[2]].any():
            raise UsageError(f"{node.name} is asymmetric, which TensorRT refuses; quantise symmetrically")
