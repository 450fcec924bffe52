"""The audit log: what was done is in it, nobody without the key changes it unseen, and it holds no name or case id."""

import contextlib
import dataclasses
import json
import os
import pwd
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from kept_cases import finish
from reports import ENGINE, refused, scored, sha

from edge.audit import ORIGIN, Event, Head, operator, parse_head, reference
from edge.audit_log import AuditCheck, AuditLog, Entry
from edge.backup import backup, restore
from edge.cli import main
from edge.config import Config
from edge.errors import StateError, UsageError
from edge.forget import forget
from edge.outputs.report_json import encode
from edge.requeue import choose, requeue
from edge.retention import retain
from edge.schema import AUDIT
from edge.state import StateFolder, open_state
from edge.store import Ledger
from edge.upkeep import Upkeep

KEY = bytes(range(32))
COLUMNS = ("number", "at_s", "event", "subject", "detail", "hash")
CASE = sha(1)[:16]


def record(ledger: Ledger, number: int) -> None:
    ledger.record(scored(number), encode(scored(number)), None)


def verify(path: Path, *noted: Head, key: bytes = KEY) -> AuditCheck:
    with AuditLog(path, site_key=key) as log:
        return log.verify(noted)


def entries(path: Path, key: bytes = KEY, **chosen: object) -> list[Entry]:
    with AuditLog(path, site_key=key) as log:
        return list(log.entries(**chosen))  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger that was used: six entries, with and without a case."""
    with Ledger(tmp_path / "ledger.sqlite", site_key=KEY) as ledger:
        ledger.note_start({"after": "keep"}, bundle_name="tiny", engine=ENGINE)
        record(ledger, 1)
        ledger.record(refused(2), encode(refused(2)), None)
        ledger.note(Event.STOPPED, {"reason": "asked"})
    return tmp_path / "ledger.sqlite"


class Forger:
    """Who can write the file: takes the triggers away, changes what they like, and puts the triggers back."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))

    def __enter__(self) -> apsw.Connection:
        for name in TRIGGERS:
            self._connection.execute(f"DROP TRIGGER {name}")
        return self._connection

    def __exit__(self, *_: object) -> None:
        for name in TRIGGERS:
            self._connection.execute(AUDIT[name])
        self._connection.close()


TRIGGERS = [name for name, sql in AUDIT.items() if sql.startswith("CREATE TRIGGER")]


def test_what_was_done_is_in_it_in_order(path: Path) -> None:
    found = entries(path)
    assert [entry.number for entry in found] == [1, 2, 3, 4, 5, 6]
    assert [entry.event for entry in found] == [
        "configured", "bundle_changed", "started", "scored", "not_scored", "stopped",
    ]  # fmt: skip
    judged = {"bundle": "b" * 12, "backend": "openvino", "precision": "int8"}
    assert (found[3].case, found[3].detail) == (CASE, judged)
    assert (found[4].case, found[4].detail) == (sha(2)[:16], judged | {"reason": "truncated"})
    assert found[5].detail == {"reason": "asked"}
    assert [found[place].case for place in (0, 1, 2, 5)] == [None] * 4
    check = verify(path)
    assert (check.entries, check.fault_count, check.faults) == (6, 0, ())
    with Ledger(path, site_key=KEY) as ledger:
        assert check.head == ledger.audit_head()


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite", site_key=KEY) as ledger:
        assert ledger.audit_head() == Head(0, ORIGIN)
    assert verify(tmp_path / "ledger.sqlite", Head()) == AuditCheck(0, Head(), 1, 0, ())


def test_only_what_differs_since_the_last_start_is_noted(path: Path) -> None:
    starts = [
        ({"after": "keep"}, ENGINE),
        ({"after": "delete", "trusted_keys": ("ed25519:a",)}, ENGINE),
        ({"after": "delete", "trusted_keys": ("ed25519:a",)}, dataclasses.replace(ENGINE, bundle_id="c" * 64)),
        *[({"after": "delete"}, dataclasses.replace(ENGINE, bundle_id="c" * 64, backend="tensorrt"))] * 2,
    ]
    for settings, engine in starts:
        with Ledger(path, site_key=KEY) as ledger:
            ledger.note_start(settings, bundle_name="tiny", engine=engine)
    told = [(entry.event, entry.detail) for entry in entries(path)]
    started = {"version": told[2][1]["version"], "bundle": "b" * 12, "backend": "openvino", "precision": "int8",
               "runtime": "2026.1"}  # fmt: skip
    other = started | {"bundle": "c" * 12}
    assert told[:3] == [
        ("configured", {"changed": {"after": [None, "keep"]}}),
        ("bundle_changed", {"from": None, "to": "b" * 64, "name": "tiny"}),
        ("started", started),
    ]
    assert told[6:] == [
        ("started", started),
        ("configured", {"changed": {"after": ["keep", "delete"], "trusted_keys": [None, ["ed25519:a"]]}}),
        ("started", started),
        ("bundle_changed", {"from": "b" * 64, "to": "c" * 64, "name": "tiny"}),
        ("started", other),
        ("configured", {"changed": {"trusted_keys": [["ed25519:a"], None]}}),
        *[("started", other | {"backend": "tensorrt"})] * 2,
    ]


