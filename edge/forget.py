"""A case is removed for good: its rows, its files, and its name in the reports of other cases.

What is left are keyed hashes, so that a file which still lies in the incoming folder is not taken again. Reports of
others come first, then the ledger's commit, then the case's own files, then the old bytes in the ledger's log: cut
short at any point, the same call finishes it. A daemon beside it is kept from the files only while they change.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edge import index_file
from edge.case_files import REASON_SUFFIX, files_of, remove_durably
from edge.errors import UsageError
from edge.mentions import reason_without, result_without
from edge.outputs.durable import write_durably
from edge.state import StateFolder, files_held
from edge.upkeep import Document, Mentions, Upkeep, checked_case_id


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
    found = [ledger.mentions(case_id) for case_id in case_ids]
    for mentions in found:
        for mention in mentions.found:
            with files_held(state, often=True):
                _rewrite_files(mentions.case_id, state, mention.document)
    with files_held(state):  # nobody may put a file away between the commit and the removal
        named = {mentions.case_id: _commit(mentions, state, ledger) for mentions in found}
        files = _remove_files(case_ids, state)
    if state.index.is_dir():
        with index_file.locked(state.index):
            index_file.remove_all(state.index)
    ledger.clear_log()
    return [Forgotten(case_id, files[case_id], named[case_id]) for case_id in case_ids]


def known_cases(case_ids: Sequence[str], ledger: Upkeep) -> list[str]:
    """Each once. Raises UsageError naming the first that the ledger does not know, not even as forgotten."""
    for case_id in case_ids:
        if not ledger.cases(checked_case_id(case_id)) and not ledger.was_forgotten(case_id):
            raise UsageError(f"case {case_id} is not in the ledger; nothing was removed. Check the case id")
    return list(dict.fromkeys(case_ids))


def _commit(found: Mentions, state: StateFolder, ledger: Upkeep) -> int:
    rewrite = partial(_rewrite_files, found.case_id, state)
    return ledger.forget(found, partial(result_without, found.case_id), rewrite)


def _rewrite_files(case_id: str, state: StateFolder, other: Document) -> None:
    """The files of another case give the name up before the ledger does: a crash in between is seen by the ledger."""
    result = state.results(other.bundle_id) / f"{other.case_id}.json"
    _rewrite(result, partial(result_without, case_id), case_id, other)
    reason = state.quarantine / f"{other.case_id}{REASON_SUFFIX}"
    _rewrite(reason, partial(reason_without, case_id), case_id, other)


def _rewrite(path: Path, blank: Callable[[str], str], case_id: str, other: Document) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    # What lies there may be newer than the ledger's, and no longer name the case.
    if case_id.encode() not in content:
        return
    try:
        text = blank(content.decode())
    except (AttributeError, LookupError, TypeError, ValueError):  # damaged: the ledger knows what it said
        text = blank(other.text)
    write_durably(path, text.encode())


def _remove_files(case_ids: Sequence[str], state: StateFolder) -> dict[str, int]:
    """Also what a crash left half written. Returns how many files each case had."""
    removed = dict.fromkeys(case_ids, 0)
    for folder in (*sorted(state.root.glob("results/*/")), state.quarantine, state.archive, state.requeued):
        found = files_of(folder, removed.keys())
        remove_durably(path for _, path in found)
        for case_id, _ in found:
            removed[case_id] += 1
    return removed
