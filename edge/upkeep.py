"""What an operator does to a ledger, beside a running daemon: ask for cases again, forget them, copy all of it.

Reads and writes of the daemon are in store.py. What lies in the folders beside the ledger is not known here.
"""

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from edge.audit import Event, append_each, operator
from edge.errors import StateError, UsageError
from edge.ledger_reader import BUSY_MS, ledger_error
from edge.schema import check_version
from edge.store import Ledger, forgotten_key
from edge.values import CASE_ID_DIGITS, case_id_of

_AT_ONCE = 10_000  # rows in one commit: the daemon waits for no more than that
_CASE_ID = re.compile(f"[0-9a-f]{{{CASE_ID_DIGITS}}}")
_TABLES = ("cases", "superseded")  # where reports are
_WAIT_S = BUSY_MS / 1000 / 10


@dataclass(frozen=True)
class AskedCase:
    """A case by its file's digest."""

    sha256: str
    case_id: str


@dataclass(frozen=True)
class Document:
    """A case's report by a bundle in the ledger as it is now, word for word as in its result file."""

    case_id: str
    bundle_id: str
    text: str


@dataclass(frozen=True)
class Mention:
    """A report that names a case: where it is in the ledger, and what is in its result file."""

    table: str
    number: int
    document: Document


@dataclass(frozen=True)
class Mentions:
    """Reports of other cases that name a case. searched: up to which number of each table."""

    case_id: str
    found: list[Mention]
    searched: dict[str, int]