def test_a_report_that_was_there_already_is_not_noted_again(path: Path) -> None:
    with Ledger(path, site_key=KEY) as ledger:
        record(ledger, 1)
    assert verify(path).entries == 6


def test_case_and_entry_come_together_or_not_at_all(path: Path) -> None:
    with Ledger(path, site_key=KEY) as ledger:
        ledger._connection.pragma("max_page_count", ledger._connection.pragma("page_count") + 2)
        number = 10
        with pytest.raises(StateError, match="is full"):
            for number in range(10, 100):
                record(ledger, number)
        scored_cases = [case.case_id for case in ledger.earlier_cases(ENGINE.bundle_id)]
    noted = [entry.case for entry in entries(path, event=Event.SCORED)]
    assert noted == scored_cases
    assert sha(number)[:16] not in noted
    assert verify(path).fault_count == 0


def test_nothing_is_changed_or_removed_by_a_statement(path: Path) -> None:
    connection = apsw.Connection(str(path))
    row = "at_s, event, subject, detail, hash FROM audit WHERE number = 4"
    for statement in (
        "UPDATE audit SET detail = '{}' WHERE number = 4",
        "DELETE FROM audit WHERE number = 6",
        "DELETE FROM audit",
        f"INSERT OR REPLACE INTO audit SELECT 4, {row}",
        f"INSERT INTO audit (at_s, event, subject, detail, hash) SELECT {row}",
    ):
        with pytest.raises(apsw.ConstraintError, match="only added to"):
            connection.execute(statement)
    connection.close()
    assert verify(path).fault_count == 0


@pytest.mark.parametrize("row", range(1, 7))
@pytest.mark.parametrize("column", COLUMNS)
def test_a_change_of_any_value_is_found_and_named(path: Path, row: int, column: str) -> None:
    forged = {"number": 99, "at_s": 1.5, "event": "stopped" if row != 6 else "started", "subject": b"x" * 32,
              "detail": "{}", "hash": b"x" * 32}[column]  # fmt: skip
    with Forger(path) as connection:
        connection.execute(f"UPDATE audit SET {column} = ? WHERE number = ?", (forged, row))
    check = verify(path)
    words = f"entry {row} is missing" if column == "number" and row < 6 else f"entry {row} is not as it was written"
    if column == "number" and row == 6:
        words = "entries 6 to 98 are missing"
    assert words in " ".join(check.faults)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The entries of one log, for all examples of the law below."""
    path = tmp_path_factory.mktemp("law") / "ledger.sqlite"
    with Ledger(path, site_key=KEY) as ledger:
        ledger.note_start({"after": "keep"}, bundle_name="tiny", engine=ENGINE)
        for number in (1, 2, 3):
            record(ledger, number)
        return ledger._connection.execute("SELECT * FROM audit").fetchall()


@given(row=st.integers(0, 5), place=st.integers(1, 5), byte=st.integers(0, 63), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(rows: list[tuple[object, ...]], row: int, place: int, byte: int, bit: int) -> None:
    """Of bytes as they lie in the table, also where that makes no text of them."""
    values = list(rows[row])
    before = values[place]
    if isinstance(before, float):
        content = bytearray(struct.pack(">d", before))
    else:
        content = bytearray(before.encode() if isinstance(before, str) else before or bytes(32))  # type: ignore[call-overload]
    content[byte % len(content)] ^= 1 << bit
    values[place] = struct.unpack(">d", content)[0] if isinstance(before, float) else bytes(content)
    connection = apsw.Connection("")
    connection.execute(AUDIT["audit"].replace(" STRICT", "").replace(" NOT NULL", ""))
    forged = [*rows[:row], tuple(values), *rows[row + 1 :]]
    connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", forged)
    log = _InMemory(connection)
    assert f"entry {row + 1} is not as it was written" in " ".join(log.verify().faults)
    connection.close()


def test_the_law_has_a_log_that_is_whole(rows: list[tuple[object, ...]]) -> None:
    connection = apsw.Connection("")
    connection.execute(AUDIT["audit"].replace(" STRICT", "").replace(" NOT NULL", ""))
    connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", rows)
    assert "entry" not in " ".join(_InMemory(connection).verify().faults)
    connection.close()


class _InMemory(AuditLog):
    """A log that is in no file, for many of them."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._in_memory = connection
        super().__init__(Path("memory"), site_key=KEY)

    def _connect(self) -> apsw.Connection:
        return self._in_memory

    def _prepare(self) -> None:
        pass


