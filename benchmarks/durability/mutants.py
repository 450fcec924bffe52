"""Boxes broken on purpose: each proof must catch those that are its own. Patched in a box's process, never in edge."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edge.stages
from edge.outputs.disposal import dispose
from edge.state import StateFolder
from edge.store import Ledger
from edge.values import Report, Sighting

# Each mutant, and the proof that must catch it.
CAUGHT_BY = {
    "no-fsync-of-result": "power",
    "no-fsync-of-folder": "power",
    "no-fsync-of-archive": "power",
    "synchronous-normal": "power",
    "commit-before-rename": "kills",
    "input-gone-before-commit": "kills",
    "result-written-in-place": "reader",
}


def become(mutant: str, *, state: Path, after: str) -> None:
    """Break this process. Raises KeyError for a mutant that is not known."""
    break_it: dict[str, Callable[[], None]] = {
        "no-fsync-of-result": lambda: _leave_out_fsync("/results", folders=False),
        "no-fsync-of-folder": lambda: _leave_out_fsync("/results", folders=True),
        "no-fsync-of-archive": lambda: _leave_out_fsync("/archive", folders=True),
        "synchronous-normal": _synchronous_normal,
        "commit-before-rename": _commit_before_rename,
        "input-gone-before-commit": lambda: _input_gone_before_commit(state, after),
        "result-written-in-place": _written_in_place,
    }
    break_it[mutant]()


def _leave_out_fsync(below: str, *, folders: bool) -> None:
    """Only in one place: the fault must be found where it is."""
    fsync = os.fsync

    def careless(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - a link of the kernel's
        if is_folder != folders or below not in path:
            fsync(descriptor)

    os.fsync = careless  # type: ignore[assignment]


def _synchronous_normal() -> None:
    prepare = Ledger._prepare

    def careless(ledger: Ledger) -> None:
        prepare(ledger)
        ledger._connection.pragma("synchronous", "normal")

    Ledger._prepare = careless  # type: ignore[method-assign]


def _commit_before_rename() -> None:
    write, record = edge.stages.write_result, Ledger.record
    postponed: list[tuple[Any, ...]] = []

    def postpone(*arguments: Any) -> None:
        postponed.append(arguments)

    def record_first(ledger: Ledger, *arguments: Any) -> None:
        record(ledger, *arguments)
        write(*postponed.pop())

    edge.stages.write_result = postpone  # type: ignore[assignment]
    Ledger.record = record_first  # type: ignore[method-assign]


def _input_gone_before_commit(state: Path, after: str) -> None:
    record = Ledger.record

    def dispose_first(ledger: Ledger, report: Report, document: str, sighting: Sighting | None) -> None:
        assert sighting is not None
        dispose(sighting, report.finished, StateFolder(state, b""), after=after)
        record(ledger, report, document, sighting)

    Ledger.record = dispose_first  # type: ignore[method-assign]


def _written_in_place() -> None:
    def in_place(folder: Path, case_id: str, document: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{case_id}.json").open("w", encoding="utf-8") as opened:
            opened.write(document)

    edge.stages.write_result = in_place  # type: ignore[assignment]
