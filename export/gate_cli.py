"""`edge-cxr bundle gate`: a bundle that refuses what is no frontal chest. Thin."""

import json
from pathlib import Path

import click

from edge.bundle import PACKAGED_FOLDER, open_bundle
from edge.errors import UsageError
from export.add_gate import add_gate, groups_to_judge, rows_to_learn
from export.bundle_writer import read_content
from export.gate_pictures import pictures_of
from training import options

EPILOG = "Example: edge-cxr bundle gate bundle --manifest chest.csv --evaluate chest.csv --evaluate odd.csv"


@click.command(name="gate", epilog=EPILOG)
@click.argument("folder", type=options.FOLDER)
@click.option("--manifest", "manifests", type=options.FILE, multiple=True, required=True,
              help="Frontal radiographs to let pass: its train and val rows, repeatable.")  # fmt: skip
@click.option("--evaluate", "judged", type=options.FILE, multiple=True, help="Judged for the model card, repeatable: "
              "test splits and the split not_frontal, or every file of a list with the column path.")  # fmt: skip
@click.option("--out", type=options.FOLDER, help="Another folder for the bundle with its gate  [the same].")
@options.permitted_only
@options.seed
def gate_command(
    folder: Path, manifests: tuple[Path, ...], judged: tuple[Path, ...], out: Path | None, permitted_only: bool,
    seed: int,
) -> None:  # fmt: skip
    """Fit the gate of a bundle that is complete: pictures that are no frontal chest are not scored.

    Limits are set so that at most two in a hundred of the frontal radiographs given are refused, each judged by a rule
    that has not seen its patient. The bundle gets a new id, and must be signed again.
    """
    if out is None and PACKAGED_FOLDER.resolve() in folder.resolve().parents:
        raise UsageError(f"{folder} is a packaged bundle, known by its id; name another folder with --out")
    bundle = open_bundle(str(folder))
    groups = {}
    for manifest in judged:
        groups |= groups_to_judge(manifest, permitted_only=permitted_only, seed=seed)
    rows = [row for manifest in manifests for row in rows_to_learn(manifest, permitted_only=permitted_only, seed=seed)]
    pictures = pictures_of(bundle, read_content(folder).training["default_precision"], rows)
    identity = add_gate(folder, pictures, groups, out=out or folder)
    click.echo(json.dumps({"bundle": bundle.manifest.name, "id": identity}))


if __name__ == "__main__":
    gate_command()