@pytest.mark.parametrize("change", ["event = 'stoppe', detail = 'd' || detail", "subject = x''"])
def test_bytes_that_moved_to_another_column_are_found(path: Path, change: str) -> None:
    with Forger(path) as connection:
        connection.execute(f"UPDATE audit SET {change} WHERE number = 6")
    assert verify(path).fault_count == 1


def renumber(connection: apsw.Connection, before: int, after: int) -> None:
    connection.execute("UPDATE audit SET number = ? WHERE number = ?", (after, before))


def swap(connection: apsw.Connection) -> None:
    for before, after in ((4, 50), (5, 4), (50, 5)):
        renumber(connection, before, after)
    connection.execute("UPDATE sqlite_sequence SET seq = 6 WHERE name = 'audit'")


def remove_and_close_the_gap(connection: apsw.Connection) -> None:
    connection.execute("DELETE FROM audit WHERE number = 4")
    for number in (5, 6):
        renumber(connection, number, number - 1)
    connection.execute("UPDATE sqlite_sequence SET seq = 5 WHERE name = 'audit'")


COPY = "INSERT INTO audit SELECT {}, at_s, event, subject, detail, hash FROM audit WHERE number = 4"


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        (swap, ["entry 4 is not", "entry 5 is not", "entry 6 is not"]),
        (remove_and_close_the_gap, ["entry 4 is not"]),
        (lambda connection: connection.execute("DELETE FROM audit WHERE number = 4"), ["entry 4 is missing"]),
        (lambda connection: connection.execute("DELETE FROM audit WHERE number < 4"), ["entries 1 to 3 are missing"]),
        (lambda connection: connection.execute("DELETE FROM audit WHERE number > 4"), ["entries 5 to 6 are missing"]),
        (lambda connection: connection.execute("DELETE FROM audit"), ["entries 1 to 6 are missing"]),
        (lambda connection: connection.execute(COPY.format(7)), ["entry 7 is not"]),
        (lambda connection: connection.execute(COPY.format(0)), ["entry 0 was put in"]),
        (lambda connection: connection.execute(COPY.format(-9)), ["entry -9 was put in"]),
        (
            lambda connection: connection.execute("UPDATE sqlite_sequence SET seq = 2 WHERE name = 'audit'"),
            ["given numbers up to 2, and entry 6 is there"],
        ),
    ],
)
def test_moved_removed_and_repeated_entries_are_named(
    path: Path, forge: Callable[[apsw.Connection], object], words: list[str]
) -> None:
    with Forger(path) as connection:
        forge(connection)
    faults = verify(path).faults
    for word in words:
        assert word in " ".join(faults)
    assert len(faults) <= len(words) + 1


def test_who_lacks_the_key_forges_nothing(path: Path, tmp_path: Path) -> None:
    """A log that is whole by another key, for the same cases."""
    other = bytes(32)
    with Ledger(tmp_path / "forged.sqlite", site_key=other) as ledger:
        record(ledger, 7)
    assert verify(tmp_path / "forged.sqlite", key=other).fault_count == 0
    assert verify(tmp_path / "forged.sqlite").faults == (
        "entry 1 is not as it was written, or the one before it is not",
    )


def cut(path: Path, last: int) -> None:
    """With the trace in sqlite_sequence removed too."""
    with Forger(path) as connection:
        connection.execute("DELETE FROM audit WHERE number > ?", (last,))
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'audit'", (last,))


