"""`edge-cxr export`: trained weights to graphs, and how far their answers lie from the network's. Thin."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from export.fused import Fused
from export.graph import OPSET, write_graph
from export.half import in_half
from export.parity import compare, phantom_inputs
from export.proof import ask_openvino, ask_torch, table
from training import options
from training.model import load_classifier, load_lungs, require_pair
from training.progress import bar

PHANTOMS = 8  # at most MAX_BATCH


@click.command(epilog="Example: edge-cxr export --lungs work/lungs/best --member work/chest/best --out work/graphs")
@click.option("--lungs", type=options.CHECKPOINT, required=True, help="Lung checkpoint.")
@click.option(
    "--member", "members", type=options.CHECKPOINT, multiple=True, required=True, help="Classifier checkpoint."
)
@click.option("--out", type=options.FOLDER, required=True, help="Folder for model.fp32.onnx and model.fp16.onnx.")
@options.framing
def export(lungs: Path, members: tuple[Path, ...], out: Path, framing: str) -> None:
    """Write lung U-Net and members as one ONNX graph, in fp32 and in fp16; the first member gives the embedding.

    Both graphs are then asked about phantoms, and how far they lie from the trained network is printed.
    """
    fused = _fused(lungs, members)
    graphs = {"fp32": fused, "fp16": in_half(fused)}
    for precision, network in bar(graphs.items(), "export", total=len(graphs)):
        write_graph(network, out / f"model.{precision}.onnx")
    inputs = phantom_inputs(framing, PHANTOMS)
    exact = ask_torch(fused, inputs)
    found = []
    for precision in bar(graphs, "parity", total=len(graphs)):
        asked = ask_openvino(out / f"model.{precision}.onnx", [inputs])  # in one batch: it must know more than one
        found.append((f"OpenVINO {precision}", compare(exact, asked)))
    click.echo(table(found), err=True)
    bytes_of = {precision: (out / f"model.{precision}.onnx").stat().st_size for precision in graphs}
    parity = {name: asdict(each) for name, each in found}
    click.echo(json.dumps({"graphs": str(out), "opset": OPSET, "bytes": bytes_of, "parity": parity}))


def _fused(lungs: Path, members: tuple[Path, ...]) -> Fused:
    for member in members:
        require_pair(lungs, member)
    loaded = [load_classifier(member) for member in members]
    inputs = {(architecture.side, architecture.lung_crop) for _, architecture in loaded}
    if len(inputs) > 1:
        told = ", ".join(f"{side} pixels{' of the lungs alone' if crop else ''}" for side, crop in sorted(inputs))
        raise click.UsageError(f"the members read {told}; one graph needs one input")
    ((side, lung_crop),) = inputs
    return Fused(load_lungs(lungs), [network for network, _ in loaded], side=side, lung_crop=lung_crop)


if __name__ == "__main__":
    export()
