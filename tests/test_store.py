"""The ledger: one row for each pair of bytes and bundle, nothing that names a patient, and clear faults."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import pytest
from reports import BUNDLE, gated, refused, scored, sha, sighting_of, source

from edge.errors import StateError
from edge.ledger_reader import EarlierInstance, LedgerReader
from edge.outputs.report_json import encode, report_json
from edge.schema import AUDIT, SCHEMA_VERSION
from edge.shadow_pairs import ShadowPair, Verdict
from edge.store import Ledger
from edge.values import Reason, Report, Sighting

KEY = bytes(range(32))


def record(ledger: Ledger, report: Report, sighting: Sighting | None) -> None:
    ledger.record(report, encode(report), sighting)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite", site_key=KEY) as opened:
        yield opened


def file_in(folder: Path, name: str = "file", content: bytes = b"x") -> Sighting:
    path = folder / name
    path.write_bytes(content)
    return sighting_of(path)


def test_a_recorded_case_is_finished_as_it_was_judged_last(ledger: Ledger) -> None:
    assert ledger.finished(sha(1)) is None
    record(ledger, scored(1), None)
    case = ledger.finished(sha(1))
    assert case is not None
    assert (case.case_id, case.format, case.reason, case.detail) == (sha(1)[:16], "dicom", None, None)
    record(ledger, replace(refused(1), bundle_id="another bundle"), None)
    case = ledger.finished(sha(1))
    assert case is not None
    assert case.reason == Reason.TRUNCATED
    assert ledger.finished(sha(2)) is None


def test_a_refusal_keeps_its_reason(ledger: Ledger) -> None:
    record(ledger, refused(1), None)
    case = ledger.finished(sha(1))
    assert case is not None
    assert (case.reason, case.detail) == (Reason.TRUNCATED, "send it again")


def test_it_is_still_there_for_another_process(tmp_path: Path) -> None:
    path, seen = tmp_path / "ledger.sqlite", file_in(tmp_path)
    with Ledger(path, site_key=KEY) as ledger:
        record(ledger, scored(1), seen)
    with Ledger(path, site_key=KEY) as ledger:
        assert ledger.finished(sha(1)) is not None
        assert ledger.is_known(seen)


def test_the_first_report_of_a_pair_stays(ledger: Ledger) -> None:
    record(ledger, scored(1, score=0.25), None)
    record(ledger, scored(1, score=0.75), None)
    assert [report["score"] for report in ledger.reports(sha(1)[:16])] == [0.25]
    record(ledger, replace(scored(1, score=0.5), bundle_id="another"), None)
    assert [report["score"] for report in ledger.reports(sha(1)[:16])] == [0.25, 0.5]


def test_reports_are_those_of_the_result_files(ledger: Ledger) -> None:
    record(ledger, scored(1), None)
    assert ledger.reports(sha(1)[:16]) == [report_json(scored(1))]
    assert ledger.reports("0" * 16) == []


def test_a_file_is_known_until_it_changes(ledger: Ledger, tmp_path: Path) -> None:
    seen = file_in(tmp_path)
    assert not ledger.is_known(seen)
    record(ledger, scored(1), seen)
    assert ledger.is_known(seen)
    for change in (
        {"size_bytes": 2},
        {"mtime_ns": seen.mtime_ns + 1},
        {"inode": seen.inode + 1},
        {"path": tmp_path / "other"},
    ):
        assert not ledger.is_known(replace(seen, **change))


def test_the_same_bytes_under_another_name_are_known_once_remembered(ledger: Ledger, tmp_path: Path) -> None:
    record(ledger, scored(1), file_in(tmp_path))
    second = file_in(tmp_path, "second")
    assert not ledger.is_known(second)
    ledger.remember(second, sha(1))
    assert ledger.is_known(second)


def test_a_remembered_file_without_a_case_is_work_to_be_done(ledger: Ledger, tmp_path: Path) -> None:
    seen = file_in(tmp_path)
    ledger.remember(seen, sha(1))
    assert not ledger.is_known(seen)


def test_a_path_that_holds_another_file_is_remembered_as_that(ledger: Ledger, tmp_path: Path) -> None:
    before = file_in(tmp_path)
    record(ledger, scored(1), before)
    after = file_in(tmp_path, content=b"longer")
    record(ledger, scored(2), after)
    assert ledger.is_known(after)
    assert not ledger.is_known(before)


def test_the_first_instance_of_a_uid(ledger: Ledger) -> None:
    assert ledger.earlier_instance("i", without=sha(9)) is None
    record(ledger, scored(1, instance="i", pixels="one"), None)
    record(ledger, scored(2, instance="i", pixels="two"), None)
    record(ledger, scored(3, instance="other"), None)
    assert ledger.earlier_instance("i", without=sha(9)) == EarlierInstance(sha(1)[:16], "one")
    assert ledger.earlier_instance("i", without=sha(1)) == EarlierInstance(sha(2)[:16], "two")


def test_a_duplicate_is_never_the_first_instance(ledger: Ledger, tmp_path: Path) -> None:
    """The first case, asked for again, would else be a duplicate of its own duplicate, and none would have a score."""
    record(ledger, scored(1, instance="i", pixels="one"), None)
    for number, reason in ((2, Reason.DUPLICATE), (3, Reason.CONFLICT)):
        record(ledger, replace(refused(number, reason), source=source(number, instance="i", pixels="one")), None)
    requeue(tmp_path / "ledger.sqlite", sha(1))
    assert ledger.earlier_instance("i", without=sha(1)) is None
    assert ledger.earlier_instance("i", without=sha(2)) == EarlierInstance(sha(1)[:16], "one")


def test_only_scored_cases_can_be_found(ledger: Ledger) -> None:
    for report in (scored(1, score=0.25), refused(2), gated(3)):
        record(ledger, report, None)
    (case,) = ledger.earlier_cases(BUNDLE)
    prediction = scored(1).prediction
    assert prediction is not None
    np.testing.assert_array_equal(case.embedding, prediction.embedding)
    assert (case.case_id, case.label, case.score) == (sha(1)[:16], None, 0.25)


def test_several_threads_record_at_once(ledger: Ledger) -> None:
    def record_ten(first: int) -> None:
        for number in range(first, first + 10):
            record(ledger, scored(number), None)
            assert ledger.finished(sha(number)) is not None

    threads = [threading.Thread(target=record_ten, args=(start,)) for start in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(ledger.earlier_cases(BUNDLE)) == 20


def test_no_path_is_in_the_files(tmp_path: Path) -> None:
    incoming = tmp_path / "DOE^JOHN_19500101"
    incoming.mkdir()
    state = tmp_path / "state"
    state.mkdir()
    with Ledger(state / "ledger.sqlite", site_key=KEY) as ledger:
        record(ledger, scored(1, instance="k" * 64), file_in(incoming, "MUELLER^ANNA.dcm"))
        ledger.remember(file_in(incoming, "SMITH^EVE.dcm"), sha(1))
        files = list(state.iterdir())
        assert len(files) == 3  # the database, its log and its shared memory
        stored = b"".join(path.read_bytes() for path in files)
    stored += (state / "ledger.sqlite").read_bytes()
    assert sha(1).encode() in stored  # or nothing was written yet
    for secret in (b"DOE", b"MUELLER", b"SMITH", b".dcm", str(tmp_path).encode()):
        assert secret not in stored


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", site_key=KEY) as ledger:
        record(ledger, scored(1), None)
        for path in tmp_path.iterdir():
            assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_commit_survives_a_power_cut(tmp_path: Path) -> None:
    """In WAL mode only synchronous=FULL (2) syncs each commit."""
    with Ledger(tmp_path / "ledger.sqlite", site_key=KEY) as ledger:
        assert ledger._connection.pragma("journal_mode") == "wal"
        assert ledger._connection.pragma("synchronous") == 2


def test_an_unknown_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, site_key=KEY).close()
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", SCHEMA_VERSION + 1)
    connection.close()
    with pytest.raises(StateError, match=rf"schema {SCHEMA_VERSION + 1}.*knows {SCHEMA_VERSION}; upgrade edge-cxr"):
        Ledger(path, site_key=KEY)


@pytest.mark.parametrize("damage", ["no database", "overwritten"])
def test_a_damaged_file_is_named_with_the_fix(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "ledger.sqlite"
    if damage == "no database":
        path.write_bytes(b"not a database, not at all" * 100)
    else:
        with Ledger(path, site_key=KEY) as ledger:
            record(ledger, scored(1), None)
        content = bytearray(path.read_bytes())
        content[100:] = b"\x5a" * (len(content) - 100)
        path.write_bytes(bytes(content))
    with pytest.raises(StateError, match=r"ledger\.sqlite is damaged; restore it from a backup"):
        Ledger(path, site_key=KEY).finished(sha(1))


def test_a_folder_that_is_gone_is_a_fault_of_the_state(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot be opened; check its owner and that its folder is there"):
        Ledger(tmp_path / "missing" / "ledger.sqlite", site_key=KEY)


def test_another_program_that_holds_it_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, site_key=KEY) as ledger:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
        release.start()
        record(ledger, scored(1), None)
        release.join()
        other.close()
        assert ledger.finished(sha(1)) is not None


def test_a_reader_sees_what_the_daemon_wrote_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, site_key=KEY) as ledger, LedgerReader(path) as reader:
        record(ledger, scored(1), None)
        assert [report["case_id"] for report in reader.reports(sha(1)[:16])] == [sha(1)[:16]]
        with pytest.raises(apsw.ReadOnlyError):
            reader._connection.execute("DELETE FROM cases")
    with LedgerReader(path) as reader:  # the daemon is gone
        assert len(reader.earlier_cases(BUNDLE)) == 1


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """SQLite's own limit on pages stands in for the disk: the same error by the same way."""
    with Ledger(tmp_path / "ledger.sqlite", site_key=KEY) as ledger:
        record(ledger, scored(0), None)
        pages = ledger._connection.pragma("page_count")
        ledger._connection.pragma("max_page_count", pages + 2)
        recorded = 1
        with pytest.raises(StateError, match=f"the disk of {tmp_path} is full; free space and start again"):
            while recorded < 1000:
                record(ledger, scored(recorded), None)
                recorded += 1
        assert 1 <= recorded < 1000
        assert len(ledger.earlier_cases(BUNDLE)) == recorded  # nothing lost, nothing half
        ledger._connection.pragma("max_page_count", 10**6)
        record(ledger, scored(recorded), None)
        assert ledger.finished(sha(recorded)) is not None


