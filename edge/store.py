"""The ledger: one SQLite database that knows every case with its report and embedding. The truth; the rest is cache.

A case has a row only once it is finished: scored or not_scored, one row for each pair of file bytes and bundle. What is
not here is work to be done, so a crash at any point loses nothing. Paths are known only as keyed hashes. The tables,
and what a case goes through, are in schema.py; how it is read in ledger_reader.py; what an operator does in upkeep.py.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

import apsw

import edge
from edge import audit
from edge.audit import Event
from edge.errors import DiskFailed
from edge.ledger_reader import LedgerReader, ledger_error
from edge.outputs.durable import sync_folder
from edge.schema import migrate
from edge.shadow_pairs import ShadowPair
from edge.values import EngineIdentity, Report, Sighting

_BUNDLE_DIGITS = 12  # of a bundle's id, as in the names of the results' folders


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
            "label": None,
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
            row["label"] = _label(connection, report.sha256)
            _make_way(connection, report.sha256, report.bundle_id)
            connection.execute(
                f"INSERT INTO cases ({columns}) VALUES ({places}) ON CONFLICT (sha256, bundle_id) DO NOTHING", row
            )
            if connection.changes():
                event = Event.SCORED if report.scored else Event.NOT_SCORED
                self.append(connection, event, _judgement(report), case_id=report.case_id)
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

    def record_shadow(self, pair: ShadowPair) -> bool:
        """Commit what a candidate said of a case, in place of what it said before. False when the case is not there any
        more: it was forgotten, or is judged again.
        """
        judged = "SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE EXISTS "
        with self._transaction() as connection:
            connection.execute(
                f"INSERT OR REPLACE INTO shadow {judged} (SELECT 1 FROM cases WHERE sha256 = ? AND bundle_id = ?)",
                (
                    pair.sha256,
                    pair.candidate_id,
                    pair.active_id,
                    *astuple(pair.active),
                    *astuple(pair.candidate),
                    time.time(),
                    pair.sha256,
                    pair.active_id,
                ),
            )
            return bool(connection.changes())

    def changed_elsewhere(self) -> bool:
        """True when another process has written since this was last asked, such as a requeue or a forget."""
        before, self._data_version = self._data_version, self._one("PRAGMA data_version")[0]
        return before != self._data_version

    def append(
        self, connection: apsw.Connection, event: Event, detail: Mapping[str, object], *, case_id: str | None = None
    ) -> None:
        """Add to the audit log, in the transaction of what it tells of. No name, path of an input or UID in detail."""
        audit.append(connection, self._site_key, event, detail, case_id=case_id)

    def note(self, event: Event, detail: Mapping[str, object], *, case_id: str | None = None) -> None:
        """Add to the audit log what changes nothing else in the ledger."""
        with self._transaction() as connection:
            self.append(connection, event, detail, case_id=case_id)

    def note_start(self, settings: Mapping[str, object], *, bundle_name: str, engine: EngineIdentity) -> None:
        """Add that the daemon serves; before that, what has changed of the settings and the bundle since it last did.

        settings: the whole configuration, by key; paths of folders may be in it, secrets not.
        """
        given = json.loads(json.dumps(dict(settings)))
        started = {"version": edge.__version__, "bundle": engine.bundle_id[:_BUNDLE_DIGITS], "backend": engine.backend,
                   "precision": engine.precision, "runtime": engine.version}  # fmt: skip
        with self._transaction() as connection:
            settings_before, before = _last_served(connection)
            changed = _changes(settings_before, given)
            if changed:
                self.append(connection, Event.CONFIGURED, {"changed": changed})
            if before != engine.bundle_id:
                names = {"from": before, "to": engine.bundle_id, "name": bundle_name}
                self.append(connection, Event.BUNDLE_CHANGED, names)
            self.append(connection, Event.STARTED, started)

    def note_retained(self, cases: Mapping[str, int]) -> None:
        """cases: how many lost their files in each folder of the state folder."""
        self.note(Event.RETAINED, {"cases": cases})

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


def _label(connection: apsw.Connection, sha256: str) -> str | None:
    """What a person has said of these bytes: it holds for every report of them."""
    found = connection.execute("SELECT max(label) FROM cases WHERE sha256 = ?", (sha256,)).get
    return None if found is None else str(found)


def _make_way(connection: apsw.Connection, sha256: str, bundle_id: str) -> None:
    """A case that was asked for again gives way to its new report."""
    connection.execute("DELETE FROM requeued WHERE sha256 = ?", (sha256,))
    if connection.changes():
        connection.execute(
            "INSERT INTO superseded (sha256, bundle_id, report, finished_s, superseded_s) "
            "SELECT sha256, bundle_id, report, finished_s, ? FROM cases WHERE sha256 = ? AND bundle_id = ?",
            (time.time(), sha256, bundle_id),
        )
        connection.execute("DELETE FROM cases WHERE sha256 = ? AND bundle_id = ?", (sha256, bundle_id))


def _judgement(report: Report) -> dict[str, str]:
    """What the audit log tells of a case beyond its reference: by what it was judged, and never its score."""
    told = {"bundle": report.bundle_id[:_BUNDLE_DIGITS], "backend": report.engine.backend}
    reason = {} if report.reason is None else {"reason": str(report.reason)}
    return told | {"precision": report.engine.precision} | reason


def _last_served(connection: apsw.Connection) -> tuple[dict[str, object], str | None]:
    """The settings, as the entries of all changes add up, and the bundle. Raises StateError at a broken entry."""
    known: dict[str, object] = {}
    try:
        for detail in audit.details(connection, Event.CONFIGURED):
            known |= {key: after for key, (_, after) in detail["changed"].items()}
        bundles = [detail["to"] for detail in audit.details(connection, Event.BUNDLE_CHANGED)]
    except (AttributeError, LookupError, TypeError, ValueError):
        raise audit.changed_by_another() from None
    return known, bundles[-1] if bundles else None


def _changes(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, list[object]]:
    """[old, new] of each key that differs; None for a key that there was not, or is no more."""
    both = {key: [before.get(key), after.get(key)] for key in sorted({*before, *after})}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def forgotten_key(site_key: bytes, name: str) -> str:
    """What is left of a forgotten case: a keyed hash of its file's digest, or of its case id. 64 hex digits."""
    return hmac.new(site_key, f"forgotten:{name}".encode(), hashlib.sha256).hexdigest()


def _look_bytes(sighting: Sighting) -> bytes:
    return f"{sighting.size_bytes}:{sighting.mtime_ns}:{sighting.inode}".encode()
