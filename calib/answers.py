"""A graph's answers over many cached radiographs, by OpenVINO as the box runs it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from calib.ranges import read_input
from edge.engines.base import INPUT_NAME, OUTPUT_NAMES, Outputs
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from training.progress import bar


def ask_graph(graph: Path, kept: Sequence[Path], description: str = "") -> Outputs:
    """Every output of a graph, one radiograph at a time: as many rows as cached arrays."""
    request = openvino.Core().compile_model(str(graph), "CPU", COMPILE_OPTIONS).create_infer_request()
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in OUTPUT_NAMES}
    for path in bar(kept, description or graph.name, total=len(kept)):
        request.infer({INPUT_NAME: read_input(path)})
        for name in OUTPUT_NAMES:
            rows[name].append(np.array(request.get_tensor(name).data[0]))
    return Outputs(**{name: np.stack(found) for name, found in rows.items()})