def requeue(path: Path, sha256: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO requeued VALUES (?, 1.0)", (sha256,))
    connection.close()


def test_what_was_asked_for_again_gives_way_to_the_new_report(ledger: Ledger, tmp_path: Path) -> None:
    seen = file_in(tmp_path)
    record(ledger, scored(1, score=0.25), seen)
    assert not ledger.changed_elsewhere()
    requeue(tmp_path / "ledger.sqlite", sha(1))
    assert ledger.changed_elsewhere()
    assert not ledger.changed_elsewhere()
    assert not ledger.is_known(seen)
    assert ledger.finished(sha(1)) is None
    assert [report["score"] for report in ledger.reports(sha(1)[:16])] == [0.25]  # until then it has the old one
    record(ledger, scored(1, score=0.75), seen)
    assert ledger.is_known(seen)
    assert [report["score"] for report in ledger.reports(sha(1)[:16])] == [0.75]
    (kept,) = ledger._connection.execute("SELECT sha256, report FROM superseded").fetchall()
    assert kept == (sha(1), encode(scored(1, score=0.25)))


def test_asked_for_again_under_another_bundle_leaves_the_earlier_result(ledger: Ledger, tmp_path: Path) -> None:
    record(ledger, scored(1, score=0.25), None)
    requeue(tmp_path / "ledger.sqlite", sha(1))
    record(ledger, replace(scored(1, score=0.5), bundle_id="another"), None)
    assert [report["score"] for report in ledger.reports(sha(1)[:16])] == [0.25, 0.5]
    assert ledger.finished(sha(1)) is not None


# As the versions made them, word for word.
VERSION_1 = """
CREATE TABLE cases (
  sha256 TEXT NOT NULL, bundle_id TEXT NOT NULL, case_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('scored', 'not_scored')), reason TEXT, score REAL, label TEXT,
  instance_key TEXT, patient_key TEXT, pixels_sha256 TEXT, embedding BLOB,
  report TEXT NOT NULL, finished_s REAL NOT NULL,
  PRIMARY KEY (sha256, bundle_id)) STRICT, WITHOUT ROWID;
CREATE INDEX cases_by_id ON cases (case_id);
CREATE INDEX cases_by_instance ON cases (instance_key, bundle_id) WHERE instance_key IS NOT NULL;
CREATE TABLE sightings (path_key BLOB PRIMARY KEY, look BLOB NOT NULL, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
"""


VERSION_2 = """
CREATE TABLE cases (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256 TEXT NOT NULL, bundle_id TEXT NOT NULL, case_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('scored', 'not_scored')), reason TEXT, score REAL, label TEXT,
  instance_key TEXT, patient_key TEXT, pixels_sha256 TEXT, embedding BLOB,
  report TEXT NOT NULL, finished_s REAL NOT NULL,
  UNIQUE (sha256, bundle_id)) STRICT;
CREATE INDEX cases_by_id ON cases (case_id);
CREATE INDEX cases_by_instance ON cases (instance_key) WHERE instance_key IS NOT NULL;
CREATE TABLE requeued (sha256 TEXT PRIMARY KEY, requeued_s REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE superseded (
  sha256 TEXT NOT NULL, bundle_id TEXT NOT NULL, report TEXT NOT NULL,
  finished_s REAL NOT NULL, superseded_s REAL NOT NULL) STRICT;
CREATE INDEX superseded_by_digest ON superseded (sha256);
CREATE TABLE forgotten (case_key TEXT PRIMARY KEY, forgotten_s REAL NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sightings (path_key BLOB PRIMARY KEY, look BLOB NOT NULL, sha256 TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX sightings_by_digest ON sightings (sha256);
PRAGMA user_version = 2;
"""


def test_a_ledger_of_version_1_is_taken_over_whole(tmp_path: Path) -> None:
    columns = "sha256, bundle_id, case_id, status, reason, score, instance_key, pixels_sha256, embedding, report"
    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    reports = [scored(1, instance="i"), refused(2), gated(3), replace(scored(1), bundle_id="another")]
    with Ledger(new, site_key=KEY) as ledger:
        for report in reports:
            record(ledger, report, file_in(tmp_path, report.sha256[:8]))
        cases = ledger._connection.execute(f"SELECT {columns}, finished_s FROM cases ORDER BY number").fetchall()
        sightings = ledger._connection.execute("SELECT * FROM sightings").fetchall()
    connection = apsw.Connection(str(old))
    connection.execute(VERSION_1)
    connection.executemany(f"INSERT INTO cases ({columns}, finished_s) VALUES ({'?,' * 10}?)", cases)
    connection.executemany("INSERT INTO sightings VALUES (?, ?, ?)", sightings)
    connection.close()
    with pytest.raises(StateError, match=r"has schema 1.*start edge-cxr watch once"):
        LedgerReader(old)
    for _ in range(2):  # the second start finds it done
        with Ledger(old, site_key=KEY) as ledger:
            taken = ledger._connection.execute(f"SELECT {columns}, finished_s FROM cases ORDER BY number").fetchall()
            assert taken == cases
            assert ledger._connection.execute("SELECT * FROM sightings").fetchall() == sightings
            assert ledger._connection.pragma("user_version") == SCHEMA_VERSION
            assert [ledger.finished(report.sha256) is not None for report in reports] == [True] * 4


def test_a_ledger_of_version_2_is_taken_over_whole(tmp_path: Path) -> None:
    """Its superseded reports get numbers in the order in which they came, and its audit log begins."""
    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    with Ledger(new, site_key=KEY) as ledger:
        for score in (0.25, 0.5, 0.75):
            record(ledger, scored(1, score=score), file_in(tmp_path))
            requeue(new, sha(1))
        record(ledger, refused(2), None)
    tables = ("cases", "requeued", "forgotten", "sightings")
    superseded = "SELECT sha256, bundle_id, report, finished_s, superseded_s FROM superseded ORDER BY rowid"
    connection = apsw.Connection(str(old))
    connection.execute(VERSION_2)
    connection.execute(f"ATTACH '{new}' AS new")
    connection.execute("".join(f"INSERT INTO {table} SELECT * FROM new.{table};" for table in tables))
    connection.execute(f"INSERT INTO superseded {superseded.replace('FROM ', 'FROM new.')}")
    kept = connection.execute(superseded).fetchall()
    rows = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}
    connection.close()
    assert len(kept) == 2
    with pytest.raises(StateError, match=r"has schema 2.*start edge-cxr watch once"):
        LedgerReader(old)
    for _ in range(2):  # the second start finds it done
        with Ledger(old, site_key=KEY) as ledger:
            taken = ledger._connection
            assert {table: taken.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables} == rows
            assert taken.execute(superseded).fetchall() == kept
            assert taken.execute("SELECT number FROM superseded").fetchall() == [(1,), (2,)]
            assert taken.pragma("user_version") == SCHEMA_VERSION
    with Ledger(old, site_key=KEY) as ledger:
        record(ledger, scored(9), None)
        assert ledger.audit_head().number == 1


