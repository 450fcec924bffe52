"""The index of the box's own earlier cases: a cache of the ledger's embeddings, by the cases' numbers. Never the truth.

Each answer is ranked by the ledger's own rows, so a case that is gone from the ledger is found no more, whatever the
index still holds. When a case was forgotten the index starts over, because its memory and its next file held it.
"""

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from edge import index_file
from edge.errors import StateError
from edge.index_file import IndexDamaged, Stamp
from edge.similarity import ANY, Extent, NumberedCase, NumberedCases, Ranked, Wanted, ranked

PAGE = 1024  # numbers taken in at once while a radiograph waits: 0.2 s
_SLICE = 128  # cases added in one holding of the lock, for which a search may have to wait
_DTYPE = "f16"
# Measured at 128 numbers: up to here a search of all takes no longer than one of the graph, in which some cases of a
# small set are out of reach. Above, this many candidates find 0.99 of the nearest even of random embeddings.
_EXACT_UP_TO = 20_000
_EXPANSION = 256
_SPARE = 4  # the index is f16 and approximate: look at more candidates, then rank them exactly
_WIDEST = 1024  # candidates; when few of so many are left in the ledger the index is worn
_SAVE_EACH = 1000  # added cases, but at least a fiftieth: a crash costs no more than to read these again
_SAMPLE = 64
_LOOK_S = 0.2
_YIELD_S = 0.001


