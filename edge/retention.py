"""What is kept of results, archive and quarantine: by age and by space, the oldest goes first.

Only files go: the ledger keeps every report, so no case is scored again. How long a file has been there is the later of
its times of change (mtime, ctime): the mtime alone of an archived radiograph is its sender's, and may be years old.
"""

import contextlib
import itertools
import logging
import os
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.case_files import REASON_SUFFIX, case_of, remove_durably
from edge.config import Config
from edge.errors import EdgeError
from edge.log import FIELDS
from edge.state import StateFolder, files_held

_DAY_S = 86_400.0
_YOUNG_S = 3_600.0  # somebody may be about to read it
_HOLE_S = 400 * _DAY_S  # overdue by so much: rather the clock has jumped
_AT_ONCE = 100  # files removed while the daemon waits


@dataclass(frozen=True)
class Stock:
    """The cases that have files in a folder: there may be a million.

    number: uint64 [cases], rising: their ids. since_s: float64 [cases]: when the last of a case's files came, in
    seconds of the epoch. size_bytes: int64 [cases].
    """

    folder: Path
    number: NDArray[np.uint64]
    since_s: NDArray[np.float64]
    size_bytes: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> "Stock":
        return Stock(self.folder, self.number[chosen], self.since_s[chosen], self.size_bytes[chosen])


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


def expired(
    since_s: NDArray[np.float64],
    size_bytes: NDArray[np.int64],
    now_s: float,
    limits: Limits,
    *,
    trusted_since_s: float = 0.0,
) -> NDArray[np.bool_]:
    """Which go, all [cases]: by age, and then the oldest by space until the rest fits.

    By age nothing goes that came before `trusted_since_s`; by space nothing that is younger than an hour.
    """
    oldest_first = np.argsort(since_s, kind="stable")
    since_s, size_bytes = since_s[oldest_first], size_bytes[oldest_first]
    age_s = now_s - since_s
    too_old = (limits.keep_s > 0) & (limits.keep_s < age_s) & (since_s >= trusted_since_s)
    # All that is older than what goes for space goes too: what is left by then is itself and what is younger.
    left_bytes = np.cumsum(size_bytes[::-1])[::-1]
    too_much = (limits.max_bytes > 0) & (limits.max_bytes < left_bytes) & (age_s > _YOUNG_S)
    goes = np.empty(len(since_s), np.bool_)
    goes[oldest_first] = too_old | too_much
    return goes


def trusted_since(since_s: NDArray[np.float64], now_s: float, keep_s: float) -> float:
    """Since when times can be believed: after the last hole in which no file came; 0 when there is none.

    Where files are removed as they fall due, none is overdue by 400 days, unless the clock jumped or the box was off.
    """
    came_s = np.append(np.minimum(np.sort(since_s), now_s), now_s)
    holes = np.flatnonzero(np.diff(came_s) > keep_s + _HOLE_S)
    return float(came_s[holes[-1] + 1]) if len(holes) else 0.0


def retain(
    state: StateFolder,
    config: Config,
    now_s: float,
    *,
    trust_clock: bool = False,
    dry_run: bool = False,
    over: threading.Event | None = None,
    note: Callable[[dict[str, int]], None] | None = None,
) -> list[Removed]:
    """Apply the limits of the configuration to results, archive and quarantine. A folder without limit is not read.

    trust_clock: remove by age whatever holes there are. over: when it is set the rest stays. note: called
    with how many cases lost files in a folder, after each one, for the audit log: also when the rest of it could not be
    removed. Raises StateError when a file cannot be removed.
    """
    over = over or threading.Event()
    results = sorted(state.root.glob("results/*/"))
    limited = (
        ("results", results, _limits(config.keep_results_days, config.results_max_bytes)),
        ("archive", [state.archive], _limits(config.keep_archive_days, config.archive_max_bytes)),
        ("quarantine", [state.quarantine], _limits(config.keep_quarantine_days, config.quarantine_max_bytes)),
    )
    told = []
    for name, folders, limits in limited:
        if limits != Limits():
            stocks = [_stock(folder, over) for folder in folders]
            if over.is_set():  # not all of it was seen
                break
            gone, held_back = _due(stocks, now_s, limits, trust_clock=trust_clock)
            if not dry_run:
                gone = [_removed(state, stock, over, name, note) for stock in gone]
            size_bytes = sum(int(stock.size_bytes.sum()) for stock in gone)
            told.append(Removed(name, sum(len(stock.number) for stock in gone), size_bytes, held_back))
    return told


def retain_regularly(
    state: StateFolder,
    config: Config,
    over: threading.Event,
    *,
    logger: logging.Logger,
    each_s: float,
    note: Callable[[dict[str, int]], None],
) -> None:
    """Work of a thread, until `over` is set. What cannot be removed is no reason to stop scoring."""
    while not over.wait(each_s):
        try:
            removed = retain(state, config, time.time(), over=over, note=note)
        except (EdgeError, OSError) as fault:
            logger.warning(f"nothing could be removed from the state folder: {fault}")
            continue
        for folder in (folder for folder in removed if folder.cases or folder.held_back):
            logger.info("tidied", extra={FIELDS: {key: str(value) for key, value in asdict(folder).items()}})


