"""Bias correction: what quantisation adds to the mean of each convolution's output is taken from its bias.

A convolution is linear, so that the shift of its mean output is W E[x] - Q(W) E[Q(x)] (M. Nagel and others, "Data-free
quantization through weight equalization and bias correction", 2019, section 4.2), with the means of each channel over
the calibration radiographs. Borders, where a convolution reads padding, are taken like the rest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx.numpy_helper import from_array, to_array

from calib.ranges import Ranges, read_input
from edge.engines.base import INPUT_NAME
from training.progress import bar

STEPS = 127  # of a symmetric int8 range
Means = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]  # tensor -> E[x], E[Q(x)] of each channel


def channel_means(prepared: Path, kept: Sequence[Path], ranges: Ranges) -> Means:
    """Means of every tensor that a convolution reads and that has a range, as it is and as int8 shows it."""
    model = onnx.load(prepared)
    read = {node.input[0] for node in model.graph.node if node.op_type == "Conv"} & ranges.reach.keys()
    names = sorted(read - {value.name for value in (*model.graph.input, *model.graph.output)})
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    sums: dict[str, NDArray[np.float64]] = {}
    for path in bar(kept, "bias correction", total=len(kept)):
        for name, values in zip(names, session.run(names, {INPUT_NAME: read_input(path)}), strict=True):
            found = np.stack([_mean(values), _mean(as_int8(values, ranges.reach[name]))])
            sums[name] = sums.get(name, 0) + found / len(kept)
    return {name: (both[0], both[1]) for name, both in sums.items()}


def as_int8(values: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
    """What a symmetric int8 Q/DQ pair makes of values."""
    step = np.float32(max(reach, 1e-12) / STEPS)
    return np.clip(np.rint(values / step), -STEPS - 1, STEPS) * step


def correct_biases(quantised: onnx.ModelProto, prepared: onnx.ModelProto, means: Means) -> None:
    """Shift the bias of every quantised convolution of an int8 graph, in place. prepared: the fp32 graph of it."""
    whole = {item.name: item for item in prepared.graph.initializer}
    constants = {item.name: item for item in quantised.graph.initializer}
    made_by = {output: node for node in quantised.graph.node for output in node.output}
    for node in quantised.graph.node:
        dequantised = made_by.get(node.input[1]) if node.op_type == "Conv" else None
        if dequantised is None or len(node.input) < 3:
            continue
        steps, scale = (to_array(constants[name]).astype(np.float64) for name in dequantised.input[:2])
        rounded = steps * scale.reshape(-1, 1, 1, 1)
        tensor = made_by[made_by[node.input[0]].input[0]].input[0]  # before its Q/DQ
        before, after = means[tensor]
        weights = to_array(whole[f"{node.name}.weight"]).astype(np.float64)
        shift = weights.sum(axis=(2, 3)) @ before - rounded.sum(axis=(2, 3)) @ after
        bias = constants[node.input[2]]
        corrected = (to_array(bias) + shift).astype(np.float32)
        bias.CopyFrom(from_array(corrected, bias.name))


def _mean(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return values.mean(axis=(0, 2, 3), dtype=np.float64)  # [channels]
