"""Which case a file of the state folder belongs to: every name there begins with its case id."""

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from edge.outputs.disposal import ASIDE
from edge.outputs.durable import disk_error, sync_folder
from edge.values import CASE_ID_DIGITS

REASON_SUFFIX = ".reason.json"
_NAME = re.compile(rf"(?:{re.escape(ASIDE)}|{re.escape(ASIDE[1:])}|\.)?([0-9a-f]{{{CASE_ID_DIGITS}}})(?:[.-]|$)")


def case_of(name: str) -> str | None:
    """The case id in a file's name, also of one that is being written or was set aside; None when it has none."""
    found = _NAME.match(name)
    return found and found[1]


def files_of(folder: Path, case_ids: Collection[str]) -> list[tuple[str, Path]]:
    """(case id, path) of every file of these cases in a folder; unfinished ones begin with a dot.

    One look at the folder, however many cases: it may hold a million files.
    """
    named = ((case_of(name), name) for name in _names(folder))
    return [(case_id, folder / name) for case_id, name in named if case_id is not None and case_id in case_ids]


def radiographs_of(folder: Path, case_ids: Collection[str]) -> list[tuple[str, Path]]:
    """As `files_of`, without unfinished files and reasons."""
    return [
        (case_id, path)
        for case_id, path in files_of(folder, case_ids)
        if not path.name.startswith(".") and not path.name.endswith(REASON_SUFFIX)
    ]


def remove_durably(paths: Iterable[Path]) -> None:
    """Remove files in this order; those that are gone already are no fault. Raises StateError when the disk fails."""
    folders: set[Path] = set()
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as fault:
            raise disk_error(path.parent, fault) from None
        folders.add(path.parent)
    for folder in folders:
        try:
            sync_folder(folder)
        except OSError as fault:
            raise disk_error(folder, fault) from None


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                yield entry.name
    except FileNotFoundError:  # nothing was ever put there
        return
