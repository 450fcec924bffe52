"""A case is removed for good: its rows, its files, and its name in the reports of other cases.

What is left are keyed hashes, so that a file which still lies in the incoming folder is not taken again. Reports of
others come first, then the ledger's commit, then the case's own files, then the old bytes in the ledger's log: cut
short at any point, the same call finishes it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from edge import index_file
from edge.case_files import REASON_SUFFIX, files_of, remove_durably
from edge.errors import UsageError
from edge.outputs.durable import write_durably
from edge.state import StateFolder
from edge.upkeep import Document, Upkeep, checked_case_id

_GONE = "a case that was forgotten"


@dataclass(frozen=True)
class Forgotten:
    """files: how many of the case's were removed. mentions: how many reports of other cases named it."""

    case_id: str
    files: int
    mentions: int


def forget(case_ids: Sequence[str], state: StateFolder, ledger: Upkeep) -> list[Forgotten]:
    """Remove cases for good. Also removes every index file: one may hold their embeddings; it is made anew.

    Raises UsageError when one is unknown, before anything is removed; StateError when the disk fails, or when another
    program reads the ledger for so long that its log cannot be emptied.
    """
    case_ids = known_cases(case_ids, ledger)
    mentions = {
        case_id: ledger.forget(case_id, partial(without_case, case_id), partial(_rewrite_files, case_id, state))
        for case_id in case_ids
    }
    files = _remove_files(case_ids, state)
    if state.index.is_dir():
        with index_file.locked(state.index):
            index_file.remove_all(state.index)
    ledger.clear_log()
    return [Forgotten(case_id, files[case_id], mentions[case_id]) for case_id in case_ids]


def known_cases(case_ids: Sequence[str], ledger: Upkeep) -> list[str]:
    """Each once. Raises UsageError naming the first that the ledger does not know, not even as forgotten."""
    for case_id in case_ids:
        if not ledger.cases(checked_case_id(case_id)) and not ledger.was_forgotten(case_id):
            raise UsageError(f"case {case_id} is not in the ledger; nothing was removed. Check the case id")
    return list(dict.fromkeys(case_ids))


def without_case(case_id: str, report: str) -> str:
    """A report that names a case, as neighbour or in its detail, without it. All else stays word for word."""
    told = json.loads(report)
    told["neighbours"] = [near for near in told["neighbours"] if near["case_id"] != case_id]
    return json.dumps(_blank_detail(told, case_id), indent=1) + "\n"


def _blank_detail(told: dict[str, Any], case_id: str) -> dict[str, Any]:
    if told["detail"] is not None:
        told["detail"] = told["detail"].replace(f"case {case_id}", _GONE).replace(case_id, "forgotten")
    return told


def _rewrite_files(case_id: str, state: StateFolder, other: Document) -> None:
    """The files of another case give the name up before the ledger does: a crash in between is seen by the ledger."""
    result = state.results(other.bundle_id) / f"{other.case_id}.json"
    reason = state.quarantine / f"{other.case_id}{REASON_SUFFIX}"
    for path in (result, reason):
        # What lies there may be newer than the ledger's, and no longer name the case.
        text = path.read_text() if path.is_file() else ""
        if case_id in text:
            blank = json.dumps(_blank_detail(json.loads(text), case_id)) + "\n"
            write_durably(path, (without_case(case_id, text) if path == result else blank).encode())


def _remove_files(case_ids: Sequence[str], state: StateFolder) -> dict[str, int]:
    """Also what a crash left half written. Returns how many files each case had."""
    removed = dict.fromkeys(case_ids, 0)
    for folder in (*sorted(state.root.glob("results/*/")), state.quarantine, state.archive, state.requeued):
        found = files_of(folder, removed.keys())
        remove_durably(path for _, path in found)
        for case_id, _ in found:
            removed[case_id] += 1
    return removed
