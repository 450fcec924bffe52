"""The ledger's tables, and how a ledger of an earlier version becomes one of this. Reads and writes are in store.py.

What a digest goes through: (nothing) -> finished -> (requeued -> finished)* -> forgotten -> (nothing known but a key).
  finished    a row in `cases` for each bundle that judged it: scored or not_scored, with its report
  requeued    asked for again: the row stays until the new report replaces it, and then goes to `superseded`
  forgotten   only a keyed hash is left, so that a file which still lies in the incoming folder is not taken again
A file that is in none of these is work to be done: no state is written before the result is, so a crash loses none.
"""

import shutil
from pathlib import Path

import apsw

from edge.errors import StateError

SCHEMA_VERSION = 4
RARE = "event NOT IN ('scored', 'not_scored')"  # in the words of the index, which is only used for these
_SPACE = 3  # times what is written anew: what is changed in one step lies there twice and once more in its log

_CASES = """
CREATE TABLE cases (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256 TEXT NOT NULL, bundle_id TEXT NOT NULL, case_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('scored', 'not_scored')), reason TEXT, score REAL, label TEXT,
  instance_key TEXT, patient_key TEXT, pixels_sha256 TEXT, embedding BLOB,
  report TEXT NOT NULL, finished_s REAL NOT NULL,
  UNIQUE (sha256, bundle_id)) STRICT;
CREATE INDEX cases_by_id ON cases (case_id);
CREATE INDEX cases_by_instance ON cases (instance_key) WHERE instance_key IS NOT NULL;
"""
# A number is never given twice: a search that began before a row was removed knows by it what came since.
_SUPERSEDED = """
CREATE TABLE superseded (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256 TEXT NOT NULL, bundle_id TEXT NOT NULL, report TEXT NOT NULL,
  finished_s REAL NOT NULL, superseded_s REAL NOT NULL) STRICT;
CREATE INDEX superseded_by_digest ON superseded (sha256);
"""
_ASIDE = f"""
CREATE TABLE requeued (sha256 TEXT PRIMARY KEY, requeued_s REAL NOT NULL) STRICT, WITHOUT ROWID;
{_SUPERSEDED}
CREATE TABLE forgotten (case_key TEXT PRIMARY KEY, forgotten_s REAL NOT NULL) STRICT, WITHOUT ROWID;
"""
# By digest, not by report: what a person says of a case stays with it, whichever bundle judges it next.
_NOTES = """
CREATE TABLE notes (sha256 TEXT PRIMARY KEY, note TEXT NOT NULL, noted_s REAL NOT NULL) STRICT, WITHOUT ROWID;
"""
# By both bundles: what was compared with an earlier one stays what it was. Not a report: nobody is told of it.
_SHADOW = """
CREATE TABLE shadow (
  sha256 TEXT NOT NULL, candidate_id TEXT NOT NULL, active_id TEXT NOT NULL,
  active_score REAL, active_positive INTEGER, active_reason TEXT, active_s REAL,
  candidate_score REAL, candidate_positive INTEGER, candidate_reason TEXT, candidate_s REAL,
  at_s REAL NOT NULL,
  PRIMARY KEY (sha256, candidate_id, active_id)) STRICT, WITHOUT ROWID;
"""
_SIGHTINGS = """
CREATE TABLE sightings (path_key BLOB PRIMARY KEY, look BLOB NOT NULL, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID;
"""
_INDEX_OF_SIGHTINGS = "CREATE INDEX sightings_by_digest ON sightings (sha256);"

# By name, as they must be found when the log is verified. INSERT OR REPLACE would remove an entry without a DELETE.
AUDIT = {
    "audit": """CREATE TABLE audit (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  at_s REAL NOT NULL, event TEXT NOT NULL, subject BLOB, detail TEXT NOT NULL, hash BLOB NOT NULL) STRICT""",
    "audit_of_rare_events": f"CREATE INDEX audit_of_rare_events ON audit (event) WHERE {RARE}",
    "audit_is_not_changed": """CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END""",
    "audit_is_not_shortened": """CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END""",
    "audit_grows_at_its_end": """CREATE TRIGGER audit_grows_at_its_end BEFORE INSERT ON audit
WHEN NEW.number <= (SELECT coalesce(max(number), 0) FROM audit)
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END""",
}
_AUDIT = "".join(f"{statement};\n" for statement in AUDIT.values())

# From each version to this one; 0 is an empty file. A number is never given twice: the index knows cases by it.
_STEPS = {
    0: _CASES + _ASIDE + _NOTES + _SIGHTINGS + _INDEX_OF_SIGHTINGS + _AUDIT + _SHADOW,
    1: "DROP INDEX cases_by_id; DROP INDEX cases_by_instance; ALTER TABLE cases RENAME TO cases_of_version_1;"
    + _CASES
    + """
INSERT INTO cases (sha256, bundle_id, case_id, status, reason, score, label, instance_key, patient_key, pixels_sha256,
  embedding, report, finished_s)
SELECT sha256, bundle_id, case_id, status, reason, score, label, instance_key, patient_key, pixels_sha256,
  embedding, report, finished_s FROM cases_of_version_1 ORDER BY finished_s;
DROP TABLE cases_of_version_1;
"""
    + _ASIDE
    + _NOTES
    + _INDEX_OF_SIGHTINGS
    + _AUDIT
    + _SHADOW,
    2: "DROP INDEX superseded_by_digest; ALTER TABLE superseded RENAME TO superseded_of_version_2;"
    + _SUPERSEDED
    + """
INSERT INTO superseded (sha256, bundle_id, report, finished_s, superseded_s)
SELECT sha256, bundle_id, report, finished_s, superseded_s FROM superseded_of_version_2 ORDER BY rowid;
DROP TABLE superseded_of_version_2;
"""
    + _NOTES
    + _AUDIT
    + _SHADOW,
    3: _SHADOW,
}


def migrate(connection: apsw.Connection) -> None:
    """Bring a ledger to this version, all or nothing. One of a later version is left for `check_version` to refuse.

    Raises StateError when the disk has too little space for it; a million cases of version 1 take 90 s and 13 GB.
    """
    with connection:
        version = connection.pragma("user_version")
        if version in _STEPS:
            if version:
                _check_space(Path(connection.filename), _SPACE * _changed_bytes(connection, version))
            connection.execute(_STEPS[version])
            connection.pragma("user_version", SCHEMA_VERSION)


def _changed_bytes(connection: apsw.Connection, version: int) -> int:
    """About what is written anew: all of version 1, the superseded reports of version 2, nothing of version 3."""
    if version == 1:
        return Path(connection.filename).stat().st_size
    if version == 3:
        return 0
    return int(connection.execute("SELECT total(octet_length(report) + 200) FROM superseded").get)


def _check_space(ledger: Path, needed: int) -> None:
    free = shutil.disk_usage(ledger.parent).free
    if free < needed:
        raise StateError(
            f"the ledger {ledger} is of an earlier version, and to take it over takes {needed / 1e6:.1f} MB of disk; "
            f"{free / 1e6:.1f} MB are free. Free some and start again"
        )


def check_version(connection: apsw.Connection, name: str) -> None:
    """Raises StateError when this program does not know the ledger's version."""
    version = connection.pragma("user_version")
    if version < SCHEMA_VERSION:
        raise StateError(f"{name} has schema {version}, this version knows {SCHEMA_VERSION}; start edge-cxr watch once")
    if version > SCHEMA_VERSION:
        raise StateError(f"{name} has schema {version}, this version knows {SCHEMA_VERSION}; upgrade edge-cxr")
