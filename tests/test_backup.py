"""A backup is one moment of the ledger; what is restored of it is the same to the last byte, or not there at all."""

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from kept_cases import finish, tree
from kill_points import killed_at
from reports import BUNDLE, refused, scored, sha, sighting_of

from edge.backup import backup, restore
from edge.errors import StateError, UsageError
from edge.ledger_copy import check_copy
from edge.state import StateFolder, lock_state, open_state
from edge.store import Ledger
from edge.upkeep import Upkeep

OTHER = "0" * 64


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture
def daemon(state: StateFolder, incoming: Path) -> Iterator[Ledger]:
    """The daemon's own connection, open all the while, with a few cases."""
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        finish(scored(1), state, ledger, incoming)
        finish(refused(2), state, ledger, incoming)
        finish(replace(scored(1, score=0.25), bundle_id=OTHER), state, ledger, incoming, after="keep")
        yield ledger


def rows(path: Path) -> list[list[tuple[object, ...]]]:
    connection = apsw.Connection(str(path))
    names = [
        str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    ]
    told = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in sorted(names)]
    connection.close()
    return told


def test_there_and_back(state: StateFolder, daemon: Ledger, incoming: Path, tmp_path: Path) -> None:
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        upkeep.ask_again([sha(1)])
    finish(scored(1, score=0.5), state, daemon, incoming)  # supersedes a report, whose result file is no more
    made = backup(state, tmp_path / "backup")
    assert (made.reports, made.size_bytes) == (3, (tmp_path / "backup" / "ledger.sqlite").stat().st_size)
    assert restore(tmp_path / "backup", tmp_path / "new").results == 3
    assert tree(tmp_path / "new" / "results") == tree(state.root / "results")
    assert rows(tmp_path / "new" / "ledger.sqlite") == rows(state.ledger)
    new = open_state(tmp_path / "new")
    assert new.site_key == state.site_key
    with Ledger(new.ledger, site_key=new.site_key) as ledger:
        assert ledger.is_known(sighting_of(incoming / f"keep-{sha(1)[:8]}.dcm"))  # nothing is judged again
        assert [ledger.finished(sha(number)) is not None for number in (1, 2)] == [True, True]
        before = ledger.extent().last_number
        finish(scored(9), new, ledger, incoming)
        assert ledger.extent().last_number == before + 1  # no number is given twice