VERSION_3 = (
    VERSION_2.replace(
        "CREATE TABLE superseded (\n  sha256",
        "CREATE TABLE superseded (\n  number INTEGER PRIMARY KEY AUTOINCREMENT,\n  sha256",
    ).replace("PRAGMA user_version = 2;", "PRAGMA user_version = 3;")
    + "CREATE TABLE notes (sha256 TEXT PRIMARY KEY, note TEXT NOT NULL, noted_s REAL NOT NULL) STRICT, WITHOUT ROWID;\n"
    + "".join(f"{statement};\n" for statement in AUDIT.values())
)


def test_a_ledger_of_version_3_gets_a_table_for_the_shadow(tmp_path: Path) -> None:
    """All else stays as it is, to the last entry of its audit log."""
    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    with Ledger(new, site_key=KEY) as ledger:
        record(ledger, scored(1), file_in(tmp_path))
        requeue(new, sha(1))
        record(ledger, scored(1, score=0.25), None)
        record(ledger, refused(2), None)
        requeue(new, sha(2))
    connection = apsw.Connection(str(old))
    connection.execute(VERSION_3)
    connection.execute(f"ATTACH '{new}' AS new")
    tables = ("cases", "requeued", "superseded", "forgotten", "notes", "sightings", "audit")
    connection.execute("".join(f"INSERT INTO {table} SELECT * FROM new.{table};" for table in tables))
    rows = {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}
    connection.close()
    assert [len(rows[table]) for table in ("cases", "superseded", "audit")] == [2, 1, 3]
    with pytest.raises(StateError, match=r"has schema 3.*start edge-cxr watch once"):
        LedgerReader(old)
    for _ in range(2):
        with Ledger(old, site_key=KEY) as ledger:
            taken = ledger._connection
            assert {table: taken.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables} == rows
            assert ledger.record_shadow(PAIR)
            assert ledger.shadow_pairs("") == [PAIR]


