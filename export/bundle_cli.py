"""`edge-cxr bundle assemble` and `finish`: graphs, radiographs and figures to a bundle folder. Thin.

`edge-cxr bundle gate` is in gate_cli.py.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import click

from edge.bundle import PACKAGED_IDS, read_bundle
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from edge.values import PRECISIONS
from export.add_gate import LEAST_RADIOGRAPHS, add_gate
from export.assemble import Radiographs, amend, assemble, gate_outcomes
from export.bundle_writer import read_content
from export.card import render_card
from export.gate_cli import gate_command
from export.gate_pictures import pictures_of
from export.recipes import RECIPES, Recipe, site_recipe
from training import options
from training.manifest import of_split, read_manifest, require_split
from training.model import read_record, require_pair, require_preprocessing
from training.row import Row
from training.splits import hold_out

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
ASSEMBLE_EPILOG = (
    "Example: edge-cxr bundle assemble --name ward-3 --graphs graphs --lungs work/lungs/best "
    "--member work/chest/best --manifest chest.csv --out bundle"
)
FINISH_EPILOG = "Example: edge-cxr bundle finish bundle --metrics metrics.json"


@click.command(name="assemble", epilog=ASSEMBLE_EPILOG)
@click.option("--name", help="What a site calls its own bundle: small letters, digits and hyphens.")
@click.option("--recipe", type=click.Choice(sorted(RECIPES)), help="Instead of --name: a packaged bundle.")
@click.option("--graphs", type=options.FOLDER, required=True, help="Folder that `export` and `calibrate` filled.")
@click.option("--lungs", type=options.CHECKPOINT, required=True, help="Lung checkpoint that the graphs hold.")
@click.option("--member", "member_paths", type=options.CHECKPOINT, multiple=True, required=True,
              help="Classifier checkpoints that the graphs hold, in the order of `export`.")  # fmt: skip
@click.option("--manifest", type=options.FILE, required=True, help="Reference set: train rows. Operating point: val.")
@click.option("--gate-manifest", "gates", type=options.FILE, multiple=True, help="More frontal radiographs, for the "
              "limits on the lung fraction.")  # fmt: skip
@click.option("--gate-count", type=int, default=250, show_default=True, help="Radiographs from each of those.")
@click.option("--licence", default="not stated", show_default=True, help="Of a site's bundle, for its model card.")
@click.option("--credit", "credits", multiple=True, help="Whom a site's bundle owes credit, for its model card.")
@click.option("--thumbnails", is_flag=True, help="Put small pictures of the reference cases into a site's bundle, for "
              "`similar --sheet`. It is patient data then: keep it where it is.")  # fmt: skip
@click.option("--out", type=options.FOLDER, required=True, help="Bundle folder to write.")
@options.labels
@options.framing
@options.permitted_only
@options.seed
def assemble_command(
    name: str | None, recipe: str | None, graphs: Path, lungs: Path, member_paths: tuple[Path, ...], manifest: Path,
    gates: tuple[Path, ...], gate_count: int, licence: str, credits: tuple[str, ...],
    thumbnails: bool, out: Path, labels: tuple[str, str], framing: str, permitted_only: bool, seed: int,
) -> None:  # fmt: skip
    """Make a bundle: graphs, reference cases, limits, operating points and golden cases.

    A site's bundle holds every precision that passed the accuracy gate. `finish` adds its figures.
    """
    chosen = _site(name, graphs, framing, labels, licence, credits) if recipe is None else RECIPES[recipe]
    if recipe is not None and name is not None:
        raise click.UsageError("--recipe names a packaged bundle, --name a site's own: give one of them")
    if recipe is not None and thumbnails:
        raise click.UsageError("a packaged bundle goes to other sites and holds no pictures: leave out --thumbnails")
    for member in member_paths:
        require_preprocessing(member, Preprocessing(framing=chosen.framing).digest)
        require_pair(lungs, member)
    rows = hold_out(
        read_manifest(manifest, labels=chosen.labels, permitted_only=permitted_only), shares=options.HELD_OUT, seed=seed
    )
    reference, validation = require_split(manifest, rows, "train"), of_split(rows, "val")
    if chosen.decides and len({row.label for row in validation}) < 2:
        raise UsageError(f"{manifest.name} needs val rows of both labels: the operating point is set on them")
    gate = [*reference, *validation]
    for more in gates:
        gate += _some(more, gate_count, permitted_only=permitted_only, seed=seed)
    records = {}
    for member in member_paths:
        record = read_record(member)
        records[record["architecture"]["name"]] = record
    if len(records) < len(member_paths):
        raise click.UsageError(f"two members are called {max(records)}; each needs a name of its own")
    side = next(iter(records.values()))["architecture"]["side"]
    training = {"lungs": read_record(lungs), "members": records}
    radiographs = Radiographs(reference, validation, gate, thumbnails)
    identity = assemble(chosen, graphs, tuple(records), side, radiographs, training, out)
    if len(gate) >= LEAST_RADIOGRAPHS:
        pictures = pictures_of(read_bundle(out), chosen.default_precision, gate)
        identity = add_gate(out, pictures, {}, out=out)
    else:
        click.echo(f"{len(gate)} radiographs are too few for a gate by what a picture looks like; with "
                   f"{LEAST_RADIOGRAPHS}, run: edge-cxr bundle gate {out}", err=True)  # fmt: skip
    click.echo(json.dumps({"bundle": chosen.name, "id": identity, "precisions": chosen.precisions}))


def _site(
    name: str | None, graphs: Path, framing: str, labels: tuple[str, str], licence: str, credits: tuple[str, ...]
) -> Recipe:
    if name is None or not _NAME.fullmatch(name) or name in PACKAGED_IDS:
        raise click.UsageError(f"a site's bundle needs a --name of small letters, digits and hyphens, other than "
                               f"{' and '.join(PACKAGED_IDS)}; it is {name!r}")  # fmt: skip
    outcomes = gate_outcomes(graphs)
    passed = tuple(precision for precision in PRECISIONS if outcomes.get(precision, {}).get("passed"))
    if not passed:
        raise UsageError(f"{graphs} holds no outcome of the accuracy gate; run: edge-cxr calibrate --graphs {graphs}")
    for precision in outcomes.keys() - {*passed}:
        click.echo(f"{precision} is left out: {'; '.join(outcomes[precision]['failures'])}", err=True)
    return site_recipe(name, framing, passed, labels=labels, licence=licence, credits=credits)


def _some(manifest: Path, count: int, *, permitted_only: bool, seed: int) -> Sequence[Row]:
    rows = hold_out(
        read_manifest(manifest, labels=None, permitted_only=permitted_only), shares=options.HELD_OUT, seed=seed
    )
    allowed = [*of_split(rows, "train"), *of_split(rows, "val")]
    return Random(seed).sample(allowed, min(count, len(allowed)))


@click.command(name="finish", epilog=FINISH_EPILOG)
@click.argument("folder", type=options.FOLDER)
@click.option("--metrics", "metrics_files", type=options.FILE, multiple=True, help="Printed by `edge-cxr evaluate`.")
@click.option("--dice", type=options.FILE, help="Printed by `edge-cxr evaluate --lung-masks`.")
@click.option("--pretraining", type=options.FILE, help="figures.json of the study that the first member began from.")
@click.option("--commands", type=options.FILE, help="The commands that made the bundle, one a line.")
def finish_command(
    folder: Path, metrics_files: tuple[Path, ...], dice: Path | None, pretraining: Path | None, commands: Path | None
) -> None:
    """Put figures and model card into an assembled bundle."""
    metrics: dict[str, Any] = {}
    for file in metrics_files:
        metrics |= json.loads(file.read_text())
    content = read_content(folder)
    training: dict[str, Any] = {}
    if dice is not None:
        training["lung_dice"] = json.loads(dice.read_text())
    if commands is not None:
        training["commands"] = commands.read_text().splitlines()
    if pretraining is not None:
        training["pretraining"] = json.loads(pretraining.read_text())[content.members[0]]
    card = render_card(content, metrics, {**content.training, **training})
    click.echo(json.dumps({"bundle": content.name, "id": amend(folder, metrics, training, card)}))


if __name__ == "__main__":
    click.Group(commands=[assemble_command, gate_command, finish_command])()
