"""The audit log as it is read: verified entry by entry, and shown with the case ids that the ledger still knows.

Read in pages, so that a million entries take little memory and who writes is not kept waiting.
"""

import datetime
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.audit import ORIGIN, Event, Head, chain_key, reference, seal
from edge.errors import StateError
from edge.ledger_reader import LedgerReader
from edge.schema import AUDIT, RARE
from edge.values import CASE_ID_DIGITS

FORGOTTEN, UNKNOWN = "forgotten", "not in the ledger"
_PAGE = 10_000
_SHOWN_FAULTS = 100
_FIRST = -(1 << 63)  # numbers below 1 are none of the box's, and must be seen
# As bytes, whatever somebody made of them.
_AS_BYTES = ", ".join(f"CAST({column} AS BLOB)" for column in ("event", "subject", "detail", "hash"))


@dataclass(frozen=True)
class AuditCheck:
    """faults: the first hundred, in words; fault_count: all of them. noted: how many heads were looked for."""

    entries: int
    head: Head
    noted: int
    fault_count: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """An entry for people. case: its id, or why there is none to show; None where it is about no case."""

    number: int
    at: str
    event: str
    case: str | None
    detail: dict[str, Any]


@dataclass
class _Chain:
    """What was followed so far."""

    key: bytes
    head: Head = field(default_factory=Head)
    entries: int = 0
    fault_count: int = 0
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        self.fault_count += 1
        if len(self.faults) < _SHOWN_FAULTS:
            self.faults.append(text)

    def follow(self, number: Any, at_s: Any, event: Any, subject: Any, detail: Any, found: Any) -> None:
        self.entries += 1
        if not isinstance(number, int):
            self.fault("an entry without a number was put in")
            return
        if number < 1:
            self.fault(f"entry {number} was put in: the box numbers from 1")
            return
        if number > self.head.number + 1:
            self.missing(number - 1)
        elif not self._fits(number, at_s, event, subject, detail, found):
            self.fault(f"entry {number} is not as it was written, or the one before it is not")
        self.head = Head(number, found or b"")

    def missing(self, last: int) -> None:
        first = self.head.number + 1
        self.fault(f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing")

    def _fits(self, number: int, at_s: Any, event: Any, subject: Any, detail: Any, found: Any) -> bool:
        try:
            return seal(self.key, self.head.hash, number, at_s, event, subject, detail) == found
        except (TypeError, struct.error):  # a table made anew may hold anything
            return False


class AuditLog(LedgerReader):
    """A connection that reads the log beside the daemon's, with the key that its entries are sealed with."""

    def __init__(self, path: Path, *, site_key: bytes) -> None:
        self._site_key = site_key
        super().__init__(path)

    def verify(self, noted: Sequence[Head] = ()) -> AuditCheck:
        """Follow the chain from its origin to the entry that is last now. noted: heads that must be on it."""
        chain = _Chain(chain_key(self._site_key))
        for fault in self._faults_of_schema():
            chain.fault(fault)
        if self._one("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'audit'") is None:
            return AuditCheck(0, chain.head, len(noted), chain.fault_count, tuple(chain.faults))
        last, given = self._one(
            "SELECT coalesce(max(number), 0), "
            "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'audit'), 0) FROM audit"
        )
        wanted, passed = {head.number for head in noted}, {0: ORIGIN}
        for page in self._pages(f"number, at_s, {_AS_BYTES}", "number <= ?2", last):
            for row in page:
                chain.follow(*row)
                if chain.head.number in wanted:
                    passed[chain.head.number] = chain.head.hash
        if not isinstance(given, int) or not isinstance(last, int):
            chain.fault("the box's own count of the numbers it has given is no number")
        elif given > last:
            chain.missing(given)
        elif given < last:
            chain.fault(f"the box has given numbers up to {given}, and entry {last} is there")
        for head in noted:
            if passed.get(head.number) != head.hash:
                chain.fault(f"the noted head {head.number} is not in the log: it was cut off or made anew since")
        return AuditCheck(chain.entries, chain.head, len(noted), chain.fault_count, tuple(chain.faults))

    def entries(
        self, *, since_s: float | None = None, case_id: str | None = None, event: Event | None = None
    ) -> Iterator[Entry]:
        """Oldest first: those from a time on, of one case, of one event. A case may be forgotten and is found.

        Raises StateError at an entry that the box cannot have written.
        """
        subject = None if case_id is None else reference(self._site_key, case_id)
        condition = "(?2 IS NULL OR at_s >= ?2) AND (?3 IS NULL OR subject = ?3) AND (?4 IS NULL OR event = ?4)"
        names = _Names(self._site_key, self._ids(), self._forgotten())
        for page in self._pages("number, at_s, event, subject, detail", condition, since_s, subject, event):
            for row in page:
                yield _shown(names, *row)

    def _pages(self, columns: str, condition: str, *values: Any) -> Iterator[list[Any]]:
        after = _FIRST
        query = f"SELECT {columns} FROM audit WHERE number > ?1 AND {condition} ORDER BY number LIMIT {_PAGE}"
        while page := self._all(query, after, *values):
            yield page
            after = page[-1][0]

    def _faults_of_schema(self) -> Iterator[str]:
        rows = self._all("SELECT name, sql FROM sqlite_schema WHERE tbl_name = 'audit' AND sql IS NOT NULL")
        found = dict(rows)
        for name in AUDIT.keys() - found.keys():
            yield f"{name} is missing, which the log is kept by"
        for name, sql in sorted(found.items()):
            if sql != AUDIT.get(name):
                yield f"{name} is not as the box made it"

    def _ids(self) -> Iterator[str]:
        after = 0
        while page := self._all(
            f"SELECT number, case_id FROM cases WHERE number > ? ORDER BY number LIMIT {_PAGE}", after
        ):
            yield from (row[1] for row in page)
            after = page[-1][0]

    def _forgotten(self) -> frozenset[bytes]:
        query = f"SELECT subject FROM audit WHERE {RARE} AND event = ?"
        return frozenset(row[0] for row in self._all(query, str(Event.FORGOTTEN)))


class _Names:
    """From references back to case ids, 16 bytes for each case of the ledger: there may be a million."""

    def __init__(self, site_key: bytes, case_ids: Iterator[str], forgotten: frozenset[bytes]) -> None:
        self._site_key, self._forgotten = site_key, forgotten
        pairs: NDArray[np.uint64] = np.fromiter(
            ((_short(reference(site_key, case_id)), int(case_id, 16)) for case_id in case_ids),
            np.dtype((np.uint64, 2)),
        )
        self._pairs = pairs[np.argsort(pairs[:, 0])]

    def of(self, subject: bytes) -> str:
        short = np.uint64(_short(subject))
        place = int(np.searchsorted(self._pairs[:, 0], short))
        if place < len(self._pairs):
            case_id = f"{int(self._pairs[place, 1]):0{CASE_ID_DIGITS}x}"
            if reference(self._site_key, case_id) == subject:
                return case_id
        return FORGOTTEN if subject in self._forgotten else UNKNOWN


def _shown(names: _Names, number: int, at_s: float, event: str, subject: bytes | None, detail: str) -> Entry:
    try:
        at = datetime.datetime.fromtimestamp(at_s, datetime.UTC).isoformat(timespec="milliseconds")
        return Entry(number, at, str(event), None if subject is None else names.of(subject), dict(json.loads(detail)))
    except (OSError, TypeError, ValueError, OverflowError):  # OSError: of a time that the C library cannot tell
        raise StateError(f"entry {number!r} of the audit log cannot be read; run edge-cxr audit verify") from None


def _short(subject: bytes) -> int:
    return int.from_bytes(subject[:8], "big")