class EarlierCases:
    """The earlier cases of one bundle. Any thread may search; one thread at a time adds, and the rest wait for it."""

    def __init__(self, folder: Path, ledger: NumberedCases, bundle_id: str, *, size: int) -> None:
        """Empty, and pending. size: numbers in an embedding."""
        self._folder, self._ledger, self._bundle_id, self._size = folder, ledger, bundle_id, size
        self._growing = threading.Lock()  # held by who adds, saves or starts over
        self._lock = threading.Lock()  # held while usearch works: it may move its memory when it grows
        self._index = empty_index(size)
        self._last_number, self._forgotten, self._unsaved = 0, "", 0
        self._pending, self._worn = True, False

    @classmethod
    def open(
        cls, folder: Path, ledger: NumberedCases, bundle_id: str, *, size: int, warn: Callable[[str], None]
    ) -> "EarlierCases":
        """The index as it was saved, with what the ledger has since if that is little; else `keep` completes it."""
        earlier = cls(folder, ledger, bundle_id, size=size)
        try:
            earlier._load()
        except IndexDamaged as fault:
            warn(str(fault))
        earlier._pending = False
        earlier.catch_up()
        return earlier

    @property
    def pending(self) -> bool:
        """True while cases of the ledger are missing."""
        return self._pending

    @property
    def last_number(self) -> int:
        """Every case of the bundle up to this number in the ledger has been taken in."""
        return self._last_number

    def __len__(self) -> int:
        return len(self._index)

    def nearest(
        self, embedding: NDArray[np.float32], k: int, *, without: Collection[str], wanted: Wanted = ANY
    ) -> list[Ranked]:
        """The k nearest cases that are wanted, nearest first; none whose id is in `without`.

        However few are wanted: then as many candidates are looked at as it takes.
        """
        # What is not wanted lies near each other, as one patient's cases do: it takes the place of the spare ones.
        enough = k if wanted == ANY else _SPARE * k
        candidates = _SPARE * k + 1
        while True:
            numbers = self._candidates(embedding, candidates)
            rows = self._ledger.cases_numbered(numbers)
            found = ranked(embedding, list(rows.values()), without=without, wanted=wanted)
            if len(found) >= enough or len(numbers) < candidates:
                return found[:k]
            if candidates >= _WIDEST:
                self._worn = self._worn or 2 * len(rows) < len(numbers)
                if wanted == ANY or len(found) >= k:
                    return found[:k]
            candidates *= _SPARE

    def catch_up(self) -> None:
        """Take in what is new in the ledger; call it before each search.

        More than PAGE numbers are left to `keep`, and the index is pending meanwhile.
        """
        if self._pending:
            return
        with self._growing:
            extent = self._ledger.extent()
            if self._worn or extent.forgotten != self._forgotten:
                self._start_over(extent)
            if extent.last_number - self._last_number > PAGE:
                self._pending = True
            elif extent.last_number > self._last_number:
                self._take_in(extent)

    def complete(
        self, stop: threading.Event, *, on_page: Callable[[int, int], None] = lambda last_number, of: None
    ) -> None:
        """Take in all that the ledger has, however much, until it is whole or `stop` is set. Others may search."""
        while not stop.is_set():
            with self._growing:
                extent = self._ledger.extent()
                if extent.forgotten != self._forgotten:
                    self._start_over(extent)
                if self._last_number >= extent.last_number:
                    self._pending = False
                    return
                self._take_in(extent, pause_s=_YIELD_S)
                on_page(self._last_number, extent.last_number)

    def save(self) -> bool:
        """Write the file. False when a case was forgotten since it was read: what is held here is not written again.

        Raises StateError when the disk is full or fails.
        """
        with index_file.locked(self._folder):  # who forgets a case from here on removes the file, after it is written
            with self._growing:
                if self._ledger.extent().forgotten != self._forgotten:
                    return False
                stamp = Stamp(self._bundle_id, self._size, _DTYPE, len(self), self._last_number, self._forgotten)
                payload = self._index.save()
                self._unsaved = 0
            index_file.save(index_file.path_of(self._folder, self._bundle_id), stamp, payload)
            return True

    def keep(self, stop: threading.Event, *, warn: Callable[[str], None], catch_up_each_s: float = 60.0) -> None:
        """Work of a thread beside the daemon's stages, until `stop`: complete the index when it is pending, save it.

        Catches up by itself too: what was forgotten leaves the memory though nobody searches. A file that cannot be
        written is no reason to stop: the ledger has it all.
        """
        caught_up_s = time.monotonic()
        while not stop.is_set():
            if time.monotonic() - caught_up_s >= catch_up_each_s:
                self.catch_up()
                caught_up_s = time.monotonic()
            if self._pending:
                self.complete(stop)
            if self._unsaved >= max(_SAVE_EACH, len(self) // 50):
                self._save_or_warn(warn)
            stop.wait(_LOOK_S)
        self.catch_up()  # the last cases came after the last search
        if self._unsaved:
            self._save_or_warn(warn)

    def _save_or_warn(self, warn: Callable[[str], None]) -> None:
        try:
            if not self.save():
                self.catch_up()
        except StateError as fault:
            self._unsaved = 0  # tried again when as many more were added
            warn(str(fault))

    def _candidates(self, embedding: NDArray[np.float32], wanted: int) -> list[int]:
        with self._lock:
            # So many are only asked for when one patient has nearly as many, and then none may be out of reach.
            exact_up_to = _EXACT_UP_TO if wanted <= _SPARE * _WIDEST else len(self._index)
            return search(self._index, embedding, wanted, exact_up_to=exact_up_to)

    def _take_in(self, extent: Extent, *, pause_s: float = 0) -> None:
        up_to = min(self._last_number + PAGE, extent.last_number)
        cases = self._ledger.earlier_cases(self._bundle_id, after=self._last_number, up_to=up_to)
        for start in range(0, len(cases), _SLICE):
            with self._lock:
                add(self._index, cases[start : start + _SLICE])
            if pause_s:
                time.sleep(pause_s)  # a lock is not fair: who waits for it needs this long to get it
        self._last_number = up_to
        self._unsaved += len(cases)

    def _start_over(self, extent: Extent) -> None:
        with self._lock:
            self._index = empty_index(self._size)
        self._last_number, self._forgotten, self._unsaved, self._worn = 0, extent.forgotten, 0, False

    def _load(self) -> None:
        path, extent = index_file.path_of(self._folder, self._bundle_id), self._ledger.extent()
        self._forgotten = extent.forgotten
        kept = index_file.load(path, self._bundle_id)
        if kept is None:
            return
        stamp, payload = kept
        if stamp.forgotten != extent.forgotten:
            raise IndexDamaged(f"the index {path} is from before a case was forgotten; it is built anew")
        index = restored(path, stamp, payload)
        last = np.sort(index.keys[:])[-_SAMPLE:]
        if stamp.last_number > extent.last_number or differing(index, self._ledger.cases_numbered(last.tolist())):
            raise IndexDamaged(f"the index {path} is of another ledger; it is built anew")
        self._index, self._last_number = index, stamp.last_number


def empty_index(size: int) -> Index:
    return Index(ndim=size, metric="l2sq", dtype=_DTYPE, expansion_search=_EXPANSION)


def restored(path: Path, stamp: Stamp, payload: memoryview) -> Index:
    """The index of a verified file. Raises IndexDamaged when this version of usearch does not read it so."""
    index = empty_index(stamp.size)
    try:
        index.load(payload)
        read = (index.ndim, index.dtype.name.lower(), len(index))
    except (RuntimeError, ValueError) as fault:
        raise IndexDamaged(f"the index {path} is of another usearch ({fault}); it is built anew") from None
    if read != (stamp.size, stamp.dtype, stamp.count):
        raise IndexDamaged(f"the index {path} holds {read}, its stamp says otherwise; it is built anew")
    return index


def add(index: Index, cases: list[NumberedCase]) -> None:
    """Add cases by one thread: added by several at once, usearch 2.26 left cases that no search could reach."""
    numbers = np.array([case.number for case in cases], np.uint64)
    index.add(numbers, np.stack([case.embedding for case in cases]), threads=1)


def search(index: Index, embedding: NDArray[np.float32], wanted: int, *, exact_up_to: int = _EXACT_UP_TO) -> list[int]:
    """Numbers of at most `wanted` cases, the nearest or, in an index of more than `exact_up_to`, about the nearest."""
    wanted = min(wanted, len(index))
    if wanted == 0:
        return []
    found: list[int] = index.search(embedding, wanted, exact=len(index) <= exact_up_to, threads=1).keys.tolist()
    return found


def differing(index: Index, cases: dict[int, NumberedCase]) -> int:
    """How many of these cases the index holds with another embedding than the ledger has, or not at all."""
    if not cases:
        return 0
    there = index.get(np.array(list(cases), np.uint64), _DTYPE)
    rows = zip(there, cases.values(), strict=True)
    return sum(held is None or not np.array_equal(held, case.embedding.astype(np.float16)) for held, case in rows)
