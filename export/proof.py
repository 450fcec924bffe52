"""That exported graphs and plans answer as the trained network does: all are asked about the same phantoms."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.engines.base import INPUT_NAME, INPUT_SIDE, OUTPUT_NAMES, Outputs
from edge.engines.opening import GpuPlace
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from edge.engines.silent_openvino import openvino
from edge.engines.tensorrt_gpu import TensorRTEngine
from edge.errors import BackendUnavailable
from export.fused import Fused
from export.parity import Parity, joined
from export.plan import build_plan
from training.progress import bar


def ask_torch(fused: Fused, inputs: NDArray[np.float32]) -> Outputs:
    """One radiograph at a time, in fp32."""
    with torch.inference_mode():
        rows = [fused(torch.from_numpy(each[None])) for each in inputs]
    return joined([Outputs(*(part.numpy() for part in row)) for row in rows])


def ask_openvino(graph: Path, batches: Iterable[NDArray[np.float32]], *, batch: int | None = None) -> Outputs:
    """Batches one after the other; the answers of all of them.

    batch: compiled for just so many, as the box does for one; int8 answers a little otherwise for any number.
    """
    core = openvino.Core()
    model = core.read_model(str(graph))
    if batch is not None:
        model.reshape([batch, 1, INPUT_SIDE, INPUT_SIDE])
    request = core.compile_model(model, "CPU", COMPILE_OPTIONS).create_infer_request()
    asked = []
    for batch in batches:
        request.infer({INPUT_NAME: batch})
        asked.append(Outputs(**{name: np.array(request.get_tensor(name).data) for name in OUTPUT_NAMES}))
    return joined(asked)


def ask_graphs(
    folder: Path,
    bundle: Bundle,
    inputs: NDArray[np.float32],
    find: Callable[[], GpuPlace],
    *,
    say: Callable[[str], None],
) -> Iterator[tuple[str, Outputs]]:
    """The answers of the bundle's graphs, which lie in `folder`: by OpenVINO, and by TensorRT where there is a GPU.

    say: told once why TensorRT was not asked. Raises EngineError when a plan cannot be built or run.
    """
    precisions = bundle.manifest.precisions
    for precision in bar(precisions, "OpenVINO", total=len(precisions)):
        # In one batch: it must know more than one.
        yield f"OpenVINO {precision}", ask_openvino(folder / f"model.{precision}.onnx", [inputs])
    for precision in bar(precisions, "TensorRT", total=len(precisions)):
        try:
            place = find()
        except BackendUnavailable as missing:
            say(f"TensorRT was not asked: {missing}")
            return
        yield f"TensorRT {precision}", ask_tensorrt(bundle, precision, inputs, place)


def ask_tensorrt(bundle: Bundle, precision: str, inputs: NDArray[np.float32], place: GpuPlace) -> Outputs:
    """Build the plan of the bundle's graph as the box does, and ask its engine. Closes `place`; raises EngineError."""
    targets = (place.cuda.gpu.compute_capability,) if place.flavour.portable else ()
    try:
        plan = build_plan(bundle.model_bytes(precision), place.flavour, precision=precision, targets=targets)
    except BaseException:
        place.cuda.close()
        raise
    return ask_plan(plan, bundle, precision, inputs, place)


def ask_plan(plan: bytes, bundle: Bundle, precision: str, inputs: NDArray[np.float32], place: GpuPlace) -> Outputs:
    """Ask the box's engine of a plan. Closes `place`; raises EngineError."""
    engine = TensorRTEngine(bundle, precision, plan, flavour=place.flavour, cuda=place.cuda)
    try:
        return engine.infer(inputs)
    finally:
        engine.close()


def table(found: Sequence[tuple[str, Parity]]) -> str:
    """One line for each graph against torch."""
    lines = [f"{'against torch fp32':<20}{'score max':>11}{'mean':>10}{'flipped':>9}{'cosine':>9}{'Dice':>8}"]
    for name, parity in found:
        lines.append(
            f"{name:<20}{parity.score_change_max:>11.2e}{parity.score_change_mean:>10.1e}"
            f"{parity.flipped:>6}/{parity.radiographs:<2}{parity.embedding_cosine_min:>9.5f}{parity.lung_dice_min:>8.4f}"
        )
    return "\n".join(lines)
