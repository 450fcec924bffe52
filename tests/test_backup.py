"""A backup is one moment of the ledger; what is restored of it is the same to the last byte, or not there at all."""

import errno
import json
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
from test_store import VERSION_1, VERSION_2

from edge.backup import backup, restore
from edge.config import Config
from edge.errors import BundleError, StateError, UsageError
from edge.forget import forget
from edge.ledger_copy import check_copy, documents
from edge.shadow_pairs import ShadowPair, Verdict
from edge.shelf import open_configured
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
        verdict = Verdict(0.5, True, None, 0.25)
        ledger.record_shadow(ShadowPair(sha(1), BUNDLE, "d" * 64, verdict, verdict))
        yield ledger


def rows(path: Path) -> list[list[tuple[object, ...]]]:
    """Of every table but the audit log, which tells of a restore."""
    connection = apsw.Connection(str(path))
    query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'audit'"
    names = [str(row[0]) for row in connection.execute(query).fetchall()]
    told = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in sorted(names)]
    told = [[row for row in table if row[0] != "audit"] for table in told]  # in sqlite_sequence
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


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2], ids=["1", "2"])
def test_of_an_old_backup_nothing_that_is_forgotten_later_is_left(tmp_path: Path, version: str) -> None:
    """Its tables are written anew; the pages of the old ones held every report and embedding too."""
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "site.key").write_bytes(bytes(32))
    connection = apsw.Connection(str(tmp_path / "backup" / "ledger.sqlite"))
    connection.execute(version)
    columns = "sha256, bundle_id, case_id, status, embedding, report, finished_s"
    marks = {number: f"mark{number:04d} " for number in range(60)}
    for number, mark in marks.items():
        report = json.dumps({"case_id": sha(number)[:16], "mark": mark * 80, "neighbours": []})
        row = (sha(number), BUNDLE, sha(number)[:16], "scored", mark.encode() * 50, report, 1.0)
        connection.execute(f"INSERT INTO cases ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        if version == VERSION_2:
            connection.execute("INSERT INTO superseded VALUES (?, ?, ?, 1.0, 2.0)", (sha(number), BUNDLE, report))
    connection.close()
    restore(tmp_path / "backup", tmp_path / "new")
    state = open_state(tmp_path / "new")
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        forget([sha(number)[:16] for number in range(10, 50)], state, upkeep)
    stored = b"".join(path.read_bytes() for path in state.root.glob("ledger.sqlite*"))
    left = [number for number, mark in marks.items() if mark.encode() in stored]
    assert left == [*range(10), *range(50, 60)]


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


def test_a_restore_that_was_cut_short_is_no_new_box(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    """A daemon that started on it would make an empty ledger and score everything again."""
    backup(state, tmp_path / "backup")
    refused, points = 0, 0
    while True:
        new = tmp_path / f"new-{points}"
        if not killed_at(points + 1, lambda new=new: restore(tmp_path / "backup", new)):  # type: ignore[misc]
            break
        begun = (new / "site.key").is_file() and (new / "site.key").read_bytes() == state.site_key
        try:
            open_state(new)
        except StateError as fault:
            assert "holds results and no ledger; run edge-cxr restore" in str(fault)
            refused += 1
        else:
            assert not begun, "it has the box's key, and would score everything again"
        assert restore(tmp_path / "backup", new).results == 3
        assert open_state(new).site_key == state.site_key
        points += 1
    assert refused >= 5  # key, three results, ledger


class Syncs:
    """Every os.fsync of this process: what it was of, and which names were visible below a folder at that moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, below: Path, *, fails: str = "") -> None:
        self.files: list[int] = []  # inodes
        self.folders: list[tuple[Path, dict[Path, int]]] = []
        fsync = os.fsync

        def noted(descriptor: int) -> None:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            if fails and fails in str(path):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(descriptor)
            if path.is_dir():
                self.folders.append((path, {name: name.stat().st_ino for name in below.rglob("*")}))
            else:
                self.files.append(os.fstat(descriptor).st_ino)

        monkeypatch.setattr(os, "fsync", noted)

    def seen_by(self, folder: Path) -> dict[Path, int]:
        """What was visible when a folder was synced for the last time."""
        return next(names for path, names in reversed(self.folders) if path == folder)


def test_a_backup_survives_a_power_cut(
    state: StateFolder, daemon: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    backup(state, folder)
    syncs = Syncs(monkeypatch, folder)
    backup(state, folder)
    for name in ("ledger.sqlite", "site.key"):
        inode = (folder / name).stat().st_ino
        assert inode in syncs.files, f"the bytes of {name}"
        assert syncs.seen_by(folder)[folder / name] == inode, f"the name of {name}"


def test_all_of_a_restore_is_safe_before_its_ledger_has_its_name(
    state: StateFolder, daemon: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(state, tmp_path / "backup")
    new = tmp_path / "new"
    syncs = Syncs(monkeypatch, new)
    restore(tmp_path / "backup", new)
    results = {path: path.stat().st_ino for path in new.glob("results/*/*.json")}
    assert len(results) == 3
    assert {*results.values(), (new / "ledger.sqlite").stat().st_ino} <= {*syncs.files}
    for path, inode in results.items():
        names = syncs.seen_by(path.parent)
        assert names[path] == inode
        assert new / "ledger.sqlite" not in names
    for folder in {path.parent for path in results}:
        assert any(path == folder.parent and folder in names for path, names in syncs.folders)
    assert new / "ledger.sqlite" in syncs.seen_by(new)


@pytest.mark.parametrize("fails", ["/results/", ".ledger.sqlite.part"])
def test_a_sync_that_fails_leaves_a_restore_without_a_ledger(
    state: StateFolder, daemon: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    backup(state, tmp_path / "backup")
    with monkeypatch.context() as patched:
        Syncs(patched, tmp_path / "new", fails=fails)
        with pytest.raises(StateError, match=r"Input/output error.*check the disk"):
            restore(tmp_path / "backup", tmp_path / "new")
    assert not list((tmp_path / "new").glob("*ledger*"))
    assert restore(tmp_path / "backup", tmp_path / "new").results == 3


def test_a_second_backup_into_the_same_folder_is_refused_while_the_first_is_running(
    state: StateFolder, daemon: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would write one file, and the first would give the good backup's name to what the second has of it."""
    folder = tmp_path / "backup"
    backup(state, folder)
    tried: list[str] = []
    fsync = os.fsync

    def meanwhile(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == ".ledger.sqlite.part" and not tried:
            tried.append("")
            try:
                backup(state, folder)
            except UsageError as fault:
                tried[0] = str(fault)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    assert backup(state, folder).reports == 3
    assert tried == [f"another backup into {folder} is running; wait for it"]
    assert backup(state, folder).reports == 3  # the folder is free again


def test_a_file_in_the_place_of_the_folder_is_named(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "backup"):
        with pytest.raises(StateError, match="check the disk"):
            backup(state, folder)


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
    for key in (b"", state.site_key[:-1], state.site_key + b"x"):
        (folder / "site.key").write_bytes(key)
        with pytest.raises(UsageError, match=rf"site.key is damaged \({len(key)} bytes\); use an earlier backup"):
            restore(folder, tmp_path / "new")
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
    with pytest.raises(StateError, match="holds results and no ledger; run edge-cxr restore"):
        open_state(state.root)  # as the daemon does
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


def test_a_copy_that_cannot_be_read_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"not a database" * 1000)
    with pytest.raises(StateError, match="is damaged"):
        list(documents(tmp_path / "copy"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_folder_is_not_restored_into(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    """Its daemon could not read what this user would make there."""
    backup(state, tmp_path / "backup")
    (tmp_path / "new").mkdir()
    os.chown(tmp_path / "new", 1, 1)
    with pytest.raises(UsageError, match="belongs to user 1, this is user 0"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_which_bundle_is_active_comes_along(state: StateFolder, tmp_path: Path) -> None:
    """Else a restored box would score with the one that is active where none was activated."""
    Ledger(state.ledger, site_key=state.site_key).close()
    mark = Path("bundles/active.json")
    (state.root / "bundles/0123456789ab").mkdir(parents=True)
    (state.root / mark).write_text('{"active": "0123456789ab", "before": ["research"]}')
    backup(state, tmp_path / "backup")
    backup(state, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "restored")
    assert (tmp_path / "restored" / mark).read_bytes() == (state.root / mark).read_bytes()
    with pytest.raises(BundleError, match="the active bundle 0123456789ab is not on this box"):
        open_configured(Config(state=str(tmp_path / "restored"), bundle="active"))
    (state.root / mark).unlink()
    backup(state, tmp_path / "backup")
    assert not (tmp_path / "backup" / mark).exists()
