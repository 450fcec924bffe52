"""The embedded default: OpenVINO on the CPU."""

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engines.base import INPUT_SIDE, OUTPUT_NAMES, Engine, Outputs
from edge.engines.silent_openvino import openvino
from edge.errors import EngineError
from edge.values import EngineIdentity

# OpenVINO picks bf16 by itself where the CPU has it; scores would then depend on the machine.
COMPILE_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


class OpenVINOEngine(Engine):
    """Compiled for one radiograph at a time: on a CPU a batch is no faster than its parts, and no one waits."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        identity = EngineIdentity(bundle.id, "openvino", precision, openvino.__version__)
        manifest = bundle.manifest
        super().__init__(
            identity, members=manifest.members, preprocessing_digest=manifest.preprocessing_digest,
            temperature=manifest.temperatures.get(precision),
        )  # fmt: skip
        try:
            core = openvino.Core()
            model = core.read_model(model=bundle.model_bytes(precision), weights=b"")
            model.reshape([1, 1, INPUT_SIDE, INPUT_SIDE])
            compiled = core.compile_model(model, "CPU", COMPILE_OPTIONS)
            self._ports = [compiled.output(name) for name in OUTPUT_NAMES]
        except RuntimeError as fault:
            raise EngineError(
                f"OpenVINO cannot compile model.{precision}.onnx ({_why(fault)}); export it again"
            ) from None
        self._request = compiled.create_infer_request()

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        rows = [self._run_one(batch[row : row + 1]) for row in range(len(batch))]
        return Outputs(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))

    def _run_one(self, radiograph: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        try:
            self._request.infer([radiograph])
        except RuntimeError as fault:
            raise EngineError(f"OpenVINO failed ({_why(fault)}). Run: edge-cxr doctor") from None
        return [self._request.get_tensor(port).data.copy() for port in self._ports]  # the request reuses its buffers

    def close(self) -> None:
        del self._request, self._ports


def _why(fault: RuntimeError) -> str:
    """OpenVINO's messages end with what went wrong, after lines of source positions."""
    return str(fault).strip().splitlines()[-1]
