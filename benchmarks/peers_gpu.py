"""What is measured side by side, each opened as an Engine, so that all answer from host memory to host memory.

A peer that is not installed raises; its row in the report says why. Imports are lazy: most peers are optional.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.subject import Subject
from edge.engines.base import INPUT_NAME, MAX_BATCH, OUTPUT_NAMES, Engine, Outputs
from edge.engines.cuda import open_cuda
from edge.engines.flavours import installed_flavour
from edge.engines.tensorrt_gpu import TensorRTEngine
from edge.errors import BackendUnavailable
from edge.values import EngineIdentity
from export.half import in_half
from export.plan import build_plan
from export.torch_tensorrt import compile_plan, runtime_flavour

Opener = Callable[[Subject, str, str], Engine]  # subject, precision, device


@dataclass(frozen=True)
class Peer:
    """precisions: those it can run. of_torch: whether it runs the torch module rather than a graph."""

    name: str
    open: Opener
    precisions: tuple[str, ...]
    of_torch: bool = False


class TorchEngine(Engine):
    """A torch module on a device; pinned host memory and asynchronous copies on a GPU, as the box's own engine has."""

    def __init__(self, identity: EngineIdentity, names: tuple[str, ...], module: nn.Module, device: str) -> None:
        super().__init__(identity, members=names, preprocessing_digest="")
        self._module = module
        self._device = torch.device(device)
        self._pinned: dict[str, Tensor] = {}

    @torch.inference_mode()
    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        given = torch.from_numpy(batch)
        if self._device.type == "cpu":
            return Outputs(*(output.numpy() for output in self._module(given)))
        staged = self._stage(INPUT_NAME, given)
        staged.copy_(given)
        outputs = self._module(staged.to(self._device, non_blocking=True))
        copies = [self._stage(name, output) for name, output in zip(OUTPUT_NAMES, outputs, strict=True)]
        for copied, output in zip(copies, outputs, strict=True):
            copied.copy_(output, non_blocking=True)
        torch.cuda.synchronize()
        return Outputs(*(copied.numpy().copy() for copied in copies))

    def _stage(self, name: str, like: Tensor) -> Tensor:
        """Pinned memory of a tensor's shape: one buffer a name, for MAX_BATCH."""
        if name not in self._pinned:
            self._pinned[name] = torch.empty(MAX_BATCH, *like.shape[1:], dtype=like.dtype, pin_memory=True)
        return self._pinned[name][: len(like)]

    def close(self) -> None:
        self._pinned.clear()
        del self._module


class OnnxRuntimeEngine(Engine):
    """A graph in ONNX Runtime on one execution provider, and on no other."""

    def __init__(self, subject: Subject, precision: str, provider: str) -> None:
        import onnxruntime  # noqa: PLC0415

        if provider not in onnxruntime.get_available_providers():
            raise BackendUnavailable(f"this ONNX Runtime {onnxruntime.__version__} has no {provider}; "
                                     "pip install onnxruntime-gpu")  # fmt: skip
        identity = EngineIdentity("", "onnxruntime", precision, onnxruntime.__version__)
        super().__init__(identity, members=subject.names, preprocessing_digest="")
        self._session = onnxruntime.InferenceSession(subject.graph(precision), providers=[provider])
        if self._session.get_providers()[0] != provider:
            raise BackendUnavailable(f"ONNX Runtime fell back to {self._session.get_providers()[0]}; "
                                     "check that its CUDA and cuDNN libraries are found")  # fmt: skip

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        return Outputs(*self._session.run(list(OUTPUT_NAMES), {INPUT_NAME: batch}))

    def close(self) -> None:
        del self._session


def open_openvino(subject: Subject, precision: str, device: str) -> Engine:
    from edge.engines.openvino_cpu import OpenVINOEngine  # noqa: PLC0415

    return OpenVINOEngine(subject.bundle(precision), precision)


def open_onnxruntime_cpu(subject: Subject, precision: str, device: str) -> Engine:
    return OnnxRuntimeEngine(subject, precision, "CPUExecutionProvider")


def open_onnxruntime_cuda(subject: Subject, precision: str, device: str) -> Engine:
    return OnnxRuntimeEngine(subject, precision, "CUDAExecutionProvider")


def open_torch_eager(subject: Subject, precision: str, device: str) -> Engine:
    identity = EngineIdentity("", "torch eager", precision, torch.__version__)
    return TorchEngine(identity, subject.names, _module(subject, precision, device), device)


def open_torch_compile(subject: Subject, precision: str, device: str) -> Engine:
    module = torch.compile(_module(subject, precision, device), mode="max-autotune", dynamic=False)
    identity = EngineIdentity("", "torch.compile", precision, torch.__version__)
    return TorchEngine(identity, subject.names, module, device)


def _module(subject: Subject, precision: str, device: str) -> nn.Module:
    """The module as torch runs it fastest: channels last, cuDNN choosing by measurement, TF32 permitted for fp32."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    module = subject.module()
    module = in_half(module) if precision == "fp16" else module
    if device == "cuda":
        module = module.to(memory_format=torch.channels_last)
    return module.to(device)


def open_tensorrt(subject: Subject, precision: str, device: str) -> Engine:
    """The box's own route: the graph through TensorRT's ONNX parser."""
    flavour, cuda = installed_flavour(), open_cuda()  # before minutes are spent on a plan that could not be run
    plan = build_plan(subject.graph(precision).read_bytes(), flavour, precision=precision)
    return TensorRTEngine(subject.bundle(precision), precision, plan, flavour=flavour, cuda=cuda)


def open_torch_tensorrt(subject: Subject, precision: str, device: str) -> Engine:
    """The torch module through torch-tensorrt, run by the box's own runtime."""
    flavour, cuda = installed_flavour(runtime_flavour()), open_cuda()
    plan = compile_plan(subject.module(), precision=precision)
    return TensorRTEngine(subject.bundle(precision), precision, plan, flavour=flavour, cuda=cuda)


OPENVINO = Peer("OpenVINO (CPU)", open_openvino, ("fp32", "fp16", "int8"))
ONNXRUNTIME_CPU = Peer("ONNX Runtime (CPU)", open_onnxruntime_cpu, ("fp32", "fp16", "int8"))
REFERENCES = (OPENVINO, ONNXRUNTIME_CPU)  # the second where the first cannot run
TENSORRT = Peer("TensorRT", open_tensorrt, ("fp32", "fp16", "int8"))
TORCH_TENSORRT = Peer("torch-tensorrt", open_torch_tensorrt, ("fp32", "fp16"), of_torch=True)
TORCH_EAGER = Peer("torch eager", open_torch_eager, ("fp32", "fp16"), of_torch=True)
ONNXRUNTIME_CUDA = Peer("ONNX Runtime CUDA", open_onnxruntime_cuda, ("fp32", "fp16"))
TORCH_COMPILE = Peer("torch.compile", open_torch_compile, ("fp16",), of_torch=True)
# The slowest to open last: what was measured before it is kept if the machine is taken away.
CUDA_PEERS = (TENSORRT, TORCH_TENSORRT, TORCH_EAGER, ONNXRUNTIME_CUDA, TORCH_COMPILE)
