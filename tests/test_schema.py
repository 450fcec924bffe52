"""A ledger of an earlier version is taken over whole or, where the disk has no room for that, left as it is."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest
from test_store import VERSION_1, VERSION_2

from edge.errors import StateError
from edge.schema import SCHEMA_VERSION, migrate

CODE = """
import sys
import apsw
from edge.schema import migrate
connection = apsw.Connection(sys.argv[1])
connection.pragma("journal_mode", "wal")
migrate(connection)
connection.close()
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
@pytest.mark.parametrize(("disk_mb", "fits"), [(20, False), (25, True)])
def test_the_disk_must_have_room_for_what_is_changed_in_one_step(tmp_path: Path, disk_mb: int, fits: bool) -> None:
    """On a real small filesystem."""
    old, disk = tmp_path / "old.sqlite", tmp_path / "disk"
    connection = apsw.Connection(str(old))
    connection.execute(VERSION_1)
    columns = "sha256, bundle_id, case_id, status, report, finished_s"
    rows = [(f"{number:064x}", "b", f"{number:016x}", "scored", "x" * 2000, 1.0) for number in range(1200)]
    connection.executemany(f"INSERT INTO cases ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    assert 5e6 < old.stat().st_size < 6e6
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size={disk_mb}m tmpfs {disk} && cp {old} {disk}/ledger.sqlite && "
        f"{{ {sys.executable} -c '{CODE}' {disk}/ledger.sqlite 2> {tmp_path}/told; cp {disk}/ledger.sqlite {old}; }}"
    )
    namespace = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)
    if "unshare" in namespace.stderr or "mount" in namespace.stderr:
        pytest.skip(f"no namespace to mount in: {namespace.stderr.strip()}")
    last_line = (tmp_path / "told").read_text().strip().splitlines()[-1:]
    connection = apsw.Connection(str(old))
    assert connection.pragma("user_version") == (SCHEMA_VERSION if fits else 1)
    assert connection.execute("SELECT count(*) FROM cases").get == 1200
    connection.close()
    if fits:
        assert last_line == []
    else:
        assert "to take it over takes" in last_line[0]
        assert "MB are free. Free some and start again" in last_line[0]


def test_of_version_2_only_what_was_superseded_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = apsw.Connection(str(tmp_path / "ledger.sqlite"))
    connection.execute(VERSION_2)
    rows = [(f"{number:064x}", "b", "x" * 2000, 1.0, 2.0) for number in range(100)]
    connection.executemany("INSERT INTO superseded VALUES (?, ?, ?, ?, ?)", rows)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=600_000))
    with pytest.raises(StateError, match=r"takes 0\.7 MB of disk; 0\.6 MB are free"):
        migrate(connection)
    assert connection.pragma("user_version") == 2
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=700_000))
    migrate(connection)
    assert connection.pragma("user_version") == SCHEMA_VERSION
    connection.close()


def test_a_new_ledger_is_no_earlier_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk it fails as a full disk does."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    connection = apsw.Connection(str(tmp_path / "new.sqlite"))
    connection.pragma("journal_mode", "wal")
    assert (tmp_path / "new.sqlite").stat().st_size > 0
    migrate(connection)
    assert connection.pragma("user_version") == SCHEMA_VERSION
    connection.close()