def test_all_of_it_is_closed_to_others(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        (tmp_path / "backup").mkdir(mode=0o755)
        backup(state, tmp_path / "backup")
        restore(tmp_path / "backup", tmp_path / "new")
    finally:
        os.umask(previous)
    for root in (tmp_path / "backup", tmp_path / "new"):
        for path in (root, *root.rglob("*")):
            assert path.stat().st_mode & 0o077 == 0, path


def test_it_is_two_plain_files_that_can_be_read_where_nothing_can_be_written(
    state: StateFolder, daemon: Ledger, tmp_path: Path
) -> None:
    backup(state, tmp_path / "backup")
    assert sorted(path.name for path in (tmp_path / "backup").iterdir()) == ["ledger.sqlite", "site.key"]
    with (tmp_path / "backup" / "ledger.sqlite").open("rb") as opened:
        assert opened.read(20)[18:] == b"\x01\x01"  # no log beside it is wanted


def test_while_the_daemon_writes(state: StateFolder, daemon: Ledger, incoming: Path, tmp_path: Path) -> None:
    """Each backup holds a beginning of what was written, with every report that came before it began."""
    done = threading.Event()
    written = [2]

    def write() -> None:
        while not done.is_set():
            finish(scored(written[0] + 1), state, daemon, incoming, after="delete")
            written[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        held = []
        for _ in range(5):
            before = written[0] + 1
            made = backup(state, tmp_path / "backup")
            assert made.reports >= before
            held.append(made.reports)
    finally:
        done.set()
        writer.join()
    assert held == sorted(held)
    assert held[-1] > held[0], "nothing was written meanwhile"
    assert restore(tmp_path / "backup", tmp_path / "new").results == held[-1]
    with Ledger(tmp_path / "new" / "ledger.sqlite", site_key=state.site_key) as ledger:
        expected = [sha(number) for number in range(1, held[-1])]
        assert [ledger.finished(digest) is not None for digest in expected] == [True] * len(expected)
    result = tree(state.results(BUNDLE))
    assert tree(tmp_path / "new" / "results" / BUNDLE[:12]).items() <= result.items()


def test_a_backup_killed_at_any_point_leaves_the_earlier_one(tmp_path: Path, incoming: Path) -> None:
    state = open_state(tmp_path / "state")
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        finish(scored(1), state, ledger, incoming)
    points = 0
    while True:
        folder = tmp_path / f"backup-{points}"
        backup(state, folder)
        shutil.copytree(state.root, tmp_path / f"state-{points}")
        grown = open_state(tmp_path / f"state-{points}")
        with Ledger(grown.ledger, site_key=grown.site_key) as ledger:
            finish(scored(2), grown, ledger, incoming)
        killed = killed_at(points + 1, lambda grown=grown, folder=folder: backup(grown, folder))  # type: ignore[misc]
        assert check_copy(folder / "ledger.sqlite") == (1 if killed else 2)
        assert backup(grown, folder).reports == 2
        assert restore(folder, tmp_path / f"new-{points}").results == 2
        assert sorted(path.name for path in folder.iterdir()) == ["ledger.sqlite", "site.key"]
        if not killed:
            break
        points += 1
    assert points >= 2  # the key, the ledger


def test_a_restore_killed_at_any_point_has_no_ledger_and_is_finished_by_the_same_call(
    state: StateFolder, daemon: Ledger, tmp_path: Path
) -> None:
    backup(state, tmp_path / "backup")
    points = 0
    while True:
        new = tmp_path / f"new-{points}"
        killed = killed_at(points + 1, lambda new=new: restore(tmp_path / "backup", new))  # type: ignore[misc]
        assert (new / "ledger.sqlite").exists() == (not killed)
        if not killed:
            break
        assert restore(tmp_path / "backup", new).results == 3
        assert tree(new / "results") == tree(state.root / "results")
        assert rows(new / "ledger.sqlite") == rows(state.ledger)
        assert not list(new.rglob(".*.part*")), "a temporary file was left"
        points += 1
    assert points >= 6  # folder, key, three results, ledger


def test_folders_that_are_not_for_this_backup(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    other = open_state(tmp_path / "other")
    Ledger(other.ledger, site_key=other.site_key).close()
    backup(other, tmp_path / "others backup")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").touch()
    before = tree(tmp_path / "others backup")
    for folder, message in (
        (state.root, "lies in the state folder"),
        (state.root / "backup", "lies in the state folder"),
        (tmp_path / "others backup", "holds the backup of another box; name another folder"),
        (tmp_path / "home", "holds other files than a backup; name an empty folder"),
        (tmp_path / "other" / "..", "holds other files than a backup"),
    ):
        with pytest.raises(UsageError, match=message):
            backup(state, folder)
    assert tree(tmp_path / "others backup") == before
    assert not (state.root / "backup").exists()


def test_what_cannot_be_restored_is_named_with_the_fix(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    with pytest.raises(UsageError, match=r"is no backup: ledger.sqlite is missing"):
        restore(folder, tmp_path / "new")
    backup(state, folder)
    with pytest.raises(UsageError, match=r"has a ledger already, or its log; name a new folder with --state"):
        restore(folder, state.root)
    used = open_state(tmp_path / "used")
    used.archive.mkdir()
    with pytest.raises(UsageError, match="is another box's; name a new folder"):
        restore(folder, used.root)
    (folder / "site.key").rename(folder / "key")
    with pytest.raises(UsageError, match=r"is no backup: site.key is missing"):
        restore(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_ledger_that_was_lost_is_restored_into_its_own_folder(
    state: StateFolder, daemon: Ledger, tmp_path: Path
) -> None:
    backup(state, tmp_path / "backup")
    before = tree(state.root)
    state.ledger.unlink()
    with pytest.raises(UsageError, match="or its log"):  # which would be applied to what is restored
        restore(tmp_path / "backup", state.root)
    daemon.close()
    for path in state.root.glob("ledger.sqlite-*"):
        path.unlink()
    restore(tmp_path / "backup", state.root)
    assert tree(state.root) == {**before, "lock": b""}


def test_a_state_folder_in_use_is_left_alone(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    backup(state, tmp_path / "backup")
    new = open_state(tmp_path / "new")
    lock = lock_state(new)
    with pytest.raises(StateError, match="another edge-cxr watches"):
        restore(tmp_path / "backup", new.root)
    os.close(lock)
    assert restore(tmp_path / "backup", new.root).results == 3  # its own key had not been used for anything


@pytest.mark.parametrize("damage", ["overwritten", "cut short", "no database", "one page"])
def test_a_damaged_backup_makes_no_ledger(state: StateFolder, daemon: Ledger, tmp_path: Path, damage: str) -> None:
    backup(state, tmp_path / "backup")
    ledger = tmp_path / "backup" / "ledger.sqlite"
    content = bytearray(ledger.read_bytes())
    if damage == "overwritten":
        content[100:] = b"\x5a" * (len(content) - 100)
    elif damage == "cut short":
        del content[-4096:]
    elif damage == "no database":
        content[:] = b"not a database" * 1000
    else:
        content[-4096:] = bytes(4096)
    ledger.write_bytes(bytes(content))
    with pytest.raises(StateError, match=r"damaged .*; use an earlier backup"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir() if "ledger" in path.name] == []


def test_a_damaged_ledger_does_not_replace_a_good_backup(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    backup(state, tmp_path / "backup")
    before = tree(tmp_path / "backup"), (tmp_path / "backup" / "ledger.sqlite").read_bytes()
    daemon.close()
    content = bytearray(state.ledger.read_bytes())
    content[-4096:] = bytes(4096)
    state.ledger.write_bytes(bytes(content))
    with pytest.raises(StateError, match="damaged"):
        backup(state, tmp_path / "backup")
    assert (tree(tmp_path / "backup"), (tmp_path / "backup" / "ledger.sqlite").read_bytes()) == before