PAIR = ShadowPair(sha(1), "b" * 64, "c" * 64, Verdict(0.25, True, None, 0.5), Verdict(None, None, "no_lungs", 0.75))


def test_what_a_candidate_said_is_kept_while_its_case_is(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", site_key=KEY) as ledger:
        assert not ledger.record_shadow(PAIR)  # no such case
        record(ledger, scored(1), None)
        assert ledger.record_shadow(PAIR)
        again = replace(PAIR, candidate=Verdict(0.5, False, None, 0.25))
        assert ledger.record_shadow(again)
        other = replace(PAIR, candidate_id="d" * 64)
        assert ledger.record_shadow(other)
        assert not ledger.record_shadow(replace(PAIR, active_id="e" * 64))  # which has not judged it
        assert ledger.shadow_pairs("cc") == [again]
        assert ledger.shadow_pairs("d" * 64) == [other]
        assert ledger.shadow_pairs("e") == []


def test_all_ways_to_this_version_end_in_the_same_tables(tmp_path: Path) -> None:
    schemas = []
    for name, begin in (("new", ""), ("1", VERSION_1), ("2", VERSION_2), ("3", VERSION_3)):
        connection = apsw.Connection(str(tmp_path / name))
        connection.execute(begin)
        connection.close()
        with Ledger(tmp_path / name, site_key=KEY) as ledger:
            rows = ledger._connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
            schemas.append([(name, sql) for name, sql in rows])
    assert schemas[0] == schemas[1] == schemas[2] == schemas[3]
