"""The least time a network can take on a device: multiply-adds and bytes of its ONNX graph over measured peaks.

A layer is an operator that computes, with the elementwise operators behind it: an engine does those on the way out.
Views (reshape, concatenation, slices, dequantising) cost nothing, so that no engine is held to copies it can avoid.
Only matrix operators count arithmetic; all others take less time than the bytes that they move.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from onnx import GraphProto, NodeProto, TensorProto

from edge.errors import EdgeError

MATRIX = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
ELEMENTWISE = frozenset(
    {"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Erf", "Exp", "Sqrt", "Neg", "Abs", "Not", "Cast", "Add", "Sub",
     "Mul", "Div", "Pow", "Max", "Min", "Where", "Equal", "Greater", "Less", "And", "Or", "BatchNormalization",
     "QuantizeLinear"}
)  # fmt: skip
VIEWS = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "Slice", "Gather", "Split", "Concat",
     "Expand", "Transpose", "Shape", "DequantizeLinear"}
)  # fmt: skip
# Shapes, axes and indices are integers of other types: a few bytes, not counted.
ELEMENT_BYTES = {
    TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2, TensorProto.DOUBLE: 8,
    TensorProto.INT8: 1, TensorProto.UINT8: 1,
}  # fmt: skip
LARGEST_SHAPE = 64  # elements of a constant that may be a shape, axes or sizes
PRECISIONS = {TensorProto.FLOAT: "fp32", TensorProto.FLOAT16: "fp16", TensorProto.INT8: "int8"}


@dataclass(frozen=True)
class Layer:
    """precision: of its multiplications. bytes_moved: inputs, weights and outputs, each once, as stored."""

    name: str
    operator: str
    precision: str
    multiply_adds: int
    bytes_moved: int


@dataclass(frozen=True)
class Peaks:
    """What a device reached: operations (a multiply-add is two) by precision, its memory, and copies from the host."""

    operations_per_s: Mapping[str, float]
    bytes_per_s: float
    host_bytes_per_s: float


@dataclass
class _Group:
    """A layer while it grows. reads: bytes of each tensor and weight from outside. made: tensors made inside."""

    node: NodeProto
    reads: dict[str, int] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)


def count_layers(path: Path, batch: int) -> tuple[Layer, ...]:
    """The layers of a graph for one batch size.

    Raises EdgeError when a shape is not known: the graph would be counted too low.
    """
    return _Counting(_with_shapes(onnx.load(path), batch)).layers()


def time_bound_s(layers: Iterable[Layer], peaks: Peaks, *, host_bytes: int = 0) -> float | None:
    """Each layer as slow as its arithmetic or its bytes, one after the other, and host_bytes over the bus.

    None when a peak that is needed was not measured.
    """
    total = host_bytes / peaks.host_bytes_per_s
    for layer in layers:
        arithmetic_s = 0.0
        if layer.multiply_adds:
            if layer.precision not in peaks.operations_per_s:
                return None
            arithmetic_s = 2 * layer.multiply_adds / peaks.operations_per_s[layer.precision]
        total += max(arithmetic_s, layer.bytes_moved / peaks.bytes_per_s)
    return total


def _with_shapes(model: onnx.ModelProto, batch: int) -> GraphProto:
    graph = model.graph
    weights = {initializer.name for initializer in graph.initializer}
    for given in graph.input:
        if given.name not in weights and given.type.tensor_type.shape.dim:
            given.type.tensor_type.shape.dim[0].dim_value = batch
    for initializer in graph.initializer:
        if math.prod(initializer.dims) > LARGEST_SHAPE:
            initializer.ClearField("raw_data")  # hundreds of megabytes that say nothing of shapes
    graph.ClearField("value_info")  # shapes of the free batch
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True).graph


class _Counting:
    def __init__(self, graph: GraphProto) -> None:
        self._graph = graph
        self._made_by = {output: node for node in graph.node for output in node.output}
        self._types: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor = value.type.tensor_type
            self._types[value.name] = tensor.elem_type
            if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
                self._shapes[value.name] = tuple(dim.dim_value for dim in tensor.shape.dim)
        for initializer in graph.initializer:
            self._types[initializer.name] = initializer.data_type
            self._shapes[initializer.name] = tuple(initializer.dims)
        self._constant = {initializer.name for initializer in graph.initializer}

    def layers(self) -> tuple[Layer, ...]:
        groups: list[_Group] = []
        place: dict[str, int] = {}  # of the group that makes a tensor
        for node in self._graph.node:
            inputs = [name for name in node.input if name]
            if all(name in self._constant for name in inputs):  # folded before anything runs
                self._constant.update(node.output)
                continue
            if node.op_type in VIEWS:
                continue
            leaves = self._leaves(inputs)
            before = [place[name] for name in leaves if name in place]
            if node.op_type in ELEMENTWISE and before:
                at = max(before)  # the last of its inputs to be made: behind that one all are there
            else:
                at = len(groups)
                groups.append(_Group(node))
            for name, size in leaves.items():
                groups[at].reads[name] = max(size, groups[at].reads.get(name, 0))
            groups[at].made.update(node.output)
            place.update(dict.fromkeys(node.output, at))
        return tuple(self._layer(group, self._needed(groups, group)) for group in groups)

    def _needed(self, groups: Sequence[_Group], group: _Group) -> set[str]:
        """What is made in the group and read elsewhere, or asked of the graph."""
        elsewhere = {name for other in groups if other is not group for name in other.reads}
        return group.made & (elsewhere | set(self._leaves([output.name for output in self._graph.output])))

    def _layer(self, group: _Group, needed: set[str]) -> Layer:
        read = sum(size for name, size in group.reads.items() if name not in group.made)
        written = sum(self._bytes(name) for name in needed)
        node = group.node
        return Layer(node.name, node.op_type, self._precision(node), self._multiply_adds(node), read + written)

    def _leaves(self, names: Sequence[str]) -> dict[str, int]:
        """What must be read of memory for these tensors, behind all views: {tensor or weight: bytes}."""
        leaves: dict[str, int] = {}
        for name in names:
            for leaf, size in self._behind(name):
                leaves[leaf] = max(size, leaves.get(leaf, 0))
        return leaves

    def _behind(self, name: str) -> Iterator[tuple[str, int]]:
        node = self._made_by.get(name)
        if node is None or not (node.op_type in VIEWS or name in self._constant) or not node.input:
            yield name, self._bytes(name)
        elif node.op_type == "Concat":
            for part in node.input:
                yield from self._behind(part)
        elif name in self._constant:
            yield from self._behind(node.input[0])  # as it is stored, whatever it is cast to
        else:
            whole = self._elements(node.input[0])
            seen = min(self._elements(name), whole)  # a slice reads a part, an expansion no more than there is
            for leaf, size in self._behind(node.input[0]):
                yield leaf, size * seen // max(whole, 1)

    def _precision(self, node: NodeProto) -> str:
        """int8 only where activations and weights both are; otherwise the type that the operator sees."""
        if node.op_type in MATRIX and all(self._stored_type(name) == TensorProto.INT8 for name in node.input[:2]):
            return "int8"
        return PRECISIONS.get(self._type(node.input[0]), "fp32")

    def _stored_type(self, name: str) -> int:
        node = self._made_by.get(name)
        while node is not None and node.op_type in VIEWS and node.op_type != "Concat":
            name = node.input[0]
            node = self._made_by.get(name)
        return self._type(name)

    def _multiply_adds(self, node: NodeProto) -> int:
        if node.op_type not in MATRIX:
            return 0
        if node.op_type == "Conv":
            return self._elements(node.output[0]) * math.prod(self._shape(node.input[1])[1:])
        if node.op_type == "ConvTranspose":
            return self._elements(node.input[0]) * math.prod(self._shape(node.input[1])[1:])
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        return self._elements(node.output[0]) * self._shape(node.input[0])[0 if transposed else -1]

    def _bytes(self, name: str) -> int:
        return self._elements(name) * ELEMENT_BYTES[kind] if (kind := self._type(name)) in ELEMENT_BYTES else 0

    def _elements(self, name: str) -> int:
        return math.prod(self._shape(name))

    def _type(self, name: str) -> int:
        if name not in self._types:
            raise EdgeError(f"the type of {name} is not known; export the graph again, or simplify it")
        return self._types[name]

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self._shapes:
            raise EdgeError(f"the shape of {name} is not known for this batch; export the graph again, or simplify it")
        return self._shapes[name]
