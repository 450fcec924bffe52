"""Which layers cost the most accuracy in int8: each quantised alone, and a plot."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from calib.answers import ask_graph
from calib.quantiser import Quantiser
from calib.ranges import read_input
from edge.engines.base import INPUT_NAME, Outputs
from training.progress import bar
from training.report.drawing import BLUE, ORANGE, canvas, in_style, png


@dataclass(frozen=True)
class Sensitivity:
    """What quantising one layer alone does. embedding_error: mean change of the embedding over its mean length.

    operations: multiplications and additions for one radiograph, which int8 makes cheaper.
    """

    layer: str
    embedding_error: float
    score_change_mean: float
    operations: int = 1


def sensitivities(quantiser: Quantiser, kept: Sequence[Path]) -> tuple[Sensitivity, ...]:
    """One for each layer, in the order in which they run. kept: a few arrays of the calibration set."""
    exact = ask_graph(quantiser.prepared, kept)
    operations = operations_of(quantiser.prepared, kept[0])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder, "alone.onnx")
        for layer in bar(quantiser.layers, "layer sensitivity", total=len(quantiser.layers)):
            quantiser.write(alone, [layer])
            asked = ask_graph(alone, kept, layer)
            change = float(np.abs(asked.score - exact.score).mean())
            found.append(Sensitivity(layer, embedding_error(exact, asked), change, operations[layer]))
    return tuple(found)


def embedding_error(exact: Outputs, asked: Outputs) -> float:
    """Both score and retrieval hang on the embedding alone; unlike the score it never saturates."""
    away = np.linalg.norm(asked.embedding - exact.embedding, axis=1).mean()
    return float(away / max(float(np.linalg.norm(exact.embedding, axis=1).mean()), 1e-12))


def worst_first(found: Sequence[Sensitivity]) -> tuple[str, ...]:
    """Those first that disturb most for what they save: errors add up by their squares, operations as they are."""
    return tuple(each.layer for each in sorted(found, key=lambda each: -(each.embedding_error**2) / each.operations))


def operations_of(prepared: Path, kept: Path) -> dict[str, int]:
    """Of each convolution, for one radiograph: twice the multiplications."""
    model = onnx.load(prepared)
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = {item.name: item.dims for item in model.graph.initializer}
    names = [node.output[0] for node in convolutions]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    written = session.run(names, {INPUT_NAME: read_input(kept)})
    return {
        node.name: 2 * int(values.size) * int(np.prod(weights[node.input[1]][1:]))
        for node, values in zip(convolutions, written, strict=True)
    }


@in_style
def plot(found: Sequence[Sensitivity], floating: Sequence[str]) -> bytes:
    """A PNG: a bar for each layer, in the order in which they run; those left in floating point are hatched."""
    figure = canvas(max(3.0, 0.16 * len(found) + 1.0))
    axes = figure.subplots()
    places = np.arange(len(found))
    bars = axes.barh(places, [100 * each.embedding_error for each in found], color=BLUE)
    for each, drawn in zip(found, bars, strict=True):
        if each.layer in floating:
            drawn.set(hatch="////", facecolor=ORANGE)
    axes.set_yticks(places, [each.layer for each in found], fontsize=6)
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlabel("change of the embedding when this layer alone is int8, % of its length")
    if floating:
        axes.set_title(f"hatched: the {len(floating)} layers left in floating point")
    return png(figure)
