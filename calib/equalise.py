"""Channel equalisation: the same network with activations whose channels reach alike, so that one int8 scale fits all.

Where what a convolution writes passes only ReLU, pooling and sums on its way to those that read it, a positive factor
of a channel passes too: dividing where the channel is written and multiplying where it is read changes no answer
(M. Nagel and others, "Data-free quantization through weight equalization and bias correction", 2019). The factors share
a channel's reach between activation and weights (G. Xiao and others, "SmoothQuant", 2023, equation 4).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.numpy_helper import from_array, to_array

from calib.ranges import read_input
from edge.engines.base import INPUT_NAME
from training.progress import bar

SHARE = 0.8  # of a channel's reach that goes into the weights
MOST_FACTOR = 16.0
_PASSING = ("Relu", "MaxPool", "Add")


@dataclass
class Stream:
    """Tensors of the same channels that only a common factor may scale. fixed: something else reads or writes them.

    read: those that convolutions read. writers, readers: convolutions.
    """

    read: set[str] = field(default_factory=set)
    writers: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)
    fixed: bool = False


def equalise(prepared: Path, kept: Sequence[Path]) -> None:
    """Equalise a prepared graph in place, by how far its channels reach on these arrays."""
    model = onnx.load(prepared)
    streams = [stream for stream in streams_of(model.graph) if stream.readers and stream.writers and not stream.fixed]
    reach = channel_reach(model, {tensor for stream in streams for tensor in stream.read}, kept)
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    biases = {node.name: node.input[2] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2}
    values = {item.name: to_array(item).copy() for item in model.graph.initializer}
    for stream in streams:
        activation = np.max([reach[tensor] for tensor in stream.read], axis=0)
        factors = _factors(activation, [values[weights[name]] for name in stream.readers])
        for name in stream.writers:
            values[weights[name]] /= factors[:, None, None, None]
            if name in biases:
                values[biases[name]] /= factors
        for name in stream.readers:
            values[weights[name]] *= factors[None, :, None, None]
    for item in model.graph.initializer:
        item.CopyFrom(from_array(values[item.name], item.name))
    onnx.save(model, prepared)


def _factors(activation: NDArray[np.float64], read: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What to divide each channel by; 1 where nothing is ever written or read."""
    weight = np.max([np.abs(part).max(axis=(0, 2, 3)) for part in read], axis=0)
    known = (activation > 0) & (weight > 0)
    factors = np.ones(len(activation))
    factors[known] = activation[known] ** SHARE / weight[known] ** (1 - SHARE)
    if known.any():
        factors[known] /= np.median(factors[known])  # a mean would follow channels that hardly ever light up
    return np.clip(factors, 1 / MOST_FACTOR, MOST_FACTOR).astype(np.float32)


def streams_of(graph: onnx.GraphProto) -> list[Stream]:
    """Every activation of the graph is of one of them."""
    constants = {item.name for item in graph.initializer}
    merged = _Merged()
    for node in graph.node:
        if node.op_type in _PASSING:
            for name in _activations(node, constants):
                merged.join(name, node.output[0])
    streams: dict[str, Stream] = defaultdict(Stream)
    for value in (*graph.input, *graph.output):
        streams[merged.of(value.name)].fixed = True
    for node in graph.node:
        read = _activations(node, constants)
        if _scalable(node, constants):
            streams[merged.of(node.output[0])].writers.append(node.name)
            stream = streams[merged.of(node.input[0])]
            stream.readers.append(node.name)
            stream.read.add(node.input[0])
        elif _breaks(node, read):
            for name in (*read, *node.output):
                streams[merged.of(name)].fixed = True
    return list(streams.values())


def _breaks(node: onnx.NodeProto, read: Sequence[str]) -> bool:
    """Whether a factor of a channel does not simply pass. What asks for a shape alone sees no factor."""
    adds_constant = node.op_type == "Add" and len(read) < len(node.input)
    return adds_constant or node.op_type not in (*_PASSING, "Shape")


class _Merged:
    """Union-find over tensor names."""

    def __init__(self) -> None:
        self._up: dict[str, str] = {}

    def of(self, name: str) -> str:
        while self._up.get(name, name) != name:
            name = self._up[name]
        return name

    def join(self, one: str, other: str) -> None:
        self._up[self.of(one)] = self.of(other)


def _activations(node: onnx.NodeProto, constants: Iterable[str]) -> list[str]:
    return [name for name in node.input if name and name not in constants]


def _scalable(node: onnx.NodeProto, constants: Iterable[str]) -> bool:
    """Whether it is a convolution whose weights are there to be scaled."""
    grouped = any(attribute.name == "group" and attribute.i != 1 for attribute in node.attribute)
    return node.op_type == "Conv" and node.input[1] in constants and not grouped


def channel_reach(
    model: onnx.ModelProto, tensors: Iterable[str], kept: Sequence[Path]
) -> dict[str, NDArray[np.float64]]:
    """[channels] of each tensor: the mean over the radiographs of the greatest magnitude in one."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    names = sorted({*tensors} - {value.name for value in (*model.graph.input, *model.graph.output)})
    asked.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(asked.SerializeToString(), providers=["CPUExecutionProvider"])
    sums: dict[str, NDArray[np.float64]] = {}
    for path in bar(kept, "equalisation", total=len(kept)):
        for name, values in zip(names, session.run(names, {INPUT_NAME: read_input(path)}), strict=True):
            sums[name] = sums.get(name, 0) + np.abs(values).max(axis=(0, 2, 3)).astype(np.float64) / len(kept)
    return sums
