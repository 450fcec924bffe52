"""`edge-cxr bundle`: keys, signatures, and what a bundle holds. Thin; errors become exit codes in cli.py.

Which bundles a box has is in shelf_commands.py.
"""

import json
import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge import options, shadow_commands, shelf_commands
from edge.bundle import PACKAGED_IDS, Bundle, open_bundle, sign_bundle
from edge.config import resolve
from edge.errors import BundleError
from edge.lazy_commands import LazyGroup
from edge.signature import PUBLIC_SUFFIX, load_key, make_key

# Loaded only when called: the box has no torch.
LAZY = {
    "assemble": ("export.bundle_cli", "assemble_command", "Make a bundle of graphs that were exported and calibrated."),
    "gate": ("export.gate_cli", "gate_command", "Fit what keeps a bundle from scoring what is no frontal chest."),
    "finish": ("export.bundle_cli", "finish_command", "Put figures and the model card into an assembled bundle."),
}


@click.group(cls=LazyGroup, lazy=LAZY)
def bundle() -> None:
    """Make model bundles, look at them, sign them, and choose which one the box uses."""


for _command in (
    shelf_commands.install,
    shelf_commands.activate,
    shelf_commands.rollback,
    shelf_commands.list_command,
    shelf_commands.remove,
    shadow_commands.compare_command,
):
    bundle.add_command(_command)


@bundle.command(epilog="Example: edge-cxr bundle keygen /secure/site.key")
@click.argument("out", type=click.Path(path_type=Path))
@options.json_output
def keygen(out: Path, as_json: bool) -> None:
    """Make an Ed25519 key: OUT is private, OUT.pub goes into trusted_keys. Neither is ever overwritten."""
    public_key = make_key(out)
    told = {"private_key": str(out), "public_key_file": f"{out}{PUBLIC_SUFFIX}", "public_key": public_key}
    click.echo(json.dumps(told) if as_json else f'trusted_keys = ["{public_key}"]')
    click.echo(f"{out} signs bundles: keep it away from the box and give it to nobody", err=True)


@bundle.command(epilog="Example: edge-cxr bundle sign study/bundle --key /secure/site.key")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--key", "key_file", type=click.Path(path_type=Path), required=True, help="Private key of `keygen`.")
@options.json_output
def sign(folder: Path, key_file: Path, as_json: bool) -> None:
    """Sign the bundle in FOLDER once all of it verifies; an earlier signature is replaced."""
    signed = sign_bundle(folder, load_key(key_file))
    told = {"name": signed.manifest.name, "id": signed.id, "signed_by": signed.signed_by}
    click.echo(json.dumps(told) if as_json else "{name}: id {id}, signed by {signed_by}".format(**told))


@bundle.command(epilog="Example: edge-cxr bundle verify research")
@click.argument("name_or_folder")
@options.config
@options.json_output
def verify(name_or_folder: str, config: Path | None, as_json: bool) -> None:
    """Check a bundle's signature, every file and every part, as the box would; exit 1 when the box would refuse it."""
    trusted_keys = _trusted_keys(config)
    try:
        opened = open_bundle(name_or_folder, trusted_keys=trusted_keys)
    except BundleError as refusal:  # elsewhere a wrong setting, here the answer
        click.echo(f"edge-cxr: {refusal}", err=True)
        raise SystemExit(1) from None
    manifest = opened.manifest
    sizes = {name: len(content) for name, content in sorted(opened.files.items())}
    if as_json:
        trusted = name_or_folder in PACKAGED_IDS or bool(trusted_keys)
        told = {"name": manifest.name, "id": opened.id, "signed_by": opened.signed_by, "trusted": trusted}
        click.echo(json.dumps({**told, "files": sizes}))
        return
    click.echo(f"{manifest.name}: {len(sizes)} files match; id {opened.id}")
    click.echo(_origin(name_or_folder, opened, trusted_keys))
    for name, size_bytes in sizes.items():
        click.echo(f"{size_bytes:>12}  {name}")


@bundle.command(epilog="Example: edge-cxr bundle show research")
@click.argument("name_or_folder")
@options.config
@options.json_output
def show(name_or_folder: str, config: Path | None, as_json: bool) -> None:
    """Print what a bundle is: role, members, precisions and what is known of them, figures, size."""
    trusted_keys = _trusted_keys(config)
    opened = open_bundle(name_or_folder, trusted_keys=trusted_keys)
    if as_json:
        click.echo(json.dumps(_figures(opened), indent=1))
        return
    manifest = opened.manifest
    click.echo(f"{manifest.name} ({manifest.role}), {_megabytes(_size_bytes(opened))}, id {opened.id}")
    click.echo(_origin(name_or_folder, opened, trusted_keys))
    click.echo(f"members {', '.join(manifest.members)}; the embedding is from {manifest.embedding_member}")
    console = Console(markup=False, highlight=False)
    console.print(_precision_table(opened))
    if manifest.metrics:
        console.print(_metric_table(opened))
    click.echo(manifest.intended_use)


def _trusted_keys(config: Path | None) -> tuple[str, ...]:
    return resolve({}, os.environ, config).config.trusted_keys


def _origin(name_or_folder: str, opened: Bundle, trusted_keys: tuple[str, ...]) -> str:
    if name_or_folder in PACKAGED_IDS:
        return "part of edge-cxr, known by its id"
    if opened.signed_by is None:
        return "not signed; anybody may have made it"
    if not trusted_keys:
        return f"signed by {opened.signed_by}, which may be anybody: no trusted_keys are configured"
    return f"signed by {opened.signed_by}, a trusted key"


def _figures(opened: Bundle) -> dict[str, Any]:
    manifest = opened.manifest
    precisions = {
        precision: {
            "operating_point": manifest.operating_points.get(precision),
            "temperature": manifest.temperatures.get(precision),
            "accuracy": manifest.accuracy.get(precision),
            "bytes": len(opened.model_bytes(precision)),
        }
        for precision in manifest.precisions
    }
    return {
        "name": manifest.name,
        "role": manifest.role,
        "id": opened.id,
        "signed_by": opened.signed_by,
        "labels": manifest.labels,
        "members": manifest.members,
        "embedding_member": manifest.embedding_member,
        "precisions": precisions,
        "metrics": manifest.metrics,
        "bytes": _size_bytes(opened),
        "intended_use": manifest.intended_use,
    }


def _precision_table(opened: Bundle) -> Table:
    table = Table("precision", "operating point", "temperature", "accuracy", "size")
    for precision, known in _figures(opened)["precisions"].items():
        numbers = ["none" if number is None else f"{number:.3f}"
                   for number in (known["operating_point"], known["temperature"])]  # fmt: skip
        table.add_row(precision, *numbers, _accuracy(known["accuracy"]), _megabytes(known["bytes"]))
    return table


def _accuracy(outcome: dict[str, Any] | None) -> str:
    if outcome is None:
        return "not measured"
    return "passed" if outcome["passed"] else "\n".join(["failed", *outcome["failures"]])


def _metric_table(opened: Bundle) -> Table:
    """The figures that every split has where it has both labels; --json tells all of them."""
    table = Table("split", "AUC (95% interval)", "covid", "other")
    for split, figures in opened.manifest.metrics.items():
        interval = "one label only"
        if figures.keys() >= {"auc", "auc_low", "auc_high"}:
            interval = "{auc:.3f} ({auc_low:.3f} to {auc_high:.3f})".format(**figures)
        table.add_row(split, interval, str(figures.get("n_covid", "")), str(figures.get("n_other", "")))
    return table


def _size_bytes(opened: Bundle) -> int:
    return sum(map(len, opened.files.values()))


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
