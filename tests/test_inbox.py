"""The watch folder: real files, and every complete one handed out once."""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge.errors import Unopenable
from edge.folders import Folders
from edge.inbox import Inbox, mode
from edge.looks import is_temporary, look
from edge.mounts import announces, filesystem_of
from edge.notifications import Changes, Notifications
from edge.put_off import Cause
from edge.scans import Pace
from edge.values import Sighting
from edge.window import SIZE

LOOK_S, SCAN_S, PATIENCE_S = 0.02, 0.05, 10.0
RARELY_S = 600.0  # no scan but the first: what is found then was found by an event


def nothing_known(_: Sighting) -> bool:
    return False


def settled(root: Path, **options: object) -> list[str]:
    inbox = Inbox(root, options.pop("known", nothing_known), pace=Pace(look_s=LOOK_S), **options)
    return [sighting.path.name for sighting in inbox.settled(threading.Event())]


@dataclass
class Watcher:
    """An inbox in a thread of its own; what it hands out comes through a queue."""

    inbox: Inbox
    stop: threading.Event = field(default_factory=threading.Event)
    found: "queue.Queue[Sighting]" = field(default_factory=queue.Queue)

    def run(self) -> None:
        for sighting in self.inbox.watch(self.stop):
            self.found.put(sighting)

    def next(self) -> Path:
        return self.found.get(timeout=PATIENCE_S).path

    def nothing_for(self, wait_s: float) -> bool:
        try:
            self.found.get(timeout=wait_s)
        except queue.Empty:
            return True
        return False


@pytest.fixture(params=[SCAN_S, RARELY_S], ids=["scans", "events"])
def watcher(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watcher]:
    yield from watching(tmp_path, request.param)


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[Watcher]:
    yield from watching(tmp_path, SCAN_S)


def watching(root: Path, scan_s: float) -> Iterator[Watcher]:
    (root / "first").write_bytes(b"says that it watches")
    started = Watcher(Inbox(root, nothing_known, pace=Pace(look_s=LOOK_S, still_s=2 * LOOK_S, scan_s=scan_s)))
    thread = threading.Thread(target=started.run)
    thread.start()
    try:
        assert started.next().name == "first"
        yield started
    finally:
        started.stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    "name", [".a", "~a", "a.part", "a.tmp", "a.PARTIAL", "a.dcm.filepart", "a.crdownload", ".a.swp"]
)
def test_temporary_names(name: str) -> None:
    assert is_temporary(name)


@pytest.mark.parametrize("name", ["a", "a.dcm", "part", "tmp.dcm", "a~.png", "a.part.dcm"])
def test_names_that_are_not_temporary(name: str) -> None:
    assert not is_temporary(name)


def test_only_regular_files_are_seen(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert look(tmp_path / "file") == Sighting(
        tmp_path / "file", 1, (tmp_path / "file").stat().st_mtime_ns, (tmp_path / "file").stat().st_ino
    )
    for name in ("link", "folder", "pipe", "missing"):
        assert look(tmp_path / name) is None
    assert settled(tmp_path) == ["file"]


def test_oldest_first_in_nested_folders(tmp_path: Path) -> None:
    for number, name in enumerate(["c", "a/b/d", "b", "a/a"]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, ns=(0, number))
    assert settled(tmp_path) == ["c", "d", "b", "a"]


def test_temporary_names_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in (".hidden/a", "upload.part/b", "c.tmp", "~d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert settled(tmp_path) == []


def test_known_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"x")
    assert settled(tmp_path, known=lambda sighting: sighting.path.name == "a") == ["b"]


def test_a_link_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"x")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    assert settled(tmp_path / "inside") == []


def test_a_growing_file_is_handed_out_when_it_stands_still(tmp_path: Path) -> None:
    path, still_growing = tmp_path / "file", 5
    path.write_bytes(b"x")

    class GrowsBetweenLooks:
        """Asked before each hand-out: a clock that ticks with the looks, not with the wall."""

        left = still_growing

        def is_set(self) -> bool:
            if self.left:
                self.left -= 1
                with path.open("ab") as opened:
                    opened.write(b"x")
            return False

    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    (sighting,) = inbox.settled(GrowsBetweenLooks())
    assert sighting.size_bytes == 1 + still_growing


