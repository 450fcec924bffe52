"""Files that are complete the moment they are visible."""

import errno
import os
import threading
from pathlib import Path

import pytest

from edge.errors import StateError
from edge.inbox import is_temporary
from edge.outputs.durable import disk_error, move_durably, write_durably


def test_written_whole_and_alone(tmp_path: Path) -> None:
    write_durably(tmp_path / "new" / "folder" / "file", b"content")
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["file"]
    assert (tmp_path / "new" / "folder" / "file").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new" / "folder").stat().st_mode & 0o077 == 0


def test_parts_are_written_one_after_the_other(tmp_path: Path) -> None:
    write_durably(tmp_path / "file", (b"first ", bytearray(b"second "), b"", b"third" * 100_000))
    assert (tmp_path / "file").read_bytes() == b"first second " + b"third" * 100_000


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = {bytes([letter]) * 400_000 for letter in b"ab"}
    write_durably(path, b"a" * 400_000)
    done, torn = threading.Event(), []

    def read_on() -> None:
        while not done.is_set():
            if path.read_bytes() not in contents:
                torn.append(True)
            for other in tmp_path.iterdir():
                if other != path and not is_temporary(other.name):
                    torn.append(True)

    reader = threading.Thread(target=read_on)
    reader.start()
    for _ in range(30):
        for content in contents:
            write_durably(path, content)
    done.set()
    reader.join(10)
    assert not torn


def test_what_a_crash_left_behind_is_no_hindrance(tmp_path: Path) -> None:
    write_durably(tmp_path / "other", b"")
    (tmp_path / ".file.part").write_bytes(b"half of something much longer")
    write_durably(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert not (tmp_path / ".file.part").exists()


def test_a_link_in_the_place_of_the_unfinished_file_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".file.part").symlink_to(tmp_path / "precious")
    write_durably(tmp_path / "file", b"content")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (tmp_path / "file").read_bytes() == b"content"
    assert not (tmp_path / "file").is_symlink()


def test_moved_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    move_durably(source, tmp_path / "new" / "target")
    assert (tmp_path / "new" / "target").read_bytes() == b"content"
    assert not source.exists()


def test_a_file_that_a_backup_has_linked_is_moved_as_a_copy(tmp_path: Path) -> None:
    """One with two names would not be read; and the backup's own stays as it is."""
    source, backup = tmp_path / "source", tmp_path / "backup"
    source.write_bytes(b"content")
    source.chmod(0o640)
    backup.hardlink_to(source)
    move_durably(source, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"content"
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "target").stat().st_nlink == backup.stat().st_nlink == 1
    assert backup.stat().st_mode & 0o777 == 0o640
    assert not source.exists()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second filesystem to move to")
def test_moved_to_another_filesystem(tmp_path: Path) -> None:
    folder = Path("/dev/shm") / f"edge-cxr-test-{os.getpid()}"
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("the temporary folder lies on it too")
    source = tmp_path / "source"
    source.write_bytes(b"content")
    try:
        move_durably(source, folder / "target")
        assert [path.name for path in folder.iterdir()] == ["target"]
        assert (folder / "target").read_bytes() == b"content"
        assert not source.exists()
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_a_target_that_cannot_be_written_leaves_the_source(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    source = tmp_path / "source"
    source.write_bytes(b"content")
    with pytest.raises(StateError, match="check the disk and start again"):
        move_durably(source, tmp_path / "file" / "target")
    with pytest.raises(StateError, match="check the disk and start again"):
        write_durably(tmp_path / "file" / "target", b"x")
    assert source.read_bytes() == b"content"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(number: int) -> None:
    message = str(disk_error(Path("/state/results"), OSError(number, "no")))
    assert message == "the disk of /state/results is full; free space and start again: nothing was lost"


def test_another_fault_is_named() -> None:
    assert "failed (Input/output error)" in str(disk_error(Path("/s"), OSError(errno.EIO, os.strerror(errno.EIO))))