def test_a_cut_off_end_is_found_by_a_head_that_was_noted(path: Path) -> None:
    before = verify(path).head
    assert verify(path, before).fault_count == 0
    with Ledger(path, site_key=KEY) as ledger:
        record(ledger, 3)
    assert verify(path, before, parse_head(str(before))).fault_count == 0  # it has grown since
    cut(path, 4)
    assert verify(path).fault_count == 0
    assert verify(path, before).faults == (f"the noted head {before.number} is not in the log: it was cut off or made "
                                           "anew since",)  # fmt: skip
    with Ledger(path, site_key=KEY) as ledger:  # grown again over the cut
        for number in (4, 5, 6):
            record(ledger, number)
    assert verify(path).fault_count == 0
    assert verify(path, before).fault_count == 1


def test_a_cut_stays_to_be_seen_when_the_log_has_grown_over_it(path: Path) -> None:
    with Forger(path) as connection:
        connection.execute("DELETE FROM audit WHERE number > 4")
    with Ledger(path, site_key=KEY) as ledger:
        record(ledger, 3)
        record(ledger, 4)
    assert verify(path).faults == ("entries 5 to 6 are missing",)


@pytest.mark.parametrize("name", AUDIT)
def test_a_part_that_the_log_is_kept_by_is_missed(path: Path, name: str) -> None:
    kind = AUDIT[name].split()[1]
    connection = apsw.Connection(str(path))
    connection.execute(f"DROP {kind} {name}")
    connection.close()
    check = verify(path)
    assert f"{name} is missing, which the log is kept by" in check.faults
    assert (check.entries == 0) == (kind == "TABLE")


def test_a_table_made_anew_to_hold_anything_is_seen_and_read(path: Path) -> None:
    connection = apsw.Connection(str(path))
    rows = connection.execute("SELECT * FROM audit").fetchall()
    connection.execute("DROP TABLE audit")
    connection.execute("CREATE TABLE audit (number INTEGER PRIMARY KEY, at_s, event, subject, detail, hash)")
    connection.execute("CREATE TRIGGER another BEFORE INSERT ON audit BEGIN SELECT 1; END")
    connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", rows[:4])
    connection.execute("INSERT INTO audit VALUES (5, 'yesterday', NULL, NULL, NULL, NULL)")
    connection.close()
    check = verify(path)
    assert {"audit is not as the box made it", "another is not as the box made it"} <= set(check.faults)
    assert "entry 5 is not as it was written, or the one before it is not" in check.faults
    assert "entry 4" not in " ".join(check.faults)
    with pytest.raises(StateError, match="entry 5 of the audit log cannot be read; run edge-cxr audit verify"):
        entries(path)


COUNT = "UPDATE sqlite_sequence SET seq = {} WHERE name = 'audit'"
ANYTHING = "DROP TABLE audit; CREATE TABLE audit (number, at_s, event, subject, detail, hash); "


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (COUNT.format("'abc'"), "count of the numbers it has given is no number"),
        (COUNT.format("x'00'"), "count of the numbers it has given is no number"),
        (COUNT.format(2**63 - 1), f"entries 7 to {2**63 - 1} are missing"),
        (f"INSERT INTO audit VALUES ({2**63 - 1}, 1.0, 'x', NULL, '{{}}', x'00')", f"entries 7 to {2**63 - 2} are"),
        (ANYTHING + "INSERT INTO audit VALUES ('x', 1, 'y', NULL, 'z', 'h')", "an entry without a number was put in"),
        (ANYTHING + "INSERT INTO audit VALUES (6, NULL, NULL, NULL, NULL, NULL)", "entries 1 to 5 are missing"),
        *[
            (f"UPDATE audit SET detail = '{detail}' WHERE number = {number}", f"entry {number} is not")
            for number in (1, 2)  # configured, bundle_changed
            for detail in ("[", "[]", "1", "{}", '{"changed":[]}', '{"changed":{"a":1}}', '{"changed":{"a":[]}}')
        ],
    ],
)
def test_what_somebody_wrote_by_hand_is_named_and_nothing_is_added_to_it(path: Path, change: str, words: str) -> None:
    forger = Forger(path)
    with contextlib.suppress(apsw.SQLError), forger as connection:  # without a table the triggers are not put back
        connection.execute(change)
    before = rows_of(path)
    assert words in " ".join(verify(path).faults)
    with contextlib.suppress(StateError):
        entries(path)
    with Ledger(path, site_key=KEY) as ledger, pytest.raises(StateError, match="run edge-cxr audit verify"):
        ledger.note_start({"after": "keep"}, bundle_name="tiny", engine=ENGINE)
    assert rows_of(path) == before