def test_stop_is_respected_between_two_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x")
    stop, found = threading.Event(), []
    for sighting in Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S)).settled(stop):
        found.append(sighting)
        stop.set()
    assert len(found) == 1


def test_a_taken_back_file_comes_again_when_its_time_has_passed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    found = []
    for sighting in inbox.settled(threading.Event()):
        found.append(inbox.was_deferred(sighting))
        if len(found) == 1:
            inbox.look_again(sighting, after_s=5 * LOOK_S)
    assert found == [False, True]


def test_a_taken_back_file_that_changed_comes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    found = []
    for sighting in inbox.settled(threading.Event()):
        found.append((sighting.size_bytes, inbox.was_deferred(sighting)))
        if len(found) == 1:
            inbox.look_again(sighting, after_s=RARELY_S)
            path.write_bytes(b"longer")
    assert found == [(1, False), (6, False)]


def test_a_taken_back_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    for sighting in inbox.settled(threading.Event()):
        inbox.look_again(sighting, after_s=RARELY_S)
        path.unlink()


def test_a_closed_file_comes_once(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    assert watcher.next().name == "file"
    assert watcher.nothing_for(5 * SCAN_S)


def test_a_file_renamed_into_place_comes_once(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"x")
    assert watcher.nothing_for(5 * SCAN_S)
    (tmp_path / "file.part").rename(tmp_path / "file.dcm")
    assert watcher.next().name == "file.dcm"
    assert watcher.nothing_for(5 * SCAN_S)


def test_a_file_still_open_comes_when_it_is_closed(tmp_path: Path) -> None:
    for watcher in watching(tmp_path, RARELY_S):
        with (tmp_path / "file").open("wb") as opened:
            opened.write(b"x" * 10)
            opened.flush()
            assert watcher.nothing_for(10 * LOOK_S)
            opened.write(b"x" * 10)
        assert watcher.found.get(timeout=PATIENCE_S).size_bytes == 20


def test_a_changed_file_comes_again(watcher: Watcher, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"something else")
    assert watcher.next().name == "first"


def test_a_file_made_in_full_size_by_a_writer_that_stalls_is_waited_for(tmp_path: Path) -> None:
    """No close event comes from a share or a writer that holds it open: standing still for two looks proves nothing."""
    with (tmp_path / "file").open("wb") as opened:
        opened.truncate(20)
        inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S, still_s=3.0, scan_s=SCAN_S))
        started = Watcher(inbox)
        thread = threading.Thread(target=started.run, daemon=True)  # a failure must not hang the run
        thread.start()
        assert started.nothing_for(1.5)
        opened.write(b"x" * 10)
        opened.flush()
        assert started.nothing_for(2.0)  # it changed: its time begins anew
    started.next()
    started.stop.set()
    thread.join(PATIENCE_S)


def test_a_single_run_leaves_what_keeps_changing(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(b"x")
    growing, stop = tmp_path / "growing", threading.Event()

    def grow() -> None:
        while not stop.wait(LOOK_S / 4):
            with growing.open("ab") as opened:
                opened.write(b"x")

    growing.write_bytes(b"")
    writer = threading.Thread(target=grow)
    writer.start()
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S, restless_s=10 * LOOK_S))
    assert [sighting.path.name for sighting in inbox.settled(threading.Event())] == ["whole"]
    stop.set()
    writer.join()
    assert inbox.restless == 1


def test_a_new_folder_is_watched_too(scanner: Watcher, tmp_path: Path) -> None:
    (tmp_path / "ward" / "today").mkdir(parents=True)
    (tmp_path / "ward" / "today" / "a").write_bytes(b"x")
    assert scanner.next().name == "a"
    (tmp_path / "ward" / "today" / "b").write_bytes(b"x")
    assert scanner.next().name == "b"


