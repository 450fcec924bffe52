"""What a sender can do with names, links, pipes and folders: nothing of another's is read, moved or named after it."""

import hashlib
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reports import scored, sighting_of
from swapping import exchange, swapped_on_and_on

from edge.errors import Unopenable
from edge.folders import Folders
from edge.inbox import Inbox, Pace
from edge.looks import look
from edge.outputs.disposal import ASIDE, dispose, recover_set_aside
from edge.outputs.durable import move_durably
from edge.outputs.report_json import encode, write_result
from edge.snapshot import Snapshot, snapshot
from edge.state import StateFolder, lock_state, open_state
from edge.store import Ledger
from edge.values import FinishedCase, Reason, Sighting

SECRET, INNOCENT = b"secret of another", b"innocent radiograph"
CASE = hashlib.sha256(INNOCENT).hexdigest()[:16]
ROUNDS = 150


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    (tmp_path / "in" / "ward").mkdir(parents=True)
    (tmp_path / "in" / "ward" / "file").write_bytes(INNOCENT)
    return tmp_path / "in"


def case(frozen: Snapshot, reason: Reason | None = None) -> FinishedCase:
    return FinishedCase(frozen.sha256[:16], frozen.format, reason, None)


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def link_to_the_secret(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def second_name(path: Path, secret: Path) -> None:
    path.hardlink_to(secret)


def pipe(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, secret: Path) -> None:
    path.mkdir()


HOSTILE = [link_to_the_secret, second_name, pipe, folder]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_file_swapped_on_and_on_gives_its_own_bytes_or_none(
    root: Path, hostile: Callable[[Path, Path], None]
) -> None:
    hostile(root / ".hostile", root.parent / "outside" / "file")
    with swapped_on_and_on(root / "ward" / "file", root / ".hostile"):
        for _ in range(ROUNDS):
            try:
                with snapshot(root / "ward" / "file", root=root) as frozen:
                    assert os.pread(frozen.descriptor, 100, 0) == INNOCENT
            except Unopenable as fault:
                assert "ward" not in str(fault)


def test_a_folder_swapped_on_and_on_is_itself_or_refused(root: Path) -> None:
    (root / ".hostile").symlink_to(root.parent / "outside")
    with swapped_on_and_on(root / "ward", root / ".hostile"):
        for _ in range(ROUNDS):
            try:
                with snapshot(root / "ward" / "file", root=root) as frozen:
                    assert os.pread(frozen.descriptor, 100, 0) == INNOCENT
            except Unopenable:
                pass


@pytest.mark.parametrize("reason", [None, Reason.UNREADABLE], ids=str)
@pytest.mark.parametrize("where", ["ward/file", "ward"])
def test_nothing_of_anothers_is_put_away(root: Path, state: StateFolder, where: str, reason: Reason | None) -> None:
    """Swapped between the look, the setting aside and the moving: the innocent file may be put away, or be left."""
    outside = root.parent / "outside"
    (root / ".hostile").symlink_to(outside / "file" if where == "ward/file" else outside)
    for number in range(ROUNDS):
        if (root / where).is_symlink():  # as the last round left it
            exchange(root / where, root / ".hostile")
        path = root / "ward" / "file"
        path.unlink(missing_ok=True)
        path.write_bytes(INNOCENT + b"%d" % number)
        sighting = sighting_of(path)
        with snapshot(path, root=root) as frozen, swapped_on_and_on(root / where, root / ".hostile"):
            dispose(sighting, case(frozen, reason), state, after="archive", root=root)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_bytes() == SECRET
    assert not any(SECRET in content for content in contents(state.root))


def test_nothing_outside_is_renamed_even_for_a_moment(
    root: Path, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link takes the folder's place after the look: what is set aside is still what was looked at."""
    outside = root.parent / "outside"
    (root / ".hostile").symlink_to(outside)
    sighting = sighting_of(root / "ward" / "file")
    outside_then: list[list[str]] = []

    def swapped_after_the_look(path: Path) -> Sighting | None:
        found = look(path)
        if not outside_then:
            exchange(root / "ward", root / ".hostile")
        outside_then.append([path.name for path in outside.iterdir()])
        return found

    monkeypatch.setattr("edge.outputs.disposal.look", swapped_after_the_look)
    dispose(sighting, FinishedCase(CASE, None, None, None), state, after="archive", root=root)
    assert outside_then == [["file"], ["file"]]
    assert contents(state.archive) == [INNOCENT]
    assert contents(root / ".hostile") == []


def test_what_became_a_link_after_it_was_seen_is_not_handed_out(root: Path) -> None:
    seen = look(root / "ward" / "file")
    assert seen is not None
    (root.parent / "outside" / "ward").mkdir()
    os.link(root / "ward" / "file", root.parent / "outside" / "ward" / "file")
    (root / "ward").rename(root / ".ward")
    (root / "ward").symlink_to(root.parent / "outside" / "ward")
    assert look(seen.path) == seen  # by its path it is the same
    assert not Inbox(root, lambda _: False)._hand_out(seen)


NAMES = st.one_of(
    st.binary(min_size=1, max_size=255),
    st.sampled_from([b"-rf", b"--help", b"a\nb", b"..dcm", b"\xff\xfe", b"n" * 255, b"\xc3\xa4" * 127, b"DOE^JOHN"]),
    st.sampled_from([b".edge-cxr-0011223344556677", b"edge-cxr-0011223344556677", b"0011223344556677.json"]),
).map(lambda name: os.fsdecode(name.replace(b"/", b"_").replace(b"\0", b"_")))  # fmt: skip


@settings(max_examples=60)
@given(st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4, unique=True), st.booleans())
def test_no_name_of_a_sender_goes_beyond_the_incoming_folder(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], readable: bool
) -> None:
    tmp_path = tmp_path_factory.mktemp("names")
    state, root = open_state(tmp_path / "state"), tmp_path / "in"
    root.mkdir()
    expected = {"site.key", "archive", "quarantine", "results", "b" * 12}
    for number, name in enumerate(names):
        (root / name).write_bytes(b"%d" % number)
        sighting = sighting_of(root / name)
        with snapshot(root / name, root=root) as frozen:
            finished = case(frozen, None if readable else Reason.UNREADABLE)
        write_result(state.results("b" * 64), finished.case_id, "{}")
        dispose(sighting, finished, state, after="archive", root=root)
        expected |= {finished.case_id + suffix for suffix in (".json", ".bin", ".reason.json")}
    assert list(root.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"state", "in"}
    assert {path.name for path in state.root.rglob("*")} <= expected


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("name", [f"{ASIDE}{CASE}", f"{ASIDE}{'n' * 245}", ASIDE], ids=["id", "long", "bare"])
def test_planted_names_of_what_is_set_aside_do_no_harm(
    root: Path, state: StateFolder, hostile: Callable[[Path, Path], None], name: str
) -> None:
    hostile(root / name, root.parent / "outside" / "file")
    hostile(root / name.removeprefix("."), root.parent / "outside" / "file")  # and the name that it would get
    before = sorted(os.listdir(root))  # noqa: PTH208
    recovered, hidden = recover_set_aside(root)
    if hostile is second_name:
        assert (recovered, hidden) == (1, 0)
        assert len(list(root.iterdir())) == len(before) - 1  # of two names of one file that a crash may have left, one
        assert max(len(path.name) for path in root.iterdir()) <= 255
        with pytest.raises(Unopenable, match="names"), snapshot(root / name.removeprefix("."), root=root):
            pass
    else:
        assert (recovered, hidden) == (0, 0)
        assert sorted(os.listdir(root)) == before  # noqa: PTH208
    assert (root.parent / "outside" / "file").read_bytes() == SECRET
    sighting = sighting_of(root / "ward" / "file")
    dispose(sighting, FinishedCase(CASE, None, None, None), state, after="archive", root=root)
    assert contents(state.archive) == [INNOCENT]


