"""`edge-cxr export`: weights to an fp32 graph; `assemble` and `finish` make the packaged bundles. Thin."""

import json
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import click

from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from export.assemble import Radiographs, amend, assemble
from export.bundle_writer import read_content
from export.card import render_card
from export.fused import Fused
from export.graph import OPSET, write_graph
from export.half import in_half
from export.parity import compare, phantom_inputs
from export.proof import ask_openvino, ask_torch, table
from export.recipes import RECIPES
from training import options
from training.manifest import of_split, read_manifest, require_split
from training.model import load_classifier, load_lungs, read_record, require_pair, require_preprocessing
from training.progress import bar
from training.splits import hold_out

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


@click.command(name="assemble")
@click.option("--recipe", type=click.Choice(sorted(RECIPES)), required=True, help="Which packaged bundle.")
@click.option("--graphs", type=options.FOLDER, required=True, help="Folder with model.<precision>.onnx.")
@click.option("--lungs", type=options.CHECKPOINT, required=True, help="Lung checkpoint that the graphs hold.")
@click.option("--member", type=options.CHECKPOINT, required=True, help="Classifier checkpoint that the graphs hold.")
@click.option("--manifest", type=options.FILE, required=True, help="Reference set: train rows. Operating point: val.")
@click.option(
    "--gate-manifest", "gates", type=options.FILE, multiple=True, help="More frontal radiographs for the gate."
)
@click.option("--gate-count", type=int, default=250, show_default=True, help="Radiographs from each of those.")
@click.option("--out", type=options.FOLDER, required=True, help="Bundle folder to write.")
@options.permitted_only
@options.seed
def assemble_command(
    recipe: str, graphs: Path, lungs: Path, member: Path, manifest: Path, gates: tuple[Path, ...], gate_count: int,
    out: Path, permitted_only: bool, seed: int,
) -> None:  # fmt: skip
    """Graphs and radiographs to a bundle folder, all but its figures."""
    chosen = RECIPES[recipe]
    require_preprocessing(member, Preprocessing(framing=chosen.framing).digest)
    require_pair(lungs, member)
    rows = hold_out(read_manifest(manifest, permitted_only=permitted_only), shares=options.HELD_OUT, seed=seed)
    reference, validation = require_split(manifest, rows, "train"), of_split(rows, "val")
    if chosen.calibrated and len({row.label for row in validation}) < 2:
        raise UsageError(f"{manifest.name} needs val rows of both labels: the operating point is set on them")
    gate = [*reference, *validation]
    for more in gates:
        drawn = read_manifest(more, labels=None, permitted_only=permitted_only)
        drawn = hold_out(drawn, shares=options.HELD_OUT, seed=seed)
        allowed = [*of_split(drawn, "train"), *of_split(drawn, "val")]
        gate += Random(seed).sample(allowed, min(gate_count, len(allowed)))
    radiographs = Radiographs(reference, validation, gate)
    record = read_record(member)
    architecture = record["architecture"]
    training = {"lungs": read_record(lungs), "members": {architecture["name"]: record}}
    members = (architecture["name"],)
    identity = assemble(chosen, graphs, members, architecture["side"], radiographs, training, out)
    click.echo(json.dumps({"bundle": recipe, "id": identity}))


@click.command(name="finish")
@click.argument("folder", type=options.FOLDER)
@click.option("--metrics", "metrics_files", type=options.FILE, multiple=True, help="Printed by `edge-cxr evaluate`.")
@click.option("--dice", type=options.FILE, required=True, help="Printed by `edge-cxr evaluate --lung-masks`.")
@click.option("--pretraining", type=options.FILE, help="figures.json of the study that the member began from.")
@click.option("--commands", type=options.FILE, required=True, help="The commands that made the bundle, one a line.")
def finish_command(
    folder: Path, metrics_files: tuple[Path, ...], dice: Path, pretraining: Path | None, commands: Path
) -> None:
    """Put figures and model card into an assembled bundle."""
    metrics: dict[str, Any] = {}
    for file in metrics_files:
        metrics |= json.loads(file.read_text())
    training = {
        "lung_dice": json.loads(dice.read_text()),
        "commands": commands.read_text().splitlines(),
    }
    content = read_content(folder)
    if pretraining is not None:
        training["pretraining"] = json.loads(pretraining.read_text())[content.members[0]]
    card = render_card(content, metrics, {**content.training, **training})
    click.echo(json.dumps({"bundle": content.name, "id": amend(folder, metrics, training, card)}))


if __name__ == "__main__":
    click.Group(commands=[export, assemble_command, finish_command])()
