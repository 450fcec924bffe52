"""`edge-cxr requeue`, `forget`, `label`, `link`, `retain`, `backup`, `restore`: what is done to cases. Thin."""

import json
import os
import sys
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
from edge.bundle import PACKAGED_IDS
from edge.config import Config, resolve
from edge.errors import UsageError
from edge.shelf import open_configured
from edge.state import StateFolder, existing_state
from edge.upkeep import Upkeep, checked_case_id

NO_LABEL = "unknown"
_MOST_NOTE, _MOST_WHO = 500, 64  # characters
_MOST_STDIN_BYTES = 4096


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


@click.command(epilog="Example: edge-cxr label 00f1e2d3c4b5a697 covid --by 'Dr Weber' --state /var/lib/edge-cxr")
@click.argument("case_id")
@click.argument("label_", metavar=f"LABEL|{NO_LABEL}")
@click.option("--by", required=True, metavar="WHO", help="Whose word it is; kept in the audit log for good.")
@click.option("--bundle", help=f"Whose labels: {', '.join(PACKAGED_IDS)}, or a folder  [research].")
@_options
def label(case_id: str, label_: str, by: str, as_json: bool, config: Path | None, **given: Any) -> None:
    """Say what an earlier case is, as a label of the bundle (covid or other); unknown takes it away.

    It holds for every report of the case, also of a later bundle. Results that were written are not changed.
    """
    settings = resolve(given, os.environ, config).config
    labels = open_configured(settings).manifest.labels
    if label_ not in (*labels, NO_LABEL):
        raise UsageError(f"{label_!r} is no label of the bundle; say {labels[1]}, {labels[0]} or {NO_LABEL}")
    who = _one_line(by, "--by", _MOST_WHO)
    if not who:
        raise UsageError("--by is empty; say whose word it is, as initials")
    with _opened(settings) as (_, ledger):
        _require(ledger.label(checked_case_id(case_id), None if label_ == NO_LABEL else label_, by=who), case_id)
    click.echo(json.dumps({"case_id": case_id, "label": label_}) if as_json else f"{case_id} is labelled {label_}")


@click.command(epilog="Example: edge-cxr link 00f1e2d3c4b5a697 'record 4711, PCR positive' --state /var/lib/edge-cxr")
@click.argument("case_id")
@click.argument("text")
@_options
def link(case_id: str, text: str, as_json: bool, config: Path | None, state: str | None) -> None:
    """Keep a note with a case, as a record number or an outcome, in place of an earlier one; '' takes it away, and
    - reads it from stdin, so that no list of processes shows it.

    It stays in the ledger, is shown by similar, and goes when the case is forgotten. The audit log has that it was
    set, never what.
    """
    note = _one_line(_from_stdin() if text == "-" else text, "the note", _MOST_NOTE)
    with _opened(_settings(config, state)) as (_, ledger):
        _require(ledger.link(checked_case_id(case_id), note), case_id)
    told = "noted" if note else "removed"
    click.echo(json.dumps({"case_id": case_id, "note": told}) if as_json else f"{case_id}: {told}")


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


def _from_stdin() -> str:
    """What is no UTF-8 stands for itself, and is refused as a control character is."""
    content = sys.stdin.buffer.read(_MOST_STDIN_BYTES + 1)
    if len(content) > _MOST_STDIN_BYTES:
        raise UsageError(f"more than {_MOST_STDIN_BYTES} bytes are on stdin; "
                         f"a note is one line of at most {_MOST_NOTE} characters")  # fmt: skip
    return str(content, "utf-8", "surrogateescape")


def _one_line(text: str, what: str, most: int) -> str:
    """Raises UsageError, which does not repeat the text, when it is too long or holds what no line holds."""
    stripped = text.strip()
    if len(stripped) > most or not stripped.isprintable():
        raise UsageError(f"{what} has {len(stripped)} characters; it must be one line of at most {most}, without "
                         "control characters")  # fmt: skip
    return stripped


def _require(known: bool, case_id: str) -> None:
    if not known:
        raise UsageError(f"case {case_id} is not in the ledger; look it up with: edge-cxr find FILE")


def _settings(config: Path | None, state: str | None) -> Config:
    return resolve({"state": state}, os.environ, config).config


@contextmanager
def _opened(settings: Config) -> Iterator[tuple[StateFolder, Upkeep]]:
    state = existing_state(Path(settings.state))
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        yield state, ledger
