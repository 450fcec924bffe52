"""`edge-cxr index`: check the index of earlier cases, or build it anew. Thin; errors become exit codes in cli.py."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from edge import index_file, options
from edge.bundle import PACKAGED_IDS, Bundle
from edge.case_index import EarlierCases
from edge.config import Config, resolve
from edge.index_check import IndexCheck, check_index
from edge.ledger_reader import LedgerReader
from edge.shelf import open_configured
from edge.state import existing_ledger, existing_state


@click.group()
def index() -> None:
    """Check the index of earlier cases against the ledger, or build it anew."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        options.json_output,
        options.config,
        click.option("--bundle", help=f"The bundle whose cases: {', '.join(PACKAGED_IDS)}, or a folder  [research]."),
        click.option("--state", help="State folder that holds the ledger and the index  [./edge-cxr-state]."),
    ):
        command = option(command)
    return command


@index.command(epilog="Example: edge-cxr index verify --state /var/lib/edge-cxr --bundle research")
@_options
def verify(as_json: bool, config: Path | None, **given: Any) -> None:
    """Compare the index file with the ledger, number by number; exit 1 when it should be built anew."""
    settings = resolve(given, os.environ, config).config
    path = existing_ledger(Path(settings.state))
    with LedgerReader(path) as ledger, _bar("verify") as bar:
        check = check_index(path.parent / index_file.FOLDER, ledger, _bundle(settings).id, on_page=bar)
    faults = check.faults
    if as_json:
        click.echo(json.dumps({**asdict(check), "digest_ok": True, "agrees": not faults, "faults": faults}))
    else:
        click.echo(f"{check.file}: digest ok, bundle {check.bundle_id[:12]}")
        Console(highlight=False).print(_table(check))
    if faults:
        click.echo(
            f"edge-cxr: the index should be built anew: {'; '.join(faults)}. Run edge-cxr index rebuild", err=True
        )
        raise SystemExit(1)


@index.command(epilog="Example: edge-cxr index rebuild --state /var/lib/edge-cxr --bundle research")
@_options
def rebuild(as_json: bool, config: Path | None, **given: Any) -> None:
    """Build the index anew from the embeddings in the ledger. A daemon that runs uses it from its next start."""
    settings = resolve(given, os.environ, config).config
    bundle, state = _bundle(settings), existing_state(Path(settings.state))
    with LedgerReader(state.ledger) as ledger, _bar("rebuild") as bar:
        size = bundle.reference().embeddings.shape[1]
        earlier = EarlierCases(state.index, ledger, bundle.id, size=size)
        earlier.complete(threading.Event(), on_page=bar)
        while not earlier.save():  # a case was forgotten meanwhile: once more, without it
            earlier.complete(threading.Event(), on_page=bar)
    path = index_file.path_of(state.index, bundle.id)
    told = {"file": path.name, "bundle_id": bundle.id, "cases": len(earlier), "bytes": path.stat().st_size}
    click.echo(json.dumps(told) if as_json else "{file}: {cases} cases, {bytes} bytes".format(**told))


def _bundle(settings: Config) -> Bundle:
    return open_configured(settings)


@contextlib.contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Progress over the ledger's numbers, on stderr and only on a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda last_number, of: progress.update(task, completed=last_number, total=of)


def _table(check: IndexCheck) -> Table:
    table = Table("what", "count")
    for name, value in asdict(check).items():
        if name not in ("file", "bundle_id"):
            table.add_row(name.replace("_", " "), str(value))
    return table
