"""inotify as the kernel gives it: closed and renamed files, new folders, and the word that events were lost."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.notifications import Changes, Notifications

WAIT_S = 5.0
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.fixture
def notifications(tmp_path: Path) -> Iterator[Notifications]:
    with Notifications() as opened:
        assert opened.follow(tmp_path)
        yield opened


def test_closed_and_renamed_files_and_new_folders(notifications: Notifications, tmp_path: Path) -> None:
    (tmp_path / "closed").write_bytes(b"x")
    (tmp_path / "closed").rename(tmp_path / "renamed")
    (tmp_path / "folder").mkdir()
    changes = notifications.read(wait_s=WAIT_S)
    assert changes.closed == (tmp_path / "closed",)
    assert changes.moved == (tmp_path / "renamed",)
    assert changes.folders == (tmp_path / "folder",)
    assert not changes.lost
    assert notifications.read(wait_s=0) == Changes()


def test_a_file_still_open_is_not_told(notifications: Notifications, tmp_path: Path) -> None:
    with (tmp_path / "open").open("wb") as opened:
        opened.write(b"x")
        opened.flush()
        assert notifications.read(wait_s=0).closed == ()
    assert notifications.read(wait_s=WAIT_S).closed == (tmp_path / "open",)


def test_a_folder_that_is_gone_cannot_be_followed(notifications: Notifications, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert notifications.follow(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    notifications.read(wait_s=WAIT_S)
    assert not notifications.follow(tmp_path / "folder")


def test_the_queue_overflowed_for_real(notifications: Notifications, tmp_path: Path) -> None:
    count = int(QUEUE.read_text()) + 100
    if count > 100_000:
        pytest.skip("the kernel's queue is too long to be filled in a test")
    for number in range(count):  # an event each: a new folder
        (tmp_path / str(number)).mkdir()
    lost = False
    while not lost:
        changes = notifications.read(wait_s=0)
        assert changes != Changes(), "the overflow was not told"
        lost = changes.lost


def test_no_more_watches_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with Notifications(warn=said.append) as notifications:

        def none_left(path: str, mask: int) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(notifications._inotify, "add_watch", none_left)
        assert not notifications.follow(tmp_path)
        assert not notifications.follow(tmp_path)
    assert len(said) == 1
    assert "fs.inotify.max_user_watches" in said[0]


def test_a_folder_that_went_is_no_longer_heard_under_its_name(notifications: Notifications, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    notifications.follow(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    notifications.read(wait_s=WAIT_S)
    assert list(notifications._folders.values()) == [tmp_path]
