"""Where int8 residual adds are quantised, and what it costs: three placements of Q/DQ, side by side on OpenVINO.

python -m benchmarks.residual_adds --output benchmarks/results/residual-adds.json

  shared      as calib.quantise places them: an identity shortcut reads what the next convolution reads, dequantised
  float       identity shortcuts read the floating point value instead
  downsample  as shared, and the shortcut convolutions' outputs are quantised before they are added
The network is ResNet50 and the U-Net at 1024 pixels, untrained: its ranges are of the right size, and speed is all.
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnx.numpy_helper import from_array

from benchmarks.machine import describe_machine
from benchmarks.subject import untrained
from edge.engines.opening import open_openvino
from export.loose_graphs import bundle_of
from training.model import ClassifierArchitecture, LungArchitecture

RUNS = 40
_STEP = np.float32(0.05)  # of the quantised shortcut outputs: any will do for speed


def with_float_shortcuts(model: onnx.ModelProto) -> int:
    """Rewire in place; how many adds changed."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    count = 0
    for node in model.graph.node:
        for place, name in enumerate(node.input if node.op_type == "Add" else ()):
            maker = made_by.get(name)
            if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in made_by:
                node.input[place] = made_by[maker.input[0]].input[0]
                count += 1
    return count


def with_quantised_downsampling(model: onnx.ModelProto) -> int:
    """Quantise the second convolution of an add of two; how many adds changed."""
    made_by = {output: node for node in model.graph.node for output in node.output}
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    model.graph.initializer.extend(
        [from_array(np.array(_STEP), "shortcut.step"), from_array(np.array(0, np.int8), "shortcut.zero")]
    )
    nodes, count = [], 0
    for node in model.graph.node:
        convolutions = [name in made_by and made_by[name].op_type == "Conv" for name in node.input]
        if node.op_type == "Add" and all(convolutions):
            shortcut, constants = node.input[1], ["shortcut.step", "shortcut.zero"]
            nodes.append(helper.make_node("QuantizeLinear", [shortcut, *constants], [f"{shortcut}.q"]))
            nodes.append(helper.make_node("DequantizeLinear", [f"{shortcut}.q", *constants], [f"{shortcut}.dq"]))
            node.input[1] = f"{shortcut}.dq"
            count += 1
        nodes.append(node)
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        member = ClassifierArchitecture("resnet50", "resnet50", side=1024)
        subject = untrained((member,), LungArchitecture(), "untrained ResNet50 at 1024 pixels", folder)
        engines, adds = {}, {}
        for name, change in {
            "shared": lambda model: 0,
            "float": with_float_shortcuts,
            "downsample": with_quantised_downsampling,
        }.items():
            model = onnx.load(subject.graph("int8"))
            adds[name] = change(model)
            onnx.checker.check_model(model, full_check=True)
            (folder / name).mkdir()
            onnx.save(model, folder / name / "model.int8.onnx")
            engines[name] = open_openvino(bundle_of(folder / name, ("int8",), name=name, members=("resnet50",)), "int8")
        pixels = subject.inputs(4)
        spent: dict[str, list[float]] = {name: [] for name in engines}
        for run in range(RUNS + 3):
            for name, engine in engines.items():  # in turn, so that all meet the same disturbances
                started = time.perf_counter()
                engine.infer(pixels[run % 4][None])
                spent[name].append(time.perf_counter() - started)
    medians = {name: float(np.median(times[3:])) for name, times in spent.items()}
    told = {
        **describe_machine("python -m benchmarks.residual_adds"),
        "network": subject.name,
        "runs": RUNS,
        "adds_changed": adds,
        "median_s": medians,
        "times_as_fast_as_shared": {name: medians["shared"] / median for name, median in medians.items()},
    }
    arguments.output.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: told[key] for key in ("adds_changed", "median_s", "times_as_fast_as_shared")}, indent=1))


if __name__ == "__main__":
    main()
