"""Cases that are to be judged again: chosen, marked in the ledger, their files moved to where the daemon takes them.

A case whose file is in neither quarantine nor archive is found again in the incoming folder, or when it is sent again.
"""

import contextlib
import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.case_files import REASON_SUFFIX, files_of, radiographs_of, remove_durably
from edge.errors import UsageError
from edge.outputs.durable import move_durably
from edge.state import StateFolder, files_held
from edge.upkeep import AskedCase, Upkeep, checked_case_id
from edge.values import Reason


@dataclass(frozen=True)
class Requeued:
    """moved: cases whose file now waits in the state folder. awaited: cases whose file must come from outside."""

    cases: int
    moved: int
    awaited: int


def choose(
    ledger: Upkeep, case_ids: Sequence[str], *, reasons: Sequence[str] = (), bundle_prefix: str | None = None
) -> list[AskedCase]:
    """The cases named, and those whose last report has one of the reasons and is by the bundle.

    Raises UsageError when one is unknown, or when there is none.
    """
    chosen: list[AskedCase] = []
    for case_id in case_ids:
        found = ledger.cases(checked_case_id(case_id))
        if not found:
            raise UsageError(f"case {case_id} is not in the ledger; look it up with: edge-cxr find FILE")
        chosen += found
    if reasons or bundle_prefix is not None:
        known = [_reason(text) for text in reasons]
        bundle_id = None if bundle_prefix is None else _bundle_id(ledger, bundle_prefix)
        chosen += ledger.last_judged(reasons=known, bundle_id=bundle_id)
    elif not case_ids:
        raise UsageError("no case was named; give case ids, --reason or --bundle-id")
    if not chosen:
        raise UsageError("no case has a last result with that reason and bundle; nothing to ask for again")
    return chosen


def requeue(cases: Sequence[AskedCase], state: StateFolder, ledger: Upkeep) -> Requeued:
    """Ask for cases again. Cut short at any point it has lost nothing, and the same call finishes it.

    Raises StateError when the ledger or the disk fails.
    """
    case_ids = {case.case_id for case in cases}
    reasons = _reasons(state.quarantine, case_ids)
    # First: a file that the daemon takes while the ledger still calls its case finished would just be put away again.
    ledger.ask_again([case.sha256 for case in cases])
    for folder in (state.archive, state.quarantine):
        for _, path in radiographs_of(folder, case_ids):
            with files_held(state, often=True):
                _move(path, state.requeued)
    # Last, and only those that the daemon has not written since: it may have judged a file again already.
    with files_held(state):
        again = _reasons(
            state.quarantine, case_ids - {case_id for case_id, _ in radiographs_of(state.quarantine, case_ids)}
        )
        remove_durably(path for path, inode in again.items() if reasons.get(path) == inode)
    waiting = {case_id for case_id, _ in radiographs_of(state.requeued, case_ids)}
    return Requeued(cases=len(case_ids), moved=len(waiting), awaited=len(case_ids - waiting))


def _reasons(quarantine: Path, case_ids: Collection[str]) -> dict[Path, int]:
    """Files that say why these cases are in quarantine, each with its inode."""
    found: dict[Path, int] = {}
    for _, path in files_of(quarantine, case_ids):
        if path.name.endswith(REASON_SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.lstat().st_ino
    return found


def _move(path: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # removed meanwhile, as by retention
        move_durably(path, target / path.name)


def _reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError:
        near = difflib.get_close_matches(text, list(Reason), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known reasons: {', '.join(Reason)}"
        raise UsageError(f"unknown reason {text!r}; {hint}") from None


def _bundle_id(ledger: Upkeep, prefix: str) -> str:
    """The one bundle of the ledger whose id begins so."""
    known = ledger.bundle_ids()
    found = [bundle_id for bundle_id in known if bundle_id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{len(found)} bundles begin with {prefix!r}; give more digits")
    shown = ", ".join(bundle_id[:12] for bundle_id in known) or "none"
    raise UsageError(f"no case was judged by a bundle that begins with {prefix!r}; the ledger's bundles: {shown}")