def rows_of(path: Path) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path))
    found = connection.execute("SELECT * FROM audit").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize("at_s", [1e18, 9e15, -9e15])
def test_a_time_that_no_calendar_has_is_named(path: Path, at_s: float) -> None:
    with Forger(path) as connection:
        connection.execute("UPDATE audit SET at_s = ? WHERE number = 2", (at_s,))
    with pytest.raises(StateError, match="entry 2 of the audit log cannot be read; run edge-cxr audit verify"):
        entries(path)
    assert "entry 2 is not" in verify(path).faults[0]


def test_more_entries_than_are_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, site_key=KEY) as ledger, ledger._transaction() as connection:
        for _ in range(20_050):
            ledger.append(connection, Event.LABELLED, {}, case_id=CASE)
    assert verify(path).entries == len(entries(path)) == 20_050
    with Forger(path) as connection:
        connection.execute("UPDATE audit SET detail = '{ }' WHERE number = 10001 OR number > 19000")
    check = verify(path)
    assert check.fault_count == 1051
    assert check.faults[0].startswith("entry 10001 is not")
    assert len(check.faults) == 100


APPENDING = """
import sys
import time
from pathlib import Path
from edge.audit import Event
from edge.upkeep import Upkeep
with Upkeep(Path(sys.argv[1]), site_key=bytes(range(32))) as ledger:
    print("open", flush=True)
    for number in range(100):
        ledger.note(Event.LOOKED_UP, {"number": number}, case_id="0" * 16)
        time.sleep(0.002)
"""


def test_daemon_and_command_append_to_one_chain(path: Path) -> None:
    with Ledger(path, site_key=KEY) as ledger:
        with subprocess.Popen([sys.executable, "-c", APPENDING, path], stdout=subprocess.PIPE) as command:
            assert command.stdout is not None
            command.stdout.readline()
            number = 100
            while command.poll() is None:
                record(ledger, number)
                number += 1
        assert command.returncode == 0
    found = [entry.event for entry in entries(path)][6:]
    assert (found.count("looked_up"), found.count("scored")) == (100, number - 100)
    last = len(found) - found[::-1].index("looked_up")
    assert "scored" in found[found.index("looked_up") : last], "they did not meet"
    assert verify(path).fault_count == 0


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


def test_what_an_operator_does_is_in_it_and_nothing_that_names_a_patient(state: StateFolder, tmp_path: Path) -> None:
    incoming, folder = tmp_path / "DOE^JOHN", tmp_path / "backup"
    incoming.mkdir()
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for number in (1, 2, 3):
            finish(scored(number, instance="i" * 64), state, ledger, incoming)
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        requeue(choose(upkeep, [sha(2)[:16]]), state, upkeep)
        backup(state, folder)
        later_s = state.ledger.stat().st_mtime + 1e6
        retain(state, Config(keep_archive_days=1.0), later_s, dry_run=True, note=upkeep.note_retained)
        retain(state, Config(keep_archive_days=1.0), later_s, note=upkeep.note_retained)
        retain(state, Config(keep_archive_days=1.0), later_s, note=upkeep.note_retained)  # nothing is left to go
        forget([CASE], state, upkeep)
        forget([CASE], state, upkeep)  # is done, and only finishes
    by = {"by": operator()}
    told = [(entry.event, entry.case, entry.detail) for entry in entries(state.ledger, state.site_key)][3:]
    assert told == [
        ("requeued", sha(2)[:16], by),
        ("backed_up", None, by | {"folder": str(folder)}),
        ("retained", None, {"cases": {"archive": 2}}),
        ("forgotten", "forgotten", by | {"mentions": 0}),
    ]
    assert verify(state.ledger, key=state.site_key).fault_count == 0
    restore(folder, tmp_path / "new")
    again = entries(tmp_path / "new" / "ledger.sqlite", state.site_key)
    assert [entry.event for entry in again] == ["scored"] * 3 + ["requeued", "backed_up", "restored"]
    assert again[-1].detail == by
    assert verify(tmp_path / "new" / "ledger.sqlite", key=state.site_key).fault_count == 0
    stored = b"".join(file.read_bytes() for file in state.root.glob("ledger.sqlite*"))
    for secret in (CASE, "DOE", "i" * 64, ".dcm"):
        assert (secret.encode() in stored) == (secret == "i" * 64), secret  # instances of the other cases


