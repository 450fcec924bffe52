"""That an exported graph answers as the trained network does: both asked about phantoms."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from edge.engines.base import INPUT_NAME, OUTPUT_NAMES, Outputs
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from export.fused import Fused
from export.parity import Parity, joined


def ask_torch(fused: Fused, inputs: NDArray[np.float32]) -> Outputs:
    """One radiograph at a time, in fp32."""
    with torch.inference_mode():
        rows = [fused(torch.from_numpy(each[None])) for each in inputs]
    return joined([Outputs(*(part.numpy() for part in row)) for row in rows])


def ask_openvino(graph: Path, batches: Iterable[NDArray[np.float32]]) -> Outputs:
    """Batches one after the other, as the box runs the graph; the answers of all of them."""
    request = openvino.Core().compile_model(str(graph), "CPU", COMPILE_OPTIONS).create_infer_request()
    asked = []
    for batch in batches:
        request.infer({INPUT_NAME: batch})
        asked.append(Outputs(**{name: np.array(request.get_tensor(name).data) for name in OUTPUT_NAMES}))
    return joined(asked)


def table(found: Sequence[tuple[str, Parity]]) -> str:
    """One line for each graph against torch."""
    lines = [f"{'against torch fp32':<20}{'score max':>11}{'mean':>10}{'flipped':>9}{'cosine':>9}{'Dice':>8}"]
    for name, parity in found:
        lines.append(
            f"{name:<20}{parity.score_change_max:>11.2e}{parity.score_change_mean:>10.1e}"
            f"{parity.flipped:>6}/{parity.radiographs:<2}{parity.embedding_cosine_min:>9.5f}{parity.lung_dice_min:>8.4f}"
        )
    return "\n".join(lines)
