"""`edge-cxr bundle compare`: what a candidate said in the shadow of the active bundle. Thin."""

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edge import options
from edge.bundle import PACKAGED_IDS, open_bundle
from edge.config import resolve
from edge.errors import UsageError
from edge.ledger_reader import LedgerReader
from edge.shadow_pairs import NEEDED, Comparison, ShadowPair, compare
from edge.shelf import SHORT
from edge.shelf_list import find_key
from edge.state import existing_ledger
from edge.statistics import Proportion

_PREFIX = re.compile("[0-9a-f]{4,64}")


@click.command(name="compare", epilog="Example: edge-cxr bundle compare 3f0c9d21 --state /var/lib/edge-cxr")
@click.argument("candidate", metavar="ID|NAME|FOLDER")
@click.option("--state", help="State folder that holds the ledger  [./edge-cxr-state].")
@options.config
@options.json_output
def compare_command(candidate: str, as_json: bool, config: Path | None, state: str | None) -> None:
    """Tell how far a candidate of the setting `shadow` agrees with the bundle that scored."""
    root = Path(resolve({"state": state}, os.environ, config).config.state)
    with LedgerReader(existing_ledger(root)) as ledger:
        pairs = ledger.shadow_pairs(_digits(candidate, root))
    if not pairs:
        raise UsageError(f"no radiograph was scored by {candidate} in the shadow; set shadow, and wait for some")
    latest = [pair for pair in pairs if _ids(pair) == _ids(pairs[-1])]
    found = compare(latest)
    if as_json:
        click.echo(json.dumps(_figures(found), indent=1))
        return
    click.echo(f"{found.candidate_id[:SHORT]} in the shadow of {found.active_id[:SHORT]}")
    for line in _lines(found):
        click.echo(line)
    if len(latest) < len(pairs):
        click.echo(f"{len(pairs) - len(latest)} radiograph(s) beside another bundle are left out", err=True)


def _digits(candidate: str, state: Path) -> str:
    """By which the ledger may know it, also when it is not on the shelf any more."""
    if Path(candidate).is_dir() and os.sep in candidate:
        return open_bundle(candidate).id
    try:
        key = find_key(state, candidate)
        return PACKAGED_IDS.get(key, key)
    except UsageError:
        if _PREFIX.fullmatch(candidate):
            return candidate
        raise


def _ids(pair: ShadowPair) -> tuple[str, str]:
    return pair.active_id, pair.candidate_id


def _lines(found: Comparison) -> list[str]:
    if not found.is_enough:
        return [f"too few: {found.radiographs} radiograph(s), and {NEEDED} are needed before they tell anything"]
    verdicts = "no verdicts to compare: one of the two has no operating point"
    if found.same.total:
        verdicts = (
            f"verdicts: {_told(found.same)} the same; {_told(found.to_positive)} from negative to positive, "
            f"{_told(found.to_negative)} from positive to negative"
        )
    lines = [
        f"{found.radiographs} radiographs",
        verdicts,
        f"scored by the active one alone: {_told(found.only_active)}; by the candidate alone: "
        f"{_told(found.only_candidate)}",
        *(f"  {count} x {gate}" for gate, count in found.gates.items()),
    ]
    if found.mean_difference is not None:
        lines.append(
            f"scores differ by {found.mean_difference:.3f} on average and {found.most_difference:.3f} at most; the "
            f"candidate's are {found.shift:+.3f} off"
        )
    if found.engine_ratio is not None:
        lines.append(f"the candidate's engine takes {found.engine_ratio:.2f} times as long")
    return lines


def _told(part: Proportion) -> str:
    if not part.total:
        return "none"
    share = part.interval
    return f"{part.count} of {part.total} ({share.value:.1%}, {share.low:.1%} to {share.high:.1%})"


def _figures(found: Comparison) -> dict[str, Any]:
    """Counts always; what they would tell only where they are enough."""
    figures: dict[str, Any] = {"active": found.active_id, "candidate": found.candidate_id, "needed": NEEDED}
    figures |= {"radiographs": found.radiographs, "enough": found.is_enough}
    if not found.is_enough:
        return figures
    parts = ("same", "to_positive", "to_negative", "only_active", "only_candidate")
    shares = {name: getattr(found, name) for name in parts}
    for name, part in shares.items():
        interval = asdict(part.interval) if part.total else {}
        figures[name] = {"count": part.count, "total": part.total, **interval}
    told = ("gates", "mean_difference", "most_difference", "shift", "engine_ratio")
    return figures | {name: getattr(found, name) for name in told}