def _limits(keep_days: float, max_bytes: int) -> Limits:
    return Limits(keep_days * _DAY_S, max_bytes)


def _due(stocks: Sequence[Stock], now_s: float, limits: Limits, *, trust_clock: bool) -> tuple[list[Stock], int]:
    """What goes of folders that share their limits, and how many cases are held back."""
    since_s = np.concatenate([np.empty(0), *(stock.since_s for stock in stocks)])
    size_bytes = np.concatenate([np.empty(0, np.int64), *(stock.size_bytes for stock in stocks)])
    trusted_since_s = 0.0 if trust_clock else trusted_since(since_s, now_s, limits.keep_s)
    goes = expired(since_s, size_bytes, now_s, limits, trusted_since_s=trusted_since_s)
    held_back = int(expired(since_s, size_bytes, now_s, limits).sum() - goes.sum())
    ends = np.cumsum([len(stock.number) for stock in stocks], dtype=int)
    return [stock.only(part) for stock, part in zip(stocks, np.split(goes, ends), strict=False)], held_back


def _stock(folder: Path, over: threading.Event) -> Stock:
    """What lies in a folder, by case."""
    case_ids, since_s, size_bytes = array("Q"), array("d"), array("q")
    for number, entry in _files(folder, over):
        with contextlib.suppress(FileNotFoundError):  # replaced or requeued meanwhile
            seen = entry.stat(follow_symlinks=False)
            case_ids.append(number)
            since_s.append(_since_s(seen))
            size_bytes.append(seen.st_size)
    by_case = np.argsort(np.frombuffer(case_ids, np.uint64), kind="stable")
    numbers, first = np.unique(np.frombuffer(case_ids, np.uint64)[by_case], return_index=True)
    latest_s = np.maximum.reduceat(np.frombuffer(since_s)[by_case], first)
    return Stock(folder, numbers, latest_s, np.add.reduceat(np.frombuffer(size_bytes, np.int64)[by_case], first))


def _files(folder: Path, over: threading.Event) -> Iterator[tuple[int, "os.DirEntry[str]"]]:
    """Each file and the number of its case; not what is still being written, nor what is not the box's."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if over.is_set():
                    return
                case_id = None if entry.name.startswith(".") else case_of(entry.name)
                if case_id is not None and entry.is_file(follow_symlinks=False):
                    yield int(case_id, 16), entry
    except FileNotFoundError:  # nothing was ever put there
        return


def _removed(
    state: StateFolder, due: Stock, over: threading.Event, name: str, note: Callable[[dict[str, int]], None] | None
) -> Stock:
    """Remove what is due, as long as `over` is not set. Returns what went: not what was replaced since it was seen.

    A reason goes after its file: what explains a file that is there is never missing.
    """
    went, size_bytes = np.zeros(len(due.number), np.bool_), np.zeros_like(due.size_bytes)
    try:
        for reasons in (False, True):
            found = _places(due, over, reasons=reasons)
            while some := list(itertools.islice(found, _AT_ONCE)):
                with files_held(state, often=True):
                    _remove_old(due, some, went, size_bytes)
    finally:
        if note is not None and went.any():
            note({name: int(went.sum())})
    return Stock(due.folder, due.number, due.since_s, size_bytes).only(went)


def _remove_old(
    due: Stock, some: list[tuple[int, Path]], went: NDArray[np.bool_], size_bytes: NDArray[np.int64]
) -> None:
    """Remove those that are as old as when they were seen, and mark what went, also when the rest will not go."""
    old = [(place, path, _size_if_old(path, due.since_s[place])) for place, path in some]
    try:
        remove_durably(path for _, path, size in old if size is not None)
    finally:
        for place, path, size in old:
            if size is not None and not os.path.lexists(path):
                went[place] = True
                size_bytes[place] += size


def _places(due: Stock, over: threading.Event, *, reasons: bool) -> Iterator[tuple[int, Path]]:
    """The files of what is due, each with its case's place there."""
    for number, entry in _files(due.folder, over) if len(due.number) else ():
        place = int(np.searchsorted(due.number, np.uint64(number)))
        if entry.name.endswith(REASON_SUFFIX) == reasons and due.number[place : place + 1] == number:
            yield place, Path(entry.path)


def _size_if_old(path: Path, since_s: float) -> int | None:
    try:
        seen = path.lstat()
    except FileNotFoundError:
        return None
    return seen.st_size if _since_s(seen) <= since_s else None


def _since_s(seen: os.stat_result) -> float:
    return max(seen.st_mtime, seen.st_ctime)