def test_a_removed_file_that_comes_back_is_new(scanner: Watcher, tmp_path: Path) -> None:
    (tmp_path / "first").unlink()
    assert scanner.nothing_for(5 * SCAN_S)
    (tmp_path / "first").write_bytes(b"says that it watches")
    assert scanner.next().name == "first"


def test_a_deferred_file_that_is_only_closed_again_waits_its_time(tmp_path: Path) -> None:
    """Another writer's close event of an unchanged file must not make it final before its time."""
    path = tmp_path / "half.dcm"
    path.write_bytes(b"half")
    inbox = Inbox(tmp_path, lambda _: False, pace=Pace(look_s=0.05, still_s=0.1, scan_s=0.2))
    stop = threading.Event()
    handed: list[Sighting] = []
    for sighting in inbox.watch(stop):
        handed.append(sighting)
        if len(handed) == 1:
            inbox.look_again(sighting, after_s=1.0)
            seen = time.monotonic()
            for delay_s in (0.1, 0.3, 0.5):
                threading.Timer(delay_s, lambda: os.close(os.open(path, os.O_WRONLY))).start()
        else:
            waited_s = time.monotonic() - seen
            stop.set()
    assert handed == [handed[0]] * 2
    assert waited_s >= 1.0


def test_an_incoming_folder_that_vanishes_is_no_silent_watcher(tmp_path: Path) -> None:
    root = tmp_path / "incoming"
    root.mkdir()
    inbox = Inbox(root, lambda _: False, pace=Pace(look_s=0.05, scan_s=0.1))
    root.rmdir()
    with pytest.raises(Unopenable, match=r"cannot be read .*is it mounted"):
        list(inbox.settled(threading.Event()))


def test_a_subfolder_that_cannot_be_listed_is_said_once(tmp_path: Path) -> None:
    """Its listing fails as a missing permission would; root may list everything, so the fault is handed in."""
    said: list[str] = []
    folders = Folders(tmp_path, warn=said.append)
    fault = PermissionError(13, "Permission denied", str(tmp_path / "DOE^JOHN"))
    for _ in range(2):
        folders._cannot_list(str(tmp_path / "DOE^JOHN"), fault)
    assert len(said) == 1
    assert "check its permissions" in said[0]
    assert "DOE" not in said[0]


def test_a_new_folder_needs_no_scan(tmp_path: Path) -> None:
    """Scans grow rare where many files are: what is moved in whole, or written into a new folder, cannot wait."""
    whole = tmp_path.parent / f"{tmp_path.name}-whole"
    (whole / "deeper").mkdir(parents=True)
    (whole / "deeper" / "a").write_bytes(b"x")
    for watcher in watching(tmp_path, RARELY_S):
        whole.rename(tmp_path / "ward")
        assert watcher.next() == tmp_path / "ward" / "deeper" / "a"
        (tmp_path / "ward" / "deeper" / "b").write_bytes(b"x")
        assert watcher.next().name == "b"


@pytest.mark.parametrize("watching_by", ["polling", "events", "auto"])
def test_without_events_the_folder_is_polled(tmp_path: Path, watching_by: str) -> None:
    """With `poll_s` short and `scan_s` long, only polling finds a file that no event announces."""
    (tmp_path / "first").write_bytes(b"x")
    pace = Pace(look_s=LOOK_S, still_s=2 * LOOK_S, scan_s=RARELY_S, poll_s=SCAN_S)
    started = Watcher(Inbox(tmp_path, nothing_known, pace=pace, watching=watching_by))
    thread = threading.Thread(target=started.run)
    thread.start()
    try:
        assert started.next().name == "first"
        with (tmp_path / "open").open("wb") as opened:  # no close event while the test waits
            opened.write(b"x")
            opened.flush()
            if watching_by == "polling":
                assert started.next().name == "open"
            else:
                assert started.nothing_for(10 * SCAN_S)
    finally:
        started.stop.set()
        thread.join(PATIENCE_S)