class Upkeep(Ledger):
    """A second connection that writes, for a moment at a time: the daemon waits for it, and it for the daemon.

    Makes and migrates no ledger. Raises StateError when there is none of this version.
    """

    def __init__(self, path: Path, *, site_key: bytes) -> None:
        self._by = operator()  # before any lock: a directory service may take its time to answer
        super().__init__(path, site_key=site_key)

    def cases(self, case_id: str) -> list[AskedCase]:
        """The files behind a case id: one, none when it is unknown."""
        rows = self._all("SELECT DISTINCT sha256, case_id FROM cases WHERE case_id = ?", case_id)
        return [AskedCase(*row) for row in rows]

    def last_judged(self, *, reasons: Collection[str], bundle_id: str | None) -> list[AskedCase]:
        """Cases whose last report has one of these reasons and is by this bundle; no reasons, or None: by any."""
        rows = self._all(
            "SELECT sha256, case_id FROM cases AS this "
            "WHERE (?1 = '[]' OR reason IN (SELECT value FROM json_each(?1))) AND (?2 IS NULL OR bundle_id = ?2) "
            "AND number = (SELECT max(number) FROM cases WHERE sha256 = this.sha256) ORDER BY number",
            json.dumps(list(reasons)),
            bundle_id,
        )
        return [AskedCase(*row) for row in rows]

    def same_patient(self, case_ids: Sequence[str]) -> list[str]:
        """Ids of the other cases whose files have the same PatientID as one of these."""
        rows = self._all(
            "SELECT DISTINCT case_id FROM cases WHERE patient_key IN "
            "(SELECT patient_key FROM cases WHERE case_id IN (SELECT value FROM json_each(?1))) "
            "AND case_id NOT IN (SELECT value FROM json_each(?1)) ORDER BY number",
            json.dumps(list(case_ids)),
        )
        return [row[0] for row in rows]

    def bundle_ids(self) -> list[str]:
        """Every bundle that judged a case."""
        return [row[0] for row in self._all("SELECT DISTINCT bundle_id FROM cases ORDER BY bundle_id")]

    def scored_by_others(self, bundle_id: str, *, below: int | None = None, most: int = 1000) -> dict[int, AskedCase]:
        """Cases by their numbers, the latest first, whose last report is a score, and which this bundle has not judged:
        those with numbers below `below`, at most so many.
        """
        rows = self._all(
            "SELECT number, sha256, case_id FROM cases AS this WHERE number < coalesce(?2, 1 << 62) "
            "AND status = 'scored' "
            "AND number = (SELECT max(number) FROM cases WHERE sha256 = this.sha256) "
            "AND NOT EXISTS (SELECT 1 FROM cases WHERE sha256 = this.sha256 AND bundle_id = ?1) "
            "ORDER BY number DESC LIMIT ?3",
            bundle_id,
            below,
            most,
        )
        return {row[0]: AskedCase(*row[1:]) for row in rows}

    def label(self, case_id: str, label: str | None, *, by: str) -> bool:
        """Commit what a person says that a case is; None takes the label away. False when there is no such case.

        by: whose word it is. It goes to the audit log, beside who runs the command.
        """
        with self._transaction() as connection:
            connection.execute("UPDATE cases SET label = ? WHERE case_id = ?", (label, case_id))
            if not connection.changes():
                return False
            self.append(connection, Event.LABELLED, {"by": self._by, "for": by, "label": label}, case_id=case_id)
            return True

    def link(self, case_id: str, note: str) -> bool:
        """Commit a note on a case, in place of an earlier one; an empty one takes it away. False when there is no such
        case. The audit log has that it was noted, never what.
        """
        with self._transaction() as connection:
            rows = connection.execute("SELECT DISTINCT sha256 FROM cases WHERE case_id = ?", (case_id,)).fetchall()
            for (sha256,) in rows:
                connection.execute("DELETE FROM notes WHERE sha256 = ?", (sha256,))
                if note:
                    connection.execute("INSERT INTO notes VALUES (?, ?, ?)", (sha256, note, time.time()))
            if rows:
                self.append(connection, Event.LINKED, {"by": self._by, "removed": not note}, case_id=case_id)
            return bool(rows)

    def ask_again(self, digests: Sequence[str], *, by: str | None = None) -> None:
        """Commit that these cases are to be judged again. Their reports stay until then. by: else who runs this."""
        for first in range(0, len(digests), _AT_ONCE):
            some = digests[first : first + _AT_ONCE]
            rows, case_ids = [(sha256, time.time()) for sha256 in some], [case_id_of(sha256) for sha256 in some]
            with self._transaction() as connection:
                connection.executemany("INSERT OR REPLACE INTO requeued VALUES (?, ?)", rows)
                append_each(connection, self._site_key, Event.REQUEUED, {"by": by or self._by}, case_ids)

    def was_forgotten(self, case_id: str) -> bool:
        key = forgotten_key(self._site_key, case_id)
        return self._one("SELECT 1 FROM forgotten WHERE case_key = ?", key) is not None

    def mentions(self, case_id: str) -> Mentions:
        """Which reports of other cases name a case. Millions are searched; who writes is not kept waiting."""
        last = {table: self._one(f"SELECT coalesce(max(number), 0) FROM {table}")[0] for table in _TABLES}
        return Mentions(case_id, self._naming(self._all, case_id, "<=", last), last)

    def forget(self, found: Mentions, blank: Callable[[str], str], before: Callable[[Document], None]) -> int:
        """Commit that a case is gone, and leave keyed hashes of it. Returns how many other reports named it.

        blank: makes of another case's report one that does not name this case. before: called ahead of the commit with
        each report that came since the search.
        """
        with self._transaction() as connection:
            since = self._naming(
                lambda *query: connection.execute(query[0], query[1:]).fetchall(), found.case_id, ">", found.searched
            )
            for mention in since:
                before(mention.document)
            for mention in found.found + since:
                # As it is now: another command may have blanked another case in it meanwhile.
                query = f"SELECT report FROM {mention.table} WHERE number = ?"
                for (text,) in connection.execute(query, (mention.number,)).fetchall():
                    values = (blank(str(text)), mention.number)
                    connection.execute(f"UPDATE {mention.table} SET report = ? WHERE number = ?", values)
            if self._erase(connection, found.case_id):
                detail = {"by": self._by, "mentions": len(found.found + since)}
                self.append(connection, Event.FORGOTTEN, detail, case_id=found.case_id)
        return len(found.found + since)

    def _naming(
        self, all_of: Callable[..., list[Any]], case_id: str, compared: str, last: dict[str, int]
    ) -> list[Mention]:
        found = []
        for table, number in last.items():
            rows = all_of(
                f"SELECT number, substr(sha256, 1, {CASE_ID_DIGITS}), bundle_id, (SELECT report FROM cases WHERE "
                f"sha256 = named.sha256 AND bundle_id = named.bundle_id) FROM {table} AS named WHERE number "
                f"{compared} ?1 AND instr(report, ?2) AND substr(sha256, 1, {CASE_ID_DIGITS}) <> ?2",
                number,
                case_id,
            )
            found += [Mention(table, row[0], Document(*row[1:])) for row in rows]
        return found

    def _erase(self, connection: apsw.Connection, case_id: str) -> bool:
        """Returns whether there was anything: run again, the command only finishes its work."""
        rows = connection.execute("SELECT DISTINCT sha256 FROM cases WHERE case_id = ?", (case_id,)).fetchall()
        for sha256 in [str(row[0]) for row in rows]:
            key = forgotten_key(self._site_key, sha256)
            connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (key, time.time()))
            connection.execute("UPDATE sightings SET sha256 = ? WHERE sha256 = ?", (key, sha256))
            for table in (*_TABLES, "requeued", "notes", "shadow"):
                connection.execute(f"DELETE FROM {table} WHERE sha256 = ?", (sha256,))
        # By this one the command, run again, knows its own work from a mistyped case id.
        key = forgotten_key(self._site_key, case_id)
        connection.execute("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", (key, time.time()))
        return bool(rows)

    def clear_log(self, *, tries: int = 10, wait_s: float = _WAIT_S) -> None:
        """Bring all that was committed into the database and empty the log beside it, where older bytes are.

        While SQLite waits for who reads the log, nobody can write: so it waits a tenth of what the daemon would, and
        again, and the daemon writes in between. Raises StateError when another program reads it at the last try too.
        """
        try:
            with self._lock, self._waiting_for(wait_s):
                while not self._emptied(must=tries == 1):
                    tries -= 1
                    time.sleep(wait_s)
        except apsw.BusyError:
            raise StateError(
                f"another program reads the ledger {self._path} and holds its log, which still has the old bytes; "
                "close that program and run it again"
            ) from None
        except apsw.Error as fault:
            raise ledger_error(self._path, fault) from None

    def _emptied(self, *, must: bool) -> bool:
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            if must:
                raise
            return False
        return True

    @contextmanager
    def _waiting_for(self, wait_s: float) -> Iterator[None]:
        self._connection.set_busy_timeout(round(wait_s * 1000))
        try:
            yield
        finally:
            self._connection.set_busy_timeout(BUSY_MS)

    def _connect(self) -> apsw.Connection:
        return apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READWRITE)

    def _prepare(self) -> None:
        check_version(self._connection, str(self._path))
        self._write_safely()


def checked_case_id(text: str) -> str:
    """Raises UsageError when this cannot be a case id."""
    if not _CASE_ID.fullmatch(text):
        raise UsageError(f"{text!r} is no case id; one is {CASE_ID_DIGITS} hex digits, as in a result file's name")
    return text
