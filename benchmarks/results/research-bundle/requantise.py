"""How the packaged research bundle got weights of 7 bits: from its predecessor, whose weights had 8.

Its fp32 graph was not at hand any more. `float OLD NEW` undoes the quantisation (the weights stay on their 8-bit grid),
`edge-cxr calibrate` quantises that graph anew, and `assemble OLD_MANIFEST GRAPHS OUT` makes the bundle as
`python -m export.cli assemble` does, with the training records of the predecessor's manifest.
"""

import json
import sys
from pathlib import Path
from random import Random

import onnx
from onnx import numpy_helper

from export.assemble import Radiographs, assemble
from export.recipes import RESEARCH
from training import options
from training.manifest import of_split, read_manifest
from training.splits import hold_out

DATA = Path("../shared/data")
GATE_COUNT = 200


def to_float(old: Path, new: Path) -> None:
    """The graph without Q/DQ: weights as floats, activations untouched."""
    model = onnx.load(old)
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        if node.input[0] in arrays:  # a weight, one scale for each output channel
            scale = arrays[node.input[1]]
            shaped = scale.reshape(-1, *([1] * (arrays[node.input[0]].ndim - 1))) if scale.ndim else scale
            weight = arrays[node.input[0]].astype("float32") * shaped
            model.graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        else:
            renamed[node.output[0]] = made_by[node.input[0]].input[0]
    kept = [node for node in model.graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    for node in kept:
        for place, name in enumerate(node.input):
            node.input[place] = renamed.get(name, name)
    used = {name for node in kept for name in node.input}
    weights = [item for item in model.graph.initializer if item.name in used]
    for field, parts in (("node", kept), ("initializer", weights)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(parts)
    model.graph.ClearField("value_info")
    onnx.save(model, new)
    onnx.checker.check_model(str(new), full_check=True)


def assemble_again(old_manifest: Path, graphs: Path, out: Path) -> str:
    rows = read_manifest(DATA / "covid.csv", permitted_only=True)
    train, val = of_split(rows, "train"), of_split(rows, "val")
    nih = read_manifest(DATA / "nih.csv", labels=None, permitted_only=True)
    drawn = hold_out(nih, shares=options.HELD_OUT, seed=0)
    gate = [*train, *val, *Random(0).sample([*of_split(drawn, "train"), *of_split(drawn, "val")], GATE_COUNT)]
    old = json.loads(old_manifest.read_text(encoding="utf-8"))
    training = {name: old["training"][name] for name in ("lungs", "members")}
    side = old["network_input_size"]
    return assemble(RESEARCH, graphs, tuple(old["members"]), side, Radiographs(train, val, gate), training, out)


if __name__ == "__main__":
    step, *paths = sys.argv[1], *map(Path, sys.argv[2:])
    print(to_float(*paths) if step == "float" else assemble_again(*paths))
