"""Engines and decoders that are wrong in one way each, around right ones: what the known-answer test must notice."""

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge.bundle import Bundle
from edge.engines import Engine, Outputs
from edge.engines.openvino_cpu import OpenVINOEngine
from edge.errors import RadiographError
from edge.imaging.decode_pool import Decodes
from edge.snapshot import Snapshot, frozen_bytes
from edge.values import Decoded

_MASK_CHANNEL = ("Concat", "GridSample")  # where the mask becomes a channel; sampled first where lungs are cropped


class FaultyEngine(Engine):
    """Answers as another engine does, changed while `is_wrong`."""

    def __init__(self, right: Engine, change: Callable[[Outputs], Outputs], *, is_wrong: bool = True) -> None:
        super().__init__(right.identity, members=right.members, preprocessing_digest=right.preprocessing_digest)
        self._right, self._change, self.is_wrong = right, change, is_wrong

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        outputs = self._right.infer(batch)
        return self._change(outputs) if self.is_wrong else outputs

    def close(self) -> None:
        self._right.close()


def swapped(outputs: Outputs) -> Outputs:
    """The other label's probability."""
    return replace(outputs, score=1 - outputs.score, member_scores=1 - outputs.member_scores)


def no_number(outputs: Outputs) -> Outputs:
    return replace(outputs, score=np.full_like(outputs.score, np.nan))


def of_graph(bundle: Bundle, precision: str, change: Callable[[onnx.ModelProto], None]) -> OpenVINOEngine:
    """The bundle's network, compiled after a change of its graph."""
    name = f"model.{precision}.onnx"
    model = onnx.load_from_string(bundle.files[name])
    change(model)
    return OpenVINOEngine(replace(bundle, files={**bundle.files, name: model.SerializeToString()}), precision)


def perturb(model: onnx.ModelProto) -> None:
    """Noise on every weight, a twentieth of the spread of its tensor."""
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.ndim >= 2:
            noisy = weights + rng.normal(size=weights.shape) * 0.05 * weights.std()
            if weights.dtype == np.int8:
                noisy = np.rint(noisy).clip(-127, 127)
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(weights.dtype), tensor.name))


def zero_mask_channel(model: onnx.ModelProto) -> None:
    """The member sees no lungs; the mask that the graph gives out, and a crop to the lungs, stay."""
    (join,) = [node for node in model.graph.node if node.op_type in _MASK_CHANNEL and "lung_mask" in node.input]
    join.input[list(join.input).index("lung_mask")] = "no_mask"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "nought"))
    zeroed = helper.make_node("Mul", ["lung_mask", "nought"], ["no_mask"])
    model.graph.node.insert(list(model.graph.node).index(join), zeroed)


def halve_scales(model: onnx.ModelProto) -> None:
    quantized = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    scales = {node.input[1] for node in quantized}
    assert scales
    for tensor in model.graph.initializer:
        if tensor.name in scales:
            scale = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array((scale / 2).astype(scale.dtype), tensor.name))


class FaultyDecoder:
    """What `before` does to a file's bytes and `after` to what they decode to."""

    def __init__(
        self,
        right: Decodes,
        *,
        before: Callable[[bytes], bytes] = lambda content: content,
        after: Callable[[Decoded], Decoded] = lambda decoded: decoded,
    ) -> None:
        self._right, self._before, self._after = right, before, after

    def decode(self, frozen: Snapshot) -> Decoded:
        with frozen_bytes(self._before(os.pread(frozen.descriptor, frozen.size_bytes, 0))) as changed:
            return self._after(self._right.decode(changed))


class DyingDecoder:
    """Raises so many times before it decodes."""

    def __init__(self, right: Decodes, fault: RadiographError, times: int) -> None:
        self._right, self._fault, self.left = right, fault, times

    def decode(self, frozen: Snapshot) -> Decoded:
        self.left -= 1
        if self.left >= 0:
            raise self._fault
        return self._right.decode(frozen)


def ignore_monochrome1(content: bytes) -> bytes:
    return content.replace(b"MONOCHROME1", b"MONOCHROME2")


def with_digest(digest: str) -> Callable[[Decoded], Decoded]:
    """Claims to have been preprocessed so."""
    return lambda decoded: replace(decoded, model_input=replace(decoded.model_input, preprocessing_digest=digest))
