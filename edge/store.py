"""The ledger: one SQLite database that knows every case with its report and embedding. The truth; the rest is cache.

A case has a row only once it is finished: scored or not_scored, one row for each pair of file bytes and bundle. What is
not here is work to be done, so a crash at any point loses nothing. Paths are known only as keyed hashes. The tables,
and what a case goes through, are in schema.py; what an operator does to a ledger is in upkeep.py.
"""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import apsw
import numpy as np

from edge.errors import DiskFailed, StateError
from edge.outputs.durable import sync_folder
from edge.schema import check_version, migrate
from edge.similarity import Extent, NumberedCase
from edge.values import FinishedCase, Report, Sighting

_NUMBERED = "number, case_id, embedding, label, score"
BUSY_MS = 10_000  # another connection may hold the database for a moment, at a checkpoint or a start


@dataclass(frozen=True)
class EarlierInstance:
    """A finished case with the same SOPInstanceUID."""

    case_id: str
    pixels_sha256: str


class LedgerReader:
    """A connection that only reads, beside the daemon's. Safe to use from several threads: a lock serialises them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = self._connect()
            self._connection.set_busy_timeout(BUSY_MS)
            self._prepare()
        except apsw.Error as fault:
            raise ledger_error(path, fault) from None
        except OSError as fault:
            raise StateError(f"the ledger {path} cannot be opened ({fault.strerror}); check its owner") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def finished(self, sha256: str) -> FinishedCase | None:
        """The case of these bytes, as it was judged last. None when it never was, and when it was asked for again."""
        unasked = "NOT EXISTS (SELECT 1 FROM requeued WHERE sha256 = ?1)"
        row = self._one(f"SELECT report FROM cases WHERE sha256 = ?1 AND {unasked} ORDER BY number DESC", sha256)
        if row is None:
            return None
        report = json.loads(row[0])
        return FinishedCase(report["case_id"], report["source"]["format"], report["reason"], report["detail"])

    def earlier_instance(self, instance_key: str, *, without: str) -> EarlierInstance | None:
        """The first finished case of another file with the same SOPInstanceUID, whichever bundle judged it."""
        row = self._one(
            "SELECT case_id, pixels_sha256 FROM cases WHERE instance_key = ? AND sha256 <> ? "
            "AND coalesce(reason, '') NOT IN ('duplicate', 'conflict') ORDER BY number",
            instance_key,
            without,
        )
        return None if row is None else EarlierInstance(*row)

    def reports(self, case_id: str) -> list[dict[str, Any]]:
        """Every report of a case, oldest first, one for each bundle that judged it."""
        rows = self._all("SELECT report FROM cases WHERE case_id = ? ORDER BY finished_s", case_id)
        return [json.loads(row[0]) for row in rows]

    def earlier_cases(
        self, bundle_id: str, *, after: int = 0, up_to: int | None = None, case_id: str | None = None
    ) -> list[NumberedCase]:
        """The scored cases of a bundle in the order of their numbers: those above `after`, not above `up_to`, or the
        one with this id. The reading takes as long as there are numbers, whichever bundle's they are.
        """
        rows = self._all(
            f"SELECT {_NUMBERED} FROM cases WHERE number > ?2 AND number <= coalesce(?3, 1 << 62) "
            f"AND bundle_id = ?1 AND status = 'scored' {'AND case_id = ?4' if case_id else ''} ORDER BY number",
            *((bundle_id, after, up_to, case_id) if case_id else (bundle_id, after, up_to)),
        )
        return [_numbered(row) for row in rows]

    def cases_numbered(self, numbers: Sequence[int]) -> dict[int, NumberedCase]:
        """The scored cases with these numbers, by number; without those that are no longer there."""
        rows = self._all(
            f"SELECT {_NUMBERED} FROM cases WHERE number IN (SELECT value FROM json_each(?)) AND status = 'scored'",
            json.dumps(list(numbers)),
        )
        return {row[0]: _numbered(row) for row in rows}

    def extent(self) -> Extent:
        """How far the ledger goes, for who keeps a copy of its cases."""
        last_number, *forgotten = self._one(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'cases'), 0), "
            "count(*), total(forgotten_s) FROM forgotten"
        )
        return Extent(last_number, "{}:{}".format(*forgotten))

    def _connect(self) -> apsw.Connection:
        return apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)

    def _prepare(self) -> None:
        check_version(self._connection, str(self._path))

    def _all(self, query: str, *values: Any) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except apsw.Error as fault:
            raise ledger_error(self._path, fault) from None

    def _one(self, query: str, *values: Any) -> Any:
        return next(iter(self._all(query, *values)), None)


class Ledger(LedgerReader):
    """The connection that writes: the daemon's. An operator's command has one beside it for a moment (upkeep.py)."""

    def __init__(self, path: Path, *, site_key: bytes) -> None:
        self._site_key = site_key
        self._data_version = 0
        self._disk_failed = False
        super().__init__(path)

    def record(self, report: Report, document: str, sighting: Sighting | None) -> None:
        """Commit a finished case, its public report and where it was seen. Raises StateError when the disk fails."""
        source, prediction = report.source, report.prediction
        row = {
            "sha256": report.sha256,
            "bundle_id": report.bundle_id,
            "case_id": report.case_id,
            "status": "scored" if report.scored else "not_scored",
            "reason": report.reason,
            "score": prediction.score if prediction else None,
            "instance_key": source.instance_key if source else None,
            "patient_key": source.patient_key if source else None,
            "pixels_sha256": source.pixels_sha256 if source else None,
            "embedding": prediction.embedding.astype("<f4").tobytes() if prediction else None,
            "report": document,
            "finished_s": time.time(),
        }
        columns = ", ".join(row)
        places = ", ".join(f":{column}" for column in row)
        with self._transaction() as connection:
            _make_way(connection, report.sha256, report.bundle_id)
            connection.execute(
                f"INSERT INTO cases ({columns}) VALUES ({places}) ON CONFLICT (sha256, bundle_id) DO NOTHING", row
            )
            if sighting is not None:
                self._remember(connection, sighting, report.sha256)

    def remember(self, sighting: Sighting, sha256: str) -> None:
        """Another file with known bytes: it needs no further look."""
        with self._transaction() as connection:
            self._remember(connection, sighting, sha256)

    def is_known(self, sighting: Sighting) -> bool:
        """True when this path, looking just so, has its result, or was forgotten. False when it was asked for again."""
        query = (
            "SELECT 1 FROM sightings AS seen WHERE path_key = ? AND look = ? AND ("
            "EXISTS (SELECT 1 FROM cases WHERE sha256 = seen.sha256) "
            "AND NOT EXISTS (SELECT 1 FROM requeued WHERE sha256 = seen.sha256) "
            "OR EXISTS (SELECT 1 FROM forgotten WHERE case_key = seen.sha256))"
        )
        return self._one(query, self._path_key(sighting), _look_bytes(sighting)) is not None

    def remember_forgotten(self, sighting: Sighting, sha256: str) -> bool:
        """True when the case of these bytes was forgotten; the file then needs no further look, as after a remount.

        False when it came back and was asked for again.
        """
        case_key = forgotten_key(self._site_key, sha256)
        query = "SELECT 1 FROM forgotten WHERE case_key = ? AND NOT EXISTS (SELECT 1 FROM requeued WHERE sha256 = ?)"
        if self._one(query, case_key, sha256) is None:
            return False
        self.remember(sighting, case_key)
        return True

    def forgotten_among(self, case_ids: Iterable[str]) -> list[str]:
        """Those that were forgotten and have not come back."""
        keys = {forgotten_key(self._site_key, case_id): case_id for case_id in case_ids}
        rows = self._all(
            "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM forgotten WHERE case_key = key) "
            "AND NOT EXISTS (SELECT 1 FROM cases WHERE case_id = value)",
            json.dumps(keys),
        )
        return [row[0] for row in rows]

    def changed_elsewhere(self) -> bool:
        """True when another process has written since this was last asked, such as a requeue or a forget."""
        before, self._data_version = self._data_version, self._one("PRAGMA data_version")[0]
        return before != self._data_version

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path))
        self._path.chmod(0o600)
        return connection

    def _prepare(self) -> None:
        self._write_safely()
        migrate(self._connection)
        sync_folder(self._path.parent)  # SQLite passes over a failed sync of its folder
        self._data_version = self._connection.pragma("data_version")
        super()._prepare()

    def _write_safely(self) -> None:
        # A commit must survive a power cut, not only a crash (synchronous=NORMAL loses the last ones in WAL mode).
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.pragma("secure_delete", True)  # what is forgotten leaves no bytes behind

    def _check_disk(self) -> None:
        if self._disk_failed:
            raise DiskFailed(f"the ledger {self._path} failed before (IOError); check the disk and start again")

    def _remember(self, connection: apsw.Connection, sighting: Sighting, sha256: str) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO sightings VALUES (?, ?, ?)",
            (self._path_key(sighting), _look_bytes(sighting), sha256),
        )

    def _path_key(self, sighting: Sighting) -> bytes:
        return hmac.new(self._site_key, b"path:" + bytes(sighting.path), hashlib.sha256).digest()

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        try:
            with self._lock:
                self._check_disk()
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except apsw.IOError:
                    # What a failed fsync was to keep may be gone; another one would succeed and prove nothing.
                    self._disk_failed = True
                    self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                    raise
                finally:
                    if self._connection.in_transaction:  # SQLite has rolled back by itself when the disk is full
                        self._connection.execute("ROLLBACK")
        except apsw.Error as fault:
            raise ledger_error(self._path, fault) from None


def _make_way(connection: apsw.Connection, sha256: str, bundle_id: str) -> None:
    """A case that was asked for again gives way to its new report."""
    connection.execute("DELETE FROM requeued WHERE sha256 = ?", (sha256,))
    if connection.changes():
        connection.execute(
            "INSERT INTO superseded SELECT sha256, bundle_id, report, finished_s, ? FROM cases "
            "WHERE sha256 = ? AND bundle_id = ?",
            (time.time(), sha256, bundle_id),
        )
        connection.execute("DELETE FROM cases WHERE sha256 = ? AND bundle_id = ?", (sha256, bundle_id))


def forgotten_key(site_key: bytes, name: str) -> str:
    """What is left of a forgotten case: a keyed hash of its file's digest, or of its case id. 64 hex digits."""
    return hmac.new(site_key, f"forgotten:{name}".encode(), hashlib.sha256).hexdigest()


def _numbered(row: tuple[int, str, bytes, str | None, float | None]) -> NumberedCase:
    number, case_id, embedding, label, score = row
    return NumberedCase(case_id, np.frombuffer(embedding, "<f4"), label, score, number)


def _look_bytes(sighting: Sighting) -> bytes:
    return f"{sighting.size_bytes}:{sighting.mtime_ns}:{sighting.inode}".encode()


def ledger_error(path: Path, fault: apsw.Error) -> StateError:
    if isinstance(fault, apsw.FullError):
        return StateError(f"the disk of {path.parent} is full; free space and start again: nothing was lost")
    if isinstance(fault, apsw.NotADBError | apsw.CorruptError):
        return StateError(f"{path} is damaged; restore it from a backup")
    if isinstance(fault, apsw.BusyError):
        return StateError(f"another program holds the ledger {path}; close it and start again")
    if isinstance(fault, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError):
        return StateError(f"the ledger {path} cannot be opened; check its owner and that its folder is there")
    return StateError(f"the ledger {path} failed ({type(fault).__name__}); check the disk and start again")
