"""The watch folder: real files, and every complete one handed out once."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge.errors import Unopenable
from edge.inbox import Inbox, is_temporary, look
from edge.values import Sighting

LOOK_S, SCAN_S, PATIENCE_S = 0.02, 0.05, 10.0
RARELY_S = 600.0  # no scan but the first: what is found then was found by an event


def nothing_known(_: Sighting) -> bool:
    return False


def settled(root: Path, **options: object) -> list[str]:
    inbox = Inbox(root, options.pop("known", nothing_known), look_s=LOOK_S, **options)
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
    started = Watcher(Inbox(root, nothing_known, look_s=LOOK_S, still_s=2 * LOOK_S, scan_s=scan_s))
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

    inbox = Inbox(tmp_path, nothing_known, look_s=LOOK_S)
    (sighting,) = inbox.settled(GrowsBetweenLooks())
    assert sighting.size_bytes == 1 + still_growing


def test_stop_is_respected_between_two_files(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"x")
    stop, found = threading.Event(), []
    for sighting in Inbox(tmp_path, nothing_known, look_s=LOOK_S).settled(stop):
        found.append(sighting)
        stop.set()
    assert len(found) == 1


def test_a_taken_back_file_comes_again_when_its_time_has_passed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    inbox = Inbox(tmp_path, nothing_known, look_s=LOOK_S)
    found = []
    for sighting in inbox.settled(threading.Event()):
        found.append(inbox.was_deferred(sighting))
        if len(found) == 1:
            inbox.look_again(sighting, after_s=5 * LOOK_S)
    assert found == [False, True]


def test_a_taken_back_file_that_changed_comes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    inbox = Inbox(tmp_path, nothing_known, look_s=LOOK_S)
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
    inbox = Inbox(tmp_path, nothing_known, look_s=LOOK_S)
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
        inbox = Inbox(tmp_path, nothing_known, look_s=LOOK_S, still_s=3.0, scan_s=SCAN_S)
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
    inbox = Inbox(tmp_path, nothing_known, look_s=LOOK_S, restless_s=10 * LOOK_S)
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
    inbox = Inbox(tmp_path, lambda _: False, look_s=0.05, still_s=0.1, scan_s=0.2)
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
    inbox = Inbox(root, lambda _: False, look_s=0.05, scan_s=0.1)
    root.rmdir()
    with pytest.raises(Unopenable, match=r"cannot be read .*is it mounted"):
        list(inbox.settled(threading.Event()))


def test_a_subfolder_that_cannot_be_listed_is_said_once(tmp_path: Path) -> None:
    """Its listing fails as a missing permission would; root may list everything, so the fault is handed in."""
    said: list[str] = []
    inbox = Inbox(tmp_path, lambda _: False, warn=said.append)
    fault = PermissionError(13, "Permission denied", str(tmp_path / "DOE^JOHN"))
    for _ in range(2):
        inbox._cannot_list(fault)
    assert len(said) == 1
    assert "check its permissions" in said[0]
    assert "DOE" not in said[0]
