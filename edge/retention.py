"""What is kept of results, archive and quarantine: by age and by space, the oldest goes first.

Only files go: the ledger keeps every report, so no case is scored again. How long a file has been there is the later of
its times of change (mtime, ctime): the mtime alone of an archived radiograph is its sender's, and may be years old.
"""

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.case_files import REASON_SUFFIX, case_of, remove_durably
from edge.config import Config
from edge.errors import EdgeError
from edge.log import FIELDS
from edge.state import StateFolder

_DAY_S = 86_400.0
_YOUNG_S = 3_600.0  # somebody may be about to read it
_HOLE_S = 400 * _DAY_S  # overdue by so much: rather the clock has jumped


@dataclass(frozen=True, slots=True)
class Stored:
    """All files of one case in one folder. since_s: when the last of them came, in seconds of the epoch."""

    folder: Path
    names: tuple[str, ...]
    size_bytes: int
    since_s: float


@dataclass(frozen=True)
class Limits:
    """keep_s: how long a file stays; max_bytes: how much all of them may take. 0: without limit."""

    keep_s: float = 0.0
    max_bytes: int = 0


@dataclass(frozen=True)
class Removed:
    """What went from one folder. held_back: cases old enough to go, kept because the clock cannot be trusted."""

    folder: str
    cases: int
    size_bytes: int
    held_back: int


def expired(files: Sequence[Stored], now_s: float, limits: Limits, *, trusted_since_s: float = 0.0) -> list[Stored]:
    """Those that go, oldest first: by age, and then by space until the rest fits.

    By age nothing goes that came before `trusted_since_s`; by space nothing that is younger than an hour.
    """
    oldest = sorted(files, key=lambda stored: (stored.since_s, stored.names))
    size_bytes, gone = sum(stored.size_bytes for stored in files), []
    for stored in oldest:
        age_s = now_s - stored.since_s
        too_old = 0 < limits.keep_s < age_s and stored.since_s >= trusted_since_s
        too_much = 0 < limits.max_bytes < size_bytes and age_s > _YOUNG_S
        if too_old or too_much:
            gone.append(stored)
            size_bytes -= stored.size_bytes
    return gone


def trusted_since(files: Sequence[Stored], now_s: float, keep_s: float) -> float:
    """Since when times can be believed: after the last hole in which no file came; 0 when there is none.

    Where files are removed as they fall due, none is overdue by 400 days, unless the clock jumped or the box was off.
    """
    later_s = now_s
    for since_s in sorted((stored.since_s for stored in files), reverse=True):
        if later_s - since_s > keep_s + _HOLE_S:
            return later_s
        later_s = min(later_s, since_s)
    return 0.0


def retain(
    state: StateFolder, config: Config, now_s: float, *, trust_clock: bool = False, dry_run: bool = False
) -> list[Removed]:
    """Apply the limits of the configuration to results, archive and quarantine. A folder without limit is not read.

    trust_clock: remove by age whatever holes there are. Raises StateError when a file cannot be removed.
    """
    results = sorted(state.root.glob("results/*/"))
    limited = (
        ("results", results, _limits(config.keep_results_days, config.results_max_bytes)),
        ("archive", [state.archive], _limits(config.keep_archive_days, config.archive_max_bytes)),
        ("quarantine", [state.quarantine], _limits(config.keep_quarantine_days, config.quarantine_max_bytes)),
    )
    return [
        _retained(name, folders, limits, now_s, trust_clock=trust_clock, dry_run=dry_run)
        for name, folders, limits in limited
        if limits != Limits()
    ]


def retain_regularly(
    state: StateFolder, config: Config, over: threading.Event, *, logger: logging.Logger, each_s: float
) -> None:
    """Work of a thread, until `over` is set. What cannot be removed is no reason to stop scoring."""
    while not over.wait(each_s):
        try:
            removed = retain(state, config, time.time())
        except (EdgeError, OSError) as fault:
            logger.warning(f"nothing could be removed from the state folder: {fault}")
            continue
        for folder in (folder for folder in removed if folder.cases or folder.held_back):
            logger.info("tidied", extra={FIELDS: {key: str(value) for key, value in asdict(folder).items()}})


def _limits(keep_days: float, max_bytes: int) -> Limits:
    return Limits(keep_days * _DAY_S, max_bytes)


def _retained(
    name: str, folders: Sequence[Path], limits: Limits, now_s: float, *, trust_clock: bool, dry_run: bool
) -> Removed:
    files = [stored for folder in folders for stored in _stored(folder)]
    since_s = 0.0 if trust_clock else trusted_since(files, now_s, limits.keep_s)
    gone = expired(files, now_s, limits, trusted_since_s=since_s)
    if not dry_run:
        _remove(gone)
    held_back = len(expired(files, now_s, limits)) - len(gone)
    return Removed(name, len(gone), sum(stored.size_bytes for stored in gone), held_back)


def _stored(folder: Path) -> list[Stored]:
    """What lies in a folder, by case; not what is still being written."""
    found: dict[str, Stored] = {}
    for name, seen in _looks(folder):
        case_id = case_of(name)
        if case_id is not None:  # what is no case's is not the box's
            held = found.get(case_id, Stored(folder, (), 0, -math.inf))
            since_s = max(held.since_s, seen.st_mtime, seen.st_ctime)
            found[case_id] = Stored(folder, (*held.names, name), held.size_bytes + seen.st_size, since_s)
    return list(found.values())


def _looks(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # replaced or requeued meanwhile
                    if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        yield entry.name, entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # nothing was ever put there
        return


def _remove(gone: Sequence[Stored]) -> None:
    """A reason goes after its file: what explains a file that is there is never missing."""
    remove_durably(
        stored.folder / name
        for stored in gone
        for name in sorted(stored.names, key=lambda name: name.endswith(REASON_SUFFIX))
    )
