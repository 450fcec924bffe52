"""`edge-cxr config`: what the settings are and where each comes from, and whether a file would be taken.

Thin; errors become exit codes in cli.py.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from edge import options
from edge.config import NEEDS_RESTART, Origins, file_to_read, resolve
from edge.errors import UsageError
from edge.http import parse_listen


@click.group(name="config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command()
@options.config
@options.json_output
def show(config: Path | None, as_json: bool) -> None:
    """Print every setting, where it comes from, and when a change of it counts: from a reload or from a restart on.

    Example: edge-cxr config show --config /etc/edge-cxr/edge-cxr.toml
    """
    origins = resolve({}, os.environ, config)
    if as_json:
        click.echo(json.dumps(_told(origins), indent=1))
    else:
        _print(origins)


@config_group.command()
@click.argument("file", required=False)
@options.json_output
def check(file: str | None, as_json: bool) -> None:
    """Check a configuration file, alone; exit 2 when a key or value is wrong. Without FILE: the one that is read.

    Example: edge-cxr config check /etc/edge-cxr/edge-cxr.toml
    """
    named = file_to_read(file, os.environ)
    if named is None:
        raise UsageError("no configuration file is read here; name one: edge-cxr config check FILE")
    # Without the environment: it would hide what the file has wrong.
    config = resolve({}, {}, named).config
    if config.listen:
        parse_listen(config.listen)
    told = {"file": str(named), "valid": True}
    click.echo(json.dumps(told) if as_json else f"{named}: every key is known and every value fits")


def _told(origins: Origins) -> dict[str, dict[str, object]]:
    return {
        key: {"value": value, "from": origins.origin[key], "source": origins.source(key), "counts": _counts(key)}
        for key, value in asdict(origins.config).items()
    }


def _counts(key: str) -> str:
    return "restart" if key in NEEDS_RESTART else "reload"


def _print(origins: Origins) -> None:
    table = Table("key", "value", "from", "a change counts from")
    for key, told in _told(origins).items():
        variable = told["source"] if told["from"] == "environment" else None
        table.add_row(key, str(told["value"]), str(variable or told["from"]), f"a {told['counts']} on")
    # No markup: keys hold brackets.
    Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160).print(table)
    click.echo(f"file: {origins.file or 'none is read'}")
