"""`edge-cxr requeue`, `forget`, `retain`, `backup`, `restore`: what an operator does to cases. Thin, as cli.py."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edge import backup as backups
from edge import forget as forgetting
from edge import options, retention
from edge import requeue as requeueing
from edge.audit import Event, operator
from edge.config import Config, resolve
from edge.errors import UsageError
from edge.state import StateFolder, existing_state
from edge.upkeep import Upkeep


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    state = click.option("--state", help="State folder that holds the ledger  [./edge-cxr-state].")
    return options.json_output(options.config(state(command)))


@click.command(epilog="Example: edge-cxr requeue --reason unsupported_syntax --state /var/lib/edge-cxr")
@click.argument("case_ids", nargs=-1, metavar="[CASE_ID]...")
@click.option("--reason", "reasons", multiple=True, metavar="CODE", help="Cases refused for this reason; repeatable.")
@click.option("--bundle-id", metavar="PREFIX", help="Cases whose last result is by the bundle whose id begins so.")
@_options
def requeue(
    case_ids: tuple[str, ...],
    reasons: tuple[str, ...],
    bundle_id: str | None,
    as_json: bool,
    config: Path | None,
    state: str | None,
) -> None:
    """Have cases judged again: the ones named, and those that fit --reason and --bundle-id.

    The running daemon takes them by itself; until then each keeps its result.
    """
    with _opened(_settings(config, state)) as (folder, ledger):
        cases = requeueing.choose(ledger, case_ids, reasons=reasons, bundle_prefix=bundle_id)
        asked = requeueing.requeue(cases, folder, ledger)
    if as_json:
        click.echo(json.dumps(asdict(asked)))
        return
    click.echo(f"{asked.cases} case(s) will be judged again: {asked.moved} from the state folder")
    if asked.awaited:
        click.echo(f"{asked.awaited} when found in the incoming folder, or sent again: the box has no file of them")


@click.command(epilog="Example: edge-cxr forget 00f1e2d3c4b5a697 --yes --state /var/lib/edge-cxr")
@click.argument("case_ids", nargs=-1, required=True, metavar="CASE_ID...")
@click.option("--yes", is_flag=True, help="Do it. Without, only tell which cases have the same PatientID.")
@_options
def forget(case_ids: tuple[str, ...], yes: bool, as_json: bool, config: Path | None, state: str | None) -> None:
    """Remove cases for good: reports, embeddings, files, and their ids in other reports. It cannot be undone."""
    with _opened(_settings(config, state)) as (folder, ledger):
        if not yes:
            known = forgetting.known_cases(case_ids, ledger)
            others = ", ".join(ledger.same_patient(known)) or "none"
            raise UsageError(f"{len(known)} case(s) would be removed for good; say so with --yes. "
                             f"Other cases with the same PatientID: {others}")  # fmt: skip
        gone = forgetting.forget(case_ids, folder, ledger)
    if as_json:
        click.echo(json.dumps([asdict(case) for case in gone]))
        return
    for case in gone:
        click.echo(
            f"{case.case_id} is forgotten: {case.files} file(s), and its name in {case.mentions} other report(s)"
        )


@click.command(epilog="Example: edge-cxr retain --dry-run --config /etc/edge-cxr/edge-cxr.toml")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--trust-clock", is_flag=True, help="Remove by age also what is overdue by more than 400 days.")
@_options
def retain(dry_run: bool, trust_clock: bool, as_json: bool, config: Path | None, state: str | None) -> None:
    """Remove results, archived and quarantined files that are past the limits of the configuration."""
    settings = _settings(config, state)
    with _opened(settings) as (folder, ledger):
        removed = retention.retain(
            folder,
            settings,
            time.time(),
            trust_clock=trust_clock,
            dry_run=dry_run,
            note=lambda cases: ledger.note(Event.RETAINED, {"by": operator(), "cases": cases}),
        )
    if as_json:
        click.echo(json.dumps([asdict(one) for one in removed]))
        return
    for one in removed:
        told = "would go" if dry_run else "removed"
        click.echo(f"{one.folder}: {one.cases} case(s), {one.size_bytes} bytes {told}")
        if one.held_back:
            click.echo(f"{one.folder}: {one.held_back} case(s) stay, overdue by more than 400 days: the clock may be "
                       "wrong; if it is right, add --trust-clock", err=True)  # fmt: skip
    if not removed:
        click.echo("no limit is configured; set keep_archive_days and its like", err=True)


@click.command(epilog="Example: edge-cxr backup /mnt/backup/edge-cxr --state /var/lib/edge-cxr")
@click.argument("folder", type=click.Path(path_type=Path))
@_options
def backup(folder: Path, as_json: bool, config: Path | None, state: str | None) -> None:
    """Copy ledger and site key into FOLDER while the daemon runs; an earlier backup there is replaced."""
    made = backups.backup(existing_state(Path(_settings(config, state).state)), folder)
    text = f"{made.folder}: {made.reports} report(s), {made.size_bytes} bytes; it is patient data: guard it"
    click.echo(json.dumps(asdict(made)) if as_json else text)


@click.command(epilog="Example: edge-cxr restore /mnt/backup/edge-cxr --state /var/lib/edge-cxr")
@click.argument("folder", type=click.Path(path_type=Path))
@_options
def restore(folder: Path, as_json: bool, config: Path | None, state: str | None) -> None:
    """Make a new state folder of the backup in FOLDER: key, ledger, and every result file."""
    made = backups.restore(folder, Path(_settings(config, state).state))
    click.echo(json.dumps(asdict(made)) if as_json else f"{made.state}: {made.results} result(s) restored")


def _settings(config: Path | None, state: str | None) -> Config:
    return resolve({"state": state}, os.environ, config).config


@contextmanager
def _opened(settings: Config) -> Iterator[tuple[StateFolder, Upkeep]]:
    state = existing_state(Path(settings.state))
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        yield state, ledger