def test_a_forgotten_case_is_found_by_its_id_and_by_nothing_else(state: StateFolder, tmp_path: Path) -> None:
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        finish(scored(1), state, ledger, tmp_path)
        finish(scored(2), state, ledger, tmp_path)
        ledger.note(Event.LOOKED_UP, {"k": 4}, case_id="f" * 16)  # a file that the box never judged
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        forget([CASE], state, upkeep)
    every = entries(state.ledger, state.site_key)
    assert [entry.case for entry in every] == ["forgotten", sha(2)[:16], "not in the ledger", "forgotten"]
    chosen = entries(state.ledger, state.site_key, case_id=CASE)
    assert [(entry.number, entry.event) for entry in chosen] == [(1, "scored"), (4, "forgotten")]
    assert reference(state.site_key, CASE) != reference(KEY, CASE)


def test_who_logged_in_is_named_also_after_sudo(tmp_path: Path) -> None:
    login = tmp_path / "loginuid"
    login.write_text("0\n")
    assert operator(login) == "root"
    login.write_text("3999999999")
    assert operator(login) == "3999999999"
    login.write_text(str(2**32 - 1))
    assert operator(login) == operator(tmp_path / "none") == pwd.getpwuid(os.getuid()).pw_name


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["audit", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def box(path: Path) -> Path:
    path.with_name("site.key").write_bytes(KEY)
    return path.parent


def test_verify_at_the_command_line(box: Path, path: Path) -> None:
    head = str(verify(path).head)
    good = call("verify", "--state", box, "--head", head)
    assert (good.exit_code, good.stdout) == (0, f"6 entries, 1 noted head(s), 0 fault(s)\nhead {head}\n")
    told = json.loads(call("verify", "--state", box, "--json").stdout)
    assert told == {"entries": 6, "head": head, "noted": 0, "fault_count": 0, "faults": [], "whole": True}
    cut(path, 4)
    bad = call("verify", "--state", box, "--head", head, "--json")
    assert (bad.exit_code, json.loads(bad.stdout)["whole"]) == (1, False)
    assert "edge-cxr: the noted head 6 is not in the log" in bad.stderr
    assert "see docs/audit.md" in bad.stderr
    assert call("verify", "--state", box).exit_code == 0


def test_show_at_the_command_line(box: Path, path: Path) -> None:
    lines = call("show", "--state", box).stdout.splitlines()
    assert len(lines) == 6
    assert lines[3].split()[2:4] == ["scored", CASE]
    assert lines[5].endswith("stopped  -  reason=asked")
    (one,) = call("show", "--state", box, "--case", CASE, "--json").stdout.splitlines()
    assert json.loads(one) == dataclasses.asdict(entries(path)[3])
    assert len(call("show", "--state", box, "--event", "stopped").stdout.splitlines()) == 1
    at = entries(path)[0].at[:19]
    assert len(call("show", "--state", box, "--since", at).stdout.splitlines()) == 6
    assert len(call("show", "--state", box, "--since", at[:10]).stdout.splitlines()) == 6
    assert call("show", "--state", box, "--since", "2100-01-01").stdout == ""


def test_what_cannot_be_read_is_named_with_the_fix(box: Path, path: Path) -> None:
    for arguments, code, words in (
        (("verify", "--head", "6:abc"), 2, "'6:abc' is no head; one is NUMBER:HASH"),
        (("show", "--case", "chest.dcm"), 2, "'chest.dcm' is no case id"),
    ):
        result = call(*arguments, "--state", box)
        assert (result.exit_code, words in result.stderr) == (code, True)
    path.with_name("site.key").write_bytes(KEY[:9])
    assert "is damaged (9 bytes); restore it from a backup" in call("verify", "--state", box).stderr
    path.with_name("site.key").unlink()
    assert "without which the log cannot be followed" in call("verify", "--state", box).stderr
    assert "holds no ledger" in call("verify", "--state", box / "none").stderr
    with pytest.raises(UsageError):
        parse_head("")


def test_the_page_explains_every_event() -> None:
    page = (Path(__file__).parent.parent / "docs" / "audit.md").read_text(encoding="utf-8")
    first_cells = " ".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    for event in Event:
        assert f"`{event}`" in first_cells