def test_a_scan_does_not_walk_out_through_a_folder_that_became_a_link(root: Path) -> None:
    """Between the listing of a folder and the reading of one below: a dead share may lie behind the link."""
    (root / "ward" / "today").mkdir()
    (root.parent / "outside" / "today").mkdir()
    (root.parent / "outside" / "today" / "file").write_bytes(SECRET)
    (root / ".hostile").symlink_to(root.parent / "outside")
    said: list[str] = []

    def swap(folder: Path, told: bool) -> None:
        if folder.name == "today":
            exchange(root / "ward", root / ".hostile")

    found = [path for batch in Folders(root, warn=said.append).all(swap) for path, _ in batch.sightings]
    assert found == [str(root / "ward" / "file")]
    assert len(said) == 1


def test_a_recovery_follows_no_link(root: Path) -> None:
    (root.parent / "outside" / f"{ASIDE}x").write_bytes(SECRET)
    (root / "link").symlink_to(root.parent / "outside")
    assert recover_set_aside(root) == (0, 0)


def test_the_archive_keeps_no_file_that_its_sender_can_still_write(root: Path, state: StateFolder) -> None:
    """Open, linked, or owned by another: the bytes that stay are a copy."""
    path = root / "ward" / "file"
    (root / "ward" / "other").hardlink_to(path)
    path.chmod(0o666)
    with path.open("r+b") as held:
        dispose(sighting_of(path), FinishedCase(CASE, None, None, None), state, after="archive", root=root)
        held.write(b"changed afterwards")
    (kept,) = state.archive.iterdir()
    assert kept.read_bytes() == INNOCENT
    assert kept.stat().st_nlink == 1
    assert not path.exists()
    assert (root / "ward" / "other").read_bytes().startswith(b"changed")


