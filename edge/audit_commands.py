"""`edge-cxr audit`: verify the chain of the audit log, show its entries. Thin; errors become exit codes in cli.py."""

import datetime
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edge import options, tables
from edge.audit import Event, parse_head
from edge.audit_log import AuditLog
from edge.config import resolve
from edge.errors import StateError
from edge.state import SITE_KEY, SITE_KEY_BYTES, existing_ledger
from edge.upkeep import checked_case_id


@click.group()
def audit() -> None:
    """Verify and show the log of what was done with which case."""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    state = click.option("--state", help="State folder, or a backup's folder  [./edge-cxr-state].")
    return options.json_output(options.config(state(command)))


@audit.command(epilog="Example: edge-cxr audit verify --state /var/lib/edge-cxr --head 41:9f86d0…")
@click.option("--head", "heads", multiple=True, metavar="NUMBER:HASH", help="A head noted before; repeatable.")
@_options
def verify(heads: tuple[str, ...], as_json: bool, config: Path | None, state: str | None) -> None:
    """Follow the chain of the log, and find every --head on it; exit 1 when something was changed, or cut off.

    Note the head that it prints outside the box: by it a later verify finds out if the end was cut off since.
    """
    noted = [parse_head(text) for text in heads]
    with _opened(config, state) as log:
        check = log.verify(noted)
    if as_json:
        click.echo(json.dumps(asdict(check) | {"head": str(check.head), "whole": not check.fault_count}))
    else:
        click.echo(f"{check.entries} entries, {check.noted} noted head(s), {check.fault_count} fault(s)")
        click.echo(f"head {check.head}")
    if check.fault_count:
        for fault in check.faults:
            click.echo(f"edge-cxr: {fault}", err=True)
        click.echo("edge-cxr: the audit log is not whole; keep a copy of the ledger as it is, and see docs/audit.md",
                   err=True)  # fmt: skip
        raise SystemExit(1)


@audit.command(epilog="Example: edge-cxr audit show --since 2026-01-31 --event looked_up --state /var/lib/edge-cxr")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="From this time on, in UTC.")
@click.option("--case", "case_id", metavar="CASE_ID", help="Only of this case; it may be forgotten.")
@click.option("--event", type=click.Choice([str(event) for event in Event]), help="Only of this kind.")
@_options
def show(
    since: datetime.datetime | None,
    case_id: str | None,
    event: str | None,
    as_json: bool,
    config: Path | None,
    state: str | None,
) -> None:
    """Print entries, oldest first; with --json one in each line. They are not verified."""
    since_s = None if since is None else since.replace(tzinfo=datetime.UTC).timestamp()
    with _opened(config, state) as log:
        entries = log.entries(
            since_s=since_s,
            case_id=None if case_id is None else checked_case_id(case_id),
            event=None if event is None else Event(event),
        )
        for entry in entries:
            click.echo(json.dumps(asdict(entry)) if as_json else tables.audit_line(entry))


def _opened(config: Path | None, state: str | None) -> AuditLog:
    path = existing_ledger(Path(resolve({"state": state}, os.environ, config).config.state))
    try:
        key = path.with_name(SITE_KEY).read_bytes()
    except OSError as fault:
        raise StateError(
            f"{path.with_name(SITE_KEY)} cannot be read ({fault.strerror}), without which the log cannot be followed; "
            "run it as the user of the service"
        ) from None
    if len(key) != SITE_KEY_BYTES:
        raise StateError(f"{path.with_name(SITE_KEY)} is damaged ({len(key)} bytes); restore it from a backup")
    return AuditLog(path, site_key=key)
