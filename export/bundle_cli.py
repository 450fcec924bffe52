"""`edge-cxr bundle assemble` and `finish`: graphs, radiographs and figures to a bundle folder. Thin."""

import json
from pathlib import Path
from random import Random
from typing import Any

import click

from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from export.assemble import Radiographs, amend, assemble
from export.bundle_writer import read_content
from export.card import render_card
from export.recipes import RECIPES
from training import options
from training.manifest import of_split, read_manifest, require_split
from training.model import read_record, require_pair, require_preprocessing
from training.splits import hold_out


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
    click.Group(commands=[assemble_command, finish_command])()
