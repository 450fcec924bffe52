"""The fused network as an ONNX graph in fp32: one file, checked, batch 1 to 8, opset recorded."""

import contextlib
import io
import warnings
from pathlib import Path

import onnx
import torch

from edge.engines.base import INPUT_NAME, INPUT_SIDE, MAX_BATCH, OUTPUT_NAMES
from export.fused import Fused

OPSET = 18


def write_graph(fused: Fused, path: Path) -> None:
    """Write the fp32 graph; weights are inside the file."""
    example = torch.zeros(2, 1, INPUT_SIDE, INPUT_SIDE)  # 1 would be taken for a constant
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with torch.inference_mode(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter's own deprecations; what it wrote is checked below
        program = torch.onnx.export(
            fused,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=list(OUTPUT_NAMES),
            dynamic_shapes=({0: batch},),
            external_data=False,
        )
    assert program is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(without_debris(program.model_proto), path)
    onnx.checker.check_model(str(path), full_check=True)


def without_debris(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's notes on source files and lines: they hold this machine's paths."""
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.graph.ClearField("doc_string")
    model.graph.ClearField("metadata_props")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for initializer in model.graph.initializer:
        initializer.ClearField("doc_string")
        initializer.ClearField("metadata_props")
    return model