def test_on_a_share_the_folder_is_polled_by_itself(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 2 0:1 / / rw - ext4 /dev/sda rw\n3 1 0:2 / /mnt/ward rw - cifs //server/ward rw\n")
    assert filesystem_of(Path("/mnt/ward/today"), mountinfo=mounts) == "cifs"
    assert not announces("cifs")
    assert announces("ext4")
    assert not announces("fuse.something-new")  # what is not known is polled
    assert mode(tmp_path, "polling").endswith(": polling")
    assert mode(tmp_path, "events").endswith(": inotify events and scans")


def test_a_folder_of_another_filesystem_makes_scans_come_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.folders.filesystem_of", lambda path: "nfs4")
    pace = Pace(look_s=LOOK_S, still_s=2 * LOOK_S, scan_s=RARELY_S, poll_s=SCAN_S)
    started = Watcher(Inbox(tmp_path, nothing_known, pace=pace))
    thread = threading.Thread(target=started.run)
    thread.start()
    try:
        time.sleep(2 * SCAN_S)
        with (tmp_path / "open").open("wb") as opened:
            opened.write(b"x")
            opened.flush()
            assert started.next().name == "open"
    finally:
        started.stop.set()
        thread.join(PATIENCE_S)


def test_a_folder_that_vanishes_is_waited_for(tmp_path: Path) -> None:
    root, said = tmp_path / "incoming", []
    root.mkdir()
    (root / "first").write_bytes(b"x")
    pace = Pace(look_s=LOOK_S, still_s=2 * LOOK_S, scan_s=SCAN_S, poll_s=SCAN_S)
    started = Watcher(Inbox(root, nothing_known, pace=pace, warn=said.append))
    thread = threading.Thread(target=started.run)
    thread.start()
    try:
        assert started.next().name == "first"
        root.rename(tmp_path / "away")
        wait_until(lambda: started.inbox.absent is not None)
        assert started.nothing_for(3 * SCAN_S)
        (tmp_path / "away" / "second").write_bytes(b"x")
        (tmp_path / "away").rename(root)
        assert started.next().name == "second"
        wait_until(lambda: started.inbox.absent is None)
        (root / "third").write_bytes(b"x")  # its events are heard again
        assert started.next().name == "third"
        assert started.nothing_for(3 * SCAN_S)
    finally:
        started.stop.set()
        thread.join(PATIENCE_S)
    assert len(said) == 2
    assert "is it mounted?" in said[0]
    assert "can be read again" in said[1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(LOOK_S)


def test_what_was_known_is_asked_for_again_when_that_changed(tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"x")
    known, changed = {"first"}, [False]

    def has_changed() -> bool:
        answer, changed[0] = changed[0], False
        return answer

    pace = Pace(look_s=LOOK_S, still_s=2 * LOOK_S, scan_s=RARELY_S)
    inbox = Inbox(tmp_path, lambda seen: seen.path.name in known, changed=has_changed, pace=pace)
    started = Watcher(inbox)
    thread = threading.Thread(target=started.run)
    thread.start()
    try:
        assert started.nothing_for(10 * LOOK_S)
        known.clear()
        assert started.nothing_for(10 * LOOK_S)
        changed[0] = True
        assert started.next().name == "first"
    finally:
        started.stop.set()
        thread.join(PATIENCE_S)


def test_another_folder_is_taken_from_too_and_need_not_be_there(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    inbox = Inbox(tmp_path / "incoming", nothing_known, further=[tmp_path / "again"], pace=Pace(look_s=LOOK_S))
    assert list(inbox.settled(threading.Event())) == []
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "a").write_bytes(b"x")
    inbox = Inbox(tmp_path / "incoming", nothing_known, further=[tmp_path / "again"], pace=Pace(look_s=LOOK_S))
    assert [seen.path.name for seen in inbox.settled(threading.Event())] == ["a"]
    assert inbox.unreadable == 0


def test_more_files_than_memory_is_given_for_come_all_and_in_order(tmp_path: Path) -> None:
    count = 2 * SIZE + 500
    for number in range(count):
        path = tmp_path / f"{(number * 7919) % count:06}"
        path.touch()
        os.utime(path, ns=(0, int(path.name)))
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    found, most = [], 0
    for sighting in inbox.settled(threading.Event()):
        found.append(int(sighting.path.name))
        most = max(most, len(inbox._waiting.window))
    assert sorted(found) == list(range(count))
    assert most <= SIZE
    oldest = [number for place, number in enumerate(found) if place % 4 != 3]
    assert oldest[: SIZE // 2] == list(range(SIZE // 2))


def test_a_file_that_comes_during_a_backlog_is_not_kept_waiting(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"{number:06}").touch()
        os.utime(tmp_path / f"{number:06}", ns=(0, number))
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S, still_s=LOOK_S, scan_s=RARELY_S))
    stop, names = threading.Event(), []
    for sighting in inbox.watch(stop):
        names.append(sighting.path.name)
        if len(names) == 10:
            (tmp_path / "new").write_bytes(b"x")
        if sighting.path.name == "new" or len(names) == 500:
            stop.set()
    assert "new" in names[:16]


def test_taken_back_files_that_fill_the_window_are_not_lost(tmp_path: Path) -> None:
    """Of more than are kept the others are found again by a scan when their time has come."""
    count = 2 * SIZE
    for number in range(count):
        (tmp_path / f"{number:06}").touch()
        os.utime(tmp_path / f"{number:06}", ns=(0, number))
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    twice: dict[str, int] = {}
    for sighting in inbox.settled(threading.Event()):
        name = sighting.path.name
        twice[name] = twice.get(name, 0) + 1
        if twice[name] == 1:
            inbox.look_again(sighting, after_s=2.0)
    assert len(twice) == count
    assert set(twice.values()) == {2}


@pytest.mark.parametrize("mtime_s", [0, 2**33], ids=["1970", "2242"])
def test_whatever_the_clock_says_a_file_that_stands_still_comes(scanner: Watcher, tmp_path: Path, mtime_s: int) -> None:
    """Looks are compared with each other, never with the clock."""
    with (tmp_path / "file").open("wb") as opened:
        opened.write(b"x")
        opened.flush()
        os.utime(tmp_path / "file", (mtime_s, mtime_s))
        assert scanner.next().name == "file"


def test_a_file_dated_back_is_another_look(scanner: Watcher, tmp_path: Path) -> None:
    os.utime(tmp_path / "first", (1, 1))
    assert scanner.next().name == "first"


class Silent(Notifications):
    """A kernel that dropped every event, and says so when it is asked to."""

    drops = threading.Event()

    def read(self, *, wait_s: float) -> Changes:
        super().read(wait_s=wait_s)
        lost = self.drops.is_set()
        self.drops.clear()
        return Changes(lost=lost)


def test_lost_events_are_made_up_for_by_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.inbox.Notifications", Silent)
    for watcher in watching(tmp_path, RARELY_S):
        (tmp_path / "second").write_bytes(b"x")
        assert watcher.nothing_for(10 * LOOK_S)
        Silent.drops.set()
        assert watcher.next().name == "second"


def test_a_new_folder_with_a_temporary_name_waits_for_its_name(tmp_path: Path) -> None:
    for watcher in watching(tmp_path, RARELY_S):
        (tmp_path / "ward.part").mkdir()
        (tmp_path / "ward.part" / "a").write_bytes(b"x")
        assert watcher.nothing_for(10 * LOOK_S)
        (tmp_path / "ward.part").rename(tmp_path / "ward")
        assert watcher.next() == tmp_path / "ward" / "a"


def test_a_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    """Between a scan's listing of the parent and its reading of the folder, or later, before a file is handed out."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "private").write_bytes(b"x")
    root = tmp_path / "incoming"
    root.mkdir()
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    folders = Folders(root)
    assert list(folders.below(root / "folder", lambda folder, told: None)) == []
    with Notifications() as notifications:
        assert not notifications.follow(root / "folder")
    inbox = Inbox(root, nothing_known)
    seen = look(root / "folder" / "private")
    assert seen is not None
    assert not inbox._hand_out(seen)


class Failing(os.PathLike[str]):
    """A directory entry of a share that fails."""

    name = "stale"

    def __fspath__(self) -> str:
        return self.name

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def test_an_entry_that_cannot_be_looked_at_keeps_no_other_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"x")
    scandir = os.scandir

    @contextmanager
    def with_a_stale_one(opened: int) -> Iterator[Iterator[object]]:
        with scandir(opened) as entries:
            yield iter([Failing(), *entries])

    monkeypatch.setattr(os, "scandir", with_a_stale_one)
    said: list[str] = []
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S), warn=said.append)
    assert sorted(seen.path.name for seen in inbox.settled(threading.Event())) == ["a", "b"]
    assert inbox.unreadable == 1
    assert len(said) == 1
    assert "cannot be looked at" in said[0]
    assert "stale" not in said[0].split("(")[0]


def test_another_folder_in_the_roots_place_is_told(tmp_path: Path) -> None:
    root, told = tmp_path / "incoming", []
    root.mkdir()
    (root / "first").write_bytes(b"x")
    pace = Pace(look_s=LOOK_S, still_s=2 * LOOK_S, scan_s=SCAN_S, poll_s=SCAN_S)
    started = Watcher(Inbox(root, nothing_known, pace=pace, appeared=lambda: told.append(root.stat().st_ino)))
    thread = threading.Thread(target=started.run)
    thread.start()
    try:
        assert started.next().name == "first"
        root.rename(tmp_path / "away")
        root.mkdir()
        (root / "second").write_bytes(b"x")
        assert started.next().name == "second"
    finally:
        started.stop.set()
        thread.join(PATIENCE_S)
    assert told == [(tmp_path / "away").stat().st_ino, root.stat().st_ino]


def test_a_file_rewritten_within_a_tick_of_the_clock_comes_again(tmp_path: Path) -> None:
    """Same size, same times: only its writer's close tells."""
    for watcher in watching(tmp_path, RARELY_S):
        seen = (tmp_path / "first").stat()
        with (tmp_path / "first").open("r+b") as opened:
            opened.write(b"S")
            opened.flush()
            os.utime(opened.fileno(), ns=(seen.st_atime_ns, seen.st_mtime_ns))
        assert watcher.next().name == "first"


def test_files_that_are_gone_are_not_remembered(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"x")
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    for sighting in inbox.settled(threading.Event()):
        if sighting.path.name == "c":
            inbox.look_again(sighting, after_s=3 * LOOK_S, cause=Cause.UNOPENABLE)
            assert inbox.was_deferred(sighting)
            assert inbox.unopenable == 1
            break
    assert len(inbox._handed_out) == 2
    for name in "abc":
        (tmp_path / name).unlink()
    inbox._scan()
    assert len(inbox._handed_out) == 0
    assert inbox.unopenable == 0
    assert not inbox.was_deferred(sighting)


def test_scans_keep_their_distance(tmp_path: Path) -> None:
    """200 times their own CPU time where events are told, 20 times their length where not."""
    for number in range(2000):
        (tmp_path / f"{number}").touch()
    pauses = {}
    for watching_by in ("events", "polling"):
        inbox = Inbox(tmp_path, lambda seen: True, pace=Pace(scan_s=1e-9, poll_s=1e-9), watching=watching_by)
        with Notifications() as notifications:
            started_s = time.monotonic()
            inbox._scans.begin(inbox._walk(notifications if watching_by == "events" else None))
            while inbox._scans.is_running:
                inbox._scans.go_on()
            spent_s = time.monotonic() - started_s
            pauses[watching_by] = (inbox._scans._next_s - time.monotonic()) / spent_s
    assert pauses["events"] > 40  # of the wall clock: the CPU time is the greater part of it
    assert 10 < pauses["polling"] < 21


def crowd(root: Path, count: int) -> None:
    """Half of them older and half newer than whatever comes: in the window's order it is in their middle."""
    root.mkdir()
    for name, mtime_s in (("old", 1), ("new", 2**33)):
        (root.parent / name).touch()
        os.utime(root.parent / name, (mtime_s, mtime_s))
        for number in range(count // 2):
            (root / f"{name}{number}").hardlink_to(root.parent / name)


def test_files_put_off_keep_no_other_waiting_however_many(tmp_path: Path) -> None:
    """They come again and again and are put off each time, as hard links and files without permission are."""
    root = tmp_path / "in"
    crowd(root, SIZE + 1000)
    pace = Pace(look_s=LOOK_S, still_s=LOOK_S, scan_s=SCAN_S)
    inbox, deadline = Inbox(root, nothing_known, pace=pace), time.monotonic() + PATIENCE_S
    for tries, sighting in enumerate(inbox.watch(threading.Event()), 1):
        if sighting.path.name == "radiograph":
            break
        inbox.look_again(sighting, after_s=1.0)
        if tries == SIZE + 1000:  # all of them wait, or are due
            (root / "radiograph").write_bytes(b"x")
        assert len(inbox._waiting.window) <= SIZE
        assert len(inbox._waiting.put_off) <= SIZE
        assert time.monotonic() < deadline, f"after {tries} tries of the others"


def test_what_is_due_comes_though_new_files_go_on_and_on(tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"x")
    for number in range(400):
        (tmp_path / f"{number}").write_bytes(b"x")
    os.utime(tmp_path / "first", (1, 1))
    inbox, names = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S)), []
    for sighting in inbox.settled(threading.Event()):
        names.append(sighting.path.name)
        if len(names) == 1:
            inbox.look_again(sighting, after_s=1e-9)
    assert names[0] == "first"
    assert "first" in names[1:8]


