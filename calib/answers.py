"""A graph's answers over many cached radiographs, by OpenVINO as the box runs it: compiled for one at a time."""

from collections.abc import Sequence
from pathlib import Path

from calib.ranges import read_input
from edge.engines.base import Outputs
from export.proof import ask_openvino
from training.progress import bar


def ask_graph(graph: Path, kept: Sequence[Path], description: str = "") -> Outputs:
    """Every output of a graph, one radiograph at a time: as many rows as cached arrays."""
    return ask_openvino(graph, map(read_input, bar(kept, description or graph.name, total=len(kept))), batch=1)