def once(work: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    """A file that is read in one piece."""
    pieces = [work]
    return lambda descriptor, count: pieces.pop()(descriptor, count) if pieces else b""


def test_a_file_written_in_while_it_is_copied_is_put_back(
    root: Path, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = root / "ward" / "file", os.read
    sighting = sighting_of(path)

    def while_it_is_written_in(descriptor: int, count: int) -> bytes:
        with next(path.parent.glob(f"{ASIDE}*")).open("ab") as held:
            held.write(b".")
        return read(descriptor, count)

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", once(while_it_is_written_in))
        dispose(sighting, FinishedCase(CASE, None, None, None), state, after="archive", root=root)
    assert list(state.archive.iterdir()) == []
    assert path.read_bytes() == INNOCENT + b"."


def test_everything_in_a_state_folder_is_private_whatever_the_umask(root: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = open_state(tmp_path / "state")
        os.close(lock_state(state))
        with Ledger(state.ledger, site_key=state.site_key) as ledger:
            for number, reason in enumerate((None, None, Reason.TRUNCATED)):
                path = root / f"{number}"
                path.write_bytes(b"%d" % number)
                path.chmod(0o777)
                report = replace(scored(number), sha256=hashlib.sha256(b"%d" % number).hexdigest())
                write_result(state.results(report.bundle_id), report.case_id, encode(report))
                ledger.record(report, encode(report), sighting_of(path))
                finished = FinishedCase(report.case_id, "dicom", reason, None)
                dispose(sighting_of(path), finished, state, after="archive", root=root)
            old = next(state.archive.iterdir())
            old.chmod(0o644)  # as an earlier version left it
            move_durably(old, state.requeued / old.name)
            modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in [state.root, *state.root.rglob("*")]}
    finally:
        os.umask(before)
    assert {"ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "site.key", "lock"} <= {
        path.name for path in modes
    }
    assert {path.parent.name for path in modes} >= {"archive", "quarantine", "requeued", "results"}
    assert {oct(mode) for path, mode in modes.items() if path.is_dir()} == {"0o700"}
    assert {str(path): oct(mode) for path, mode in modes.items() if path.is_file() and mode != 0o600} == {}


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """2500 folders one in another: the path of the lowest is longer than the kernel takes, and than Python recurses."""
    (tmp_path / "deep").mkdir()
    opened = os.open(tmp_path / "deep", os.O_RDONLY)
    for _ in range(2500):
        os.mkdir("d", dir_fd=opened)
        below = os.open("d", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=opened))
    os.close(opened)
    (tmp_path / "deep" / "file").write_bytes(INNOCENT)
    yield tmp_path / "deep"
    subprocess.run(["rm", "-rf", tmp_path / "deep"], check=True)  # too deep for shutil, and so for pytest


def test_a_tree_that_is_too_deep_stops_nothing(deep: Path) -> None:
    said: list[str] = []
    inbox = Inbox(deep, lambda _: False, pace=Pace(look_s=0.01), warn=said.append)
    assert [seen.path for seen in inbox.settled(threading.Event())] == [deep / "file"]
    assert inbox.unreadable == 1
    (told,) = said
    assert "too long" in told
    assert "d/d" not in told
    assert recover_set_aside(deep) == (0, 0)


def test_a_file_whose_path_is_too_long_is_told(deep: Path) -> None:
    depth = (4090 - len(os.fsencode(deep))) // 2
    lowest = deep / "/".join("d" * depth)
    below = os.open(lowest, os.O_RDONLY)
    os.close(os.open("n" * 100, os.O_WRONLY | os.O_CREAT, dir_fd=below))
    os.close(below)
    said: list[str] = []
    folders = Folders(deep, warn=said.append)
    found = [path for batch in folders.all(lambda *_: None) for path, _ in batch.sightings]
    assert not any("nnn" in path for path in found)
    assert len(folders.unreadable) == 2
    assert all("too long" in told for told in said)


def test_folders_without_number_take_little_memory(tmp_path: Path) -> None:
    """Each waits as one name, however long the path above it; and of those that cannot be read few are told."""
    above = tmp_path
    for _ in range(12):
        above = above / ("n" * 250)
        above.mkdir()
    for number in range(3000):
        (above / f"{number}").mkdir()
    pending: list[tuple[str, str]] = []
    with os.scandir(above) as entries:
        assert list(Folders(tmp_path)._of_entries(str(above), entries, pending)) == []
    assert len(pending) == 3000
    assert {path for path, _ in pending} == {str(above)}
    assert len({id(path) for path, _ in pending}) == 1


def test_of_many_folders_that_cannot_be_listed_some_are_told_and_all_are_counted(tmp_path: Path) -> None:
    said: list[str] = []
    folders = Folders(tmp_path, warn=said.append)
    for scan in range(3):
        list(folders.all(lambda *_: None))
        for number in range(1000):
            folders._cannot_list(f"{tmp_path}/{scan}-{number}", PermissionError(13, "Permission denied"))
        assert len(folders.unreadable) == 1000
        assert len(said) == 21 * (scan + 1)
    list(folders.all(lambda *_: None))
    folders._cannot_list(f"{tmp_path}/2-0", PermissionError(13, "Permission denied"))  # as in the scan before
    assert len(said) == 63
