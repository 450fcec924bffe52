"""Engines on a CPU as peers: the box's own, what people would run instead, and torchxrayvision's DenseNet121.

Each is opened as an Engine, as on a GPU (peers_gpu.py), and chooses its threads itself; the rows say how many cores it
used. torch peers run the module whose export is the graph, or one of its architecture where a bundle holds the graph.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.comparison import INPUTS
from benchmarks.peers_gpu import TorchEngine, open_onnxruntime_cpu, open_openvino, open_torch_eager
from benchmarks.race import Race
from benchmarks.resident import Opened, Peer
from benchmarks.subject import Subject
from edge.engines.base import OUTPUT_NAMES, Engine, Outputs
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from edge.engines.silent_openvino import openvino
from edge.errors import BackendUnavailable
from edge.values import EngineIdentity

RADIOGRAPHS = 2  # asked in turn
OURS = "OpenVINO int8 (ours)"
ORT_INT8, EAGER = "ONNX Runtime int8", "torch eager"
RANDOM_WEIGHTS = "random weights: as much work, other answers"
DENSENET_SIDE = 224  # pixels, of torchxrayvision's DenseNet121
_COMPILERS = ("g++", "clang++", "c++")

Opener = Callable[[Subject, str, str], Engine]


class OpenVINOBf16Engine(Engine):
    """A fp32 graph computed in bf16, as OpenVINO does by itself where the CPU has it."""

    def __init__(self, subject: Subject) -> None:
        core = openvino.Core()
        if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BackendUnavailable("this CPU has no bf16; measure it on one that has (avx512_bf16 or amx_bf16)")
        identity = EngineIdentity("", "openvino", "bf16", openvino.__version__)
        super().__init__(identity, members=subject.names, preprocessing_digest="")
        model = core.read_model(subject.graph("fp32"))
        model.reshape([1, 1, 1024, 1024])
        compiled = core.compile_model(model, "CPU", COMPILE_OPTIONS | {"INFERENCE_PRECISION_HINT": "bf16"})
        self._ports = [compiled.output(name) for name in OUTPUT_NAMES]
        self._request = compiled.create_infer_request()

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        self._request.infer([batch])
        return Outputs(*(self._request.get_tensor(port).data.copy() for port in self._ports))

    def close(self) -> None:
        del self._request, self._ports


def open_bf16(subject: Subject, precision: str, device: str) -> Engine:
    return OpenVINOBf16Engine(subject)


def open_eager_channels_last(subject: Subject, precision: str, device: str) -> Engine:
    module = subject.module().to(memory_format=torch.channels_last)
    return TorchEngine(EngineIdentity("", "torch", precision, torch.__version__), subject.names, module, device)


def open_compiled(subject: Subject, precision: str, device: str) -> Engine:
    if not any(shutil.which(name) for name in _COMPILERS):
        raise BackendUnavailable("torch.compile needs a C++ compiler and finds none; apt-get install g++")
    module = torch.compile(subject.module().to(memory_format=torch.channels_last), dynamic=False)
    return TorchEngine(EngineIdentity("", "torch", precision, torch.__version__), subject.names, module, device)


def open_engine(opener: Opener, subject: Subject, precision: str) -> Opened:
    engine = opener(subject, precision, "cpu")
    radiographs = np.load(subject.folder / INPUTS)
    return Opened(lambda number: engine.infer(radiographs[number % len(radiographs)][None]), told=scores_of)


def scores_of(outputs: Outputs) -> NDArray[np.float32]:
    return np.concatenate([outputs.score, outputs.member_scores.ravel()])


def engine_race(subject: Subject, calls: int) -> Race:
    """Batch 1 from array to array; the box's int8 engine is the baseline."""
    other = subject.own_weights

    def graph(name: str, opener: Opener, precision: str, note: str = "") -> Peer:
        own = other or precision == "int8"
        told = "; ".join(word for word in (note, "" if own else RANDOM_WEIGHTS) if word)
        return Peer(name, partial(open_engine, opener, subject, precision), told, comparable=own)

    peers = (
        graph(OURS, open_openvino, "int8"),
        graph("OpenVINO bf16", open_bf16, "bf16"),
        graph("OpenVINO fp32", open_openvino, "fp32"),
        graph(ORT_INT8, open_onnxruntime_cpu, "int8", "the same Q/DQ graph"),
        graph("ONNX Runtime fp32", open_onnxruntime_cpu, "fp32"),
        graph("torch.compile", open_compiled, "fp32", "inductor, channels last"),
        graph("torch eager, channels last", open_eager_channels_last, "fp32"),
        graph(EAGER, open_torch_eager, "fp32"),
    )
    return Race(f"{subject.name}, batch 1", peers, RADIOGRAPHS, calls)


def open_densenet(compiled: bool) -> Opened:
    """torchxrayvision's DenseNet121 with random weights: nothing is downloaded, and as much is computed."""
    import torchxrayvision  # noqa: PLC0415 - optional

    torch.manual_seed(0)
    network = torchxrayvision.models.DenseNet(weights=None).eval()
    module = torch.compile(network, dynamic=False) if compiled else network
    radiographs = torch.randn(RADIOGRAPHS, 1, DENSENET_SIDE, DENSENET_SIDE) * 400  # its inputs are -1024 to 1024

    @torch.inference_mode()
    def forward(number: int) -> NDArray[np.float32]:
        return module(radiographs[number % RADIOGRAPHS][None]).numpy()

    return Opened(forward)


def densenet_race(subject: Subject, calls: int) -> Race:
    """torchxrayvision's forward pass at 224 pixels beside a bundle's whole network at its own sides."""
    note = f"DenseNet121 at {DENSENET_SIDE} pixels, one score a finding; no lungs, embedding or evidence map"
    peers = (
        Peer(OURS, partial(open_engine, open_openvino, subject, "int8")),
        Peer("torchxrayvision", partial(open_densenet, False), note, comparable=False),
        Peer("torchxrayvision, torch.compile", partial(open_densenet, True), note, comparable=False),
    )
    return Race(f"torchxrayvision's network beside {subject.name}, batch 1", peers, RADIOGRAPHS, calls)


def write_inputs(subject: Subject) -> None:
    path: Path = subject.folder / INPUTS
    np.save(path, subject.inputs(RADIOGRAPHS))