def test_a_wait_for_other_names_is_none_for_the_writer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"half")
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S))
    seen = look(tmp_path / "file")
    assert seen is not None
    assert not inbox.was_put_off(seen)
    inbox.look_again(seen, after_s=LOOK_S, cause=Cause.LINKED)
    assert inbox.was_put_off(seen)
    assert not inbox.was_deferred(seen)
    inbox.look_again(seen, after_s=LOOK_S)
    assert inbox.was_deferred(seen)


def test_files_are_handed_out_while_a_long_scan_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.scans._PIECE_S", 0.0)  # a piece is one folder
    for number in range(300):
        (tmp_path / f"{number}").mkdir()
    inbox = Inbox(tmp_path, nothing_known, pace=Pace(look_s=LOOK_S, still_s=0.0, scan_s=RARELY_S))
    stop = threading.Event()
    changes = iter([Changes(closed=(tmp_path / "file",))])
    monkeypatch.setattr(Notifications, "read", lambda self, *, wait_s: next(changes, Changes()))
    (tmp_path / "file").write_bytes(b"x")
    found = []
    for sighting in inbox.watch(stop):
        found.append(sighting.path.name)
        assert inbox._scans.is_running
        break
    assert found == ["file"]


def test_who_scans_may_do_other_things_at_each_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no files are, and within a folder of many."""
    (tmp_path / "wide").mkdir()
    for number in range(10):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / "wide" / f"{number}").mkdir()
    monkeypatch.setattr("edge.folders._BATCH", 3)
    batches = list(Folders(tmp_path).all(lambda folder, told: None))
    assert len(batches) == 22 + 11 // 3 + 10 // 3
    assert not any(batch.sightings for batch in batches)


def test_what_is_handed_out_while_a_scan_goes_on_comes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It appears in a folder that the scan has passed, and is not among those that the scan found."""
    monkeypatch.setattr("edge.scans._PIECE_S", 0.0)
    for number in range(50):
        (tmp_path / f"{number}").mkdir()
    pace = Pace(look_s=LOOK_S, still_s=LOOK_S, scan_s=SCAN_S)
    inbox, stop, found = Inbox(tmp_path, nothing_known, pace=pace), threading.Event(), []
    threading.Timer(10 * SCAN_S, stop.set).start()
    walk = inbox._walk

    def with_a_file_at_its_middle(notifications: Notifications | None) -> Generator[None, None, None]:
        for number, _ in enumerate(walk(notifications)):
            if number == 25 and not (tmp_path / "file").exists():
                (tmp_path / "file").write_bytes(b"x")
            yield
        inbox._scans.ask()

    monkeypatch.setattr(inbox, "_walk", with_a_file_at_its_middle)
    for sighting in inbox.watch(stop):
        found.append(sighting.path.name)
    assert found == ["file"]
