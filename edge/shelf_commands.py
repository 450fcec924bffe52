"""`edge-cxr bundle install`, `activate`, `rollback`, `list` and `remove`: the bundles of a box. Thin."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from edge import options, shelf_changes
from edge.config import Config, Origins, resolve
from edge.errors import UsageError
from edge.reading_room import open_pipeline
from edge.shelf import ACTIVE, SHORT, place
from edge.shelf_changes import Activated
from edge.shelf_list import Shelved, find_key, find_place, list_shelf
from edge.state import existing_state


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    state = click.option("--state", help="State folder  [./edge-cxr-state].")
    return options.json_output(options.config(state(command)))


@click.command(epilog="Example: edge-cxr bundle install /media/usb/site-2 --state /var/lib/edge-cxr")
@click.argument("folder", type=click.Path(path_type=Path))
@_options
def install(folder: Path, as_json: bool, config: Path | None, state: str | None) -> None:
    """Copy the bundle in FOLDER into the state folder, once all of it verifies. It is not used before `activate`."""
    settings = _origins(config, state).config
    done = shelf_changes.install(folder, existing_state(Path(settings.state)), settings)
    name, key = done.bundle.manifest.name, done.bundle.id[:SHORT]
    if as_json:
        click.echo(json.dumps({"name": name, "id": done.bundle.id, "folder": str(done.folder), "new": done.is_new}))
        return
    told = "is installed" if done.is_new else "was installed before, and is whole"
    click.echo(f"{name} {key} {told}; use it: edge-cxr bundle activate {key}")


@click.command(epilog="Example: edge-cxr bundle activate 3f0c9d21 --config /etc/edge-cxr/edge-cxr.toml")
@click.argument("id_or_name", metavar="ID|NAME")
@_options
def activate(id_or_name: str, as_json: bool, config: Path | None, state: str | None) -> None:
    """Make a bundle the active one, once it gives its known answers; a running daemon changes to it within seconds."""
    origins = _origins(config, state)
    folder = existing_state(Path(origins.config.state))
    key = find_key(folder.root, id_or_name)
    _tell(shelf_changes.activate(key, folder, origins.config, _prover(origins.config)), origins, as_json=as_json)


@click.command(epilog="Example: edge-cxr bundle rollback --config /etc/edge-cxr/edge-cxr.toml")
@_options
def rollback(as_json: bool, config: Path | None, state: str | None) -> None:
    """Make the bundle before the active one active again; once more, the one before that."""
    origins = _origins(config, state)
    folder = existing_state(Path(origins.config.state))
    _tell(shelf_changes.roll_back(folder, origins.config, _prover(origins.config)), origins, as_json=as_json)


@click.command(name="list", epilog="Example: edge-cxr bundle list --state /var/lib/edge-cxr")
@_options
def list_command(as_json: bool, config: Path | None, state: str | None) -> None:
    """Show the bundles of this box, which is active and which were before."""
    settings = _origins(config, state).config
    shelf = list_shelf(Path(settings.state))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in shelf], indent=1))
        return
    table = Table("bundle", "id", "role", "active", "size", "signed by", "installed (UTC)")
    for one in shelf:
        table.add_row(*_row(one))
    Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    _warn_unless_active(_origins(config, state))


@click.command(epilog="Example: edge-cxr bundle remove 3f0c9d21 --state /var/lib/edge-cxr")
@click.argument("id_or_name", metavar="ID|NAME")
@_options
def remove(id_or_name: str, as_json: bool, config: Path | None, state: str | None) -> None:
    """Remove an installed bundle, but for the active one and the one before it. Its results stay."""
    settings = _origins(config, state).config
    folder = existing_state(Path(settings.state))
    key = find_key(folder.root, id_or_name)
    _check_unused(key, folder.root, settings)
    shelf_changes.remove(key, folder)
    click.echo(json.dumps({"removed": key}) if as_json else f"{key} is removed")


def _origins(config: Path | None, state: str | None) -> Origins:
    return resolve({"state": state}, os.environ, config)


def _prover(settings: Config) -> Callable[[str], str]:
    """The known-answer test of a bundle on the configured backend, as at the daemon's start."""

    def prove(name_or_folder: str) -> str:
        with open_pipeline(replace(settings, bundle=name_or_folder)) as pipeline:
            identity = pipeline.engine.identity
            return f"{identity.backend} {identity.precision}"

    return prove


def _tell(done: Activated, origins: Origins, *, as_json: bool) -> None:
    name = done.bundle.manifest.name
    if as_json:
        told = {"active": done.key, "name": name, "id": done.bundle.id, "before": done.before, "proof": done.proof}
        click.echo(json.dumps({**told, "used": origins.config.bundle == ACTIVE}))
    else:
        click.echo(f"{name} {done.bundle.id[:SHORT]} is active; it gave its known answers on {done.proof}")
    _warn_unless_active(origins)


def _warn_unless_active(origins: Origins) -> None:
    if origins.config.bundle != ACTIVE:
        click.echo(
            f"the setting bundle ({origins.origin['bundle']}) is {origins.config.bundle!r}: which one is active "
            f'changes nothing until it says bundle = "{ACTIVE}"',
            err=True,
        )


def _check_unused(key: str, state: Path, settings: Config) -> None:
    """Raises UsageError when a setting names the folder."""
    if settings.bundle != ACTIVE and Path(settings.bundle).resolve() == Path(place(state, key)).resolve():
        raise UsageError(f"the setting bundle names {key}; change it first")
    try:
        shadow = find_place(state, settings.shadow) if settings.shadow else ""
    except UsageError:  # it names none of this shelf, or may be any of several
        shadow = ""
    if shadow and Path(shadow).resolve() == Path(place(state, key)).resolve():
        raise UsageError(f"the setting shadow names {key}; change it first")


def _row(one: Shelved) -> list[str]:
    active = "active" if one.active else "" if one.before is None else f"{one.before} before"
    installed = "with the program" if one.installed_s is None else _told(one.installed_s)
    name = one.name if one.fault is None else f"damaged: {one.fault}"
    return [name or "", one.id[:SHORT], one.role or "", active, f"{one.size_bytes / 1e6:.1f} MB",
            one.signed_by or "", installed]  # fmt: skip


def _told(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_s))
