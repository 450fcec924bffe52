"""That an exported graph answers as the trained network does: both asked about phantoms."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from edge.engines.base import INPUT_NAME, OUTPUT_NAMES, Outputs
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.phantom import LABELS, render
from edge.phantom_dicom import write_dicom
from export.fused import Fused
from export.parity import Parity

SEEDS = range(400_000, 400_008)


def phantom_inputs(framing: str) -> NDArray[np.float32]:
    """Phantoms of both labels as the box standardises them, [8, 1, 1024, 1024]."""
    pixels = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "phantom.dcm")
        for seed in SEEDS:
            write_dicom(render(seed, LABELS[seed % 2], longest_side=640), path)
            pixels.append(preprocess(read(path.read_bytes()), Preprocessing(framing=framing)).pixels)
    return np.stack(pixels)


def ask_torch(fused: Fused, inputs: NDArray[np.float32]) -> Outputs:
    """One radiograph at a time, in fp32."""
    with torch.inference_mode():
        rows = [fused(torch.from_numpy(each[None])) for each in inputs]
    return Outputs(*(torch.cat(parts).numpy() for parts in zip(*rows, strict=True)))


def ask_openvino(graph: Path, inputs: NDArray[np.float32]) -> Outputs:
    """All in one batch: the graph must know more than one radiograph."""
    request = openvino.Core().compile_model(str(graph), "CPU", COMPILE_OPTIONS).create_infer_request()
    request.infer({INPUT_NAME: inputs})
    return Outputs(**{name: np.array(request.get_tensor(name).data) for name in OUTPUT_NAMES})


def table(found: Sequence[tuple[str, Parity]]) -> str:
    """One line for each graph against torch."""
    lines = [f"{'against torch fp32':<20}{'score max':>11}{'mean':>10}{'flipped':>9}{'cosine':>9}{'Dice':>8}"]
    for name, parity in found:
        lines.append(
            f"{name:<20}{parity.score_change_max:>11.2e}{parity.score_change_mean:>10.1e}"
            f"{parity.flipped:>6}/{parity.radiographs:<2}{parity.embedding_cosine_min:>9.5f}{parity.lung_dice_min:>8.4f}"
        )
    return "\n".join(lines)
