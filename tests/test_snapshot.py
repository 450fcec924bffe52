"""A snapshot keeps a file's bytes, whatever happens to the file, and opens nothing but regular files."""

import fcntl
import hashlib
import mmap
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiograph_files import chest, dicom_file, phantom_pixels

from edge.errors import StillLinked, Unopenable
from edge.imaging.formats import HEAD_BYTES
from edge.snapshot import MAX_FILE_BYTES, MAX_HASHED_BYTES, frozen_bytes, snapshot


@pytest.mark.parametrize("size", [0, 1, 1024 * 1024 - 1, 1024 * 1024, 3 * 1024 * 1024 + 7])
def test_bytes_digest_and_size(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    with snapshot(path) as frozen:
        assert os.pread(frozen.descriptor, size + 1, 0) == content
        assert os.lseek(frozen.descriptor, 0, os.SEEK_CUR) == 0
        assert frozen.sha256 == hashlib.sha256(content).hexdigest()
        assert frozen.size_bytes == size


def test_the_format_is_seen_without_decoding(tmp_path: Path) -> None:
    for content, format in (
        (dicom_file(chest(phantom_pixels())), "dicom"),
        (b"hello", None),
        (b"\xff\xd8\xff", "jpeg"),
    ):
        (tmp_path / "file").write_bytes(content)
        with snapshot(tmp_path / "file") as frozen:
            assert frozen.format == format


def test_later_changes_do_not_reach_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with snapshot(path) as frozen:
        path.write_bytes(b"after, and longer")
        path.unlink()
        assert os.pread(frozen.descriptor, 100, 0) == b"before"


def test_it_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with snapshot(path) as frozen:
        for attempt in (
            lambda: os.pwrite(frozen.descriptor, b"x", 0),
            lambda: os.ftruncate(frozen.descriptor, 1),
            lambda: os.ftruncate(frozen.descriptor, 100),
            lambda: mmap.mmap(frozen.descriptor, 0, mmap.MAP_SHARED),
            lambda: fcntl.fcntl(frozen.descriptor, fcntl.F_ADD_SEALS, 0),
        ):
            with pytest.raises(PermissionError):
                attempt()


def test_descriptors_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("file", "missing", "."):
        try:
            with snapshot(tmp_path / name):
                pass
        except (FileNotFoundError, Unopenable):
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_missing_file_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), snapshot(tmp_path / "missing"):
        pass


def test_links_pipes_and_folders_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(Unopenable) as fault, snapshot(tmp_path / name):
            pass
        assert str(tmp_path) not in str(fault.value)  # a name may be a patient's


def test_a_pipe_with_a_writer_is_not_read_either(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    os.write(writer, b"content")
    with pytest.raises(Unopenable, match="remove it"), snapshot(tmp_path / "pipe"):
        pass
    os.close(writer)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unopenable(tmp_path: Path) -> None:
    path = tmp_path / "DOE^JOHN"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(Unopenable, match=r"Permission denied.*check its permissions") as fault, snapshot(path):
        pass
    assert "DOE" not in str(fault.value)


def test_of_a_file_that_is_too_long_only_the_digest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as opened:  # a hole: no space is used
        opened.truncate(MAX_FILE_BYTES + 1)
    with snapshot(path) as frozen:
        assert frozen.size_bytes == MAX_FILE_BYTES + 1
        assert os.fstat(frozen.descriptor).st_size == HEAD_BYTES  # the memory of the rest is given back
        assert frozen.format is None
        assert frozen.sha256.startswith("da6ce8755151acd0")  # of so many zeros


@given(st.binary(max_size=300))
def test_any_bytes_have_a_snapshot(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    with snapshot(path) as frozen:
        assert os.pread(frozen.descriptor, 1000, 0) == content


@given(st.binary(max_size=300))
def test_bytes_in_memory_have_the_same_snapshot(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "same"
    path.write_bytes(content)
    with snapshot(path) as of_file, frozen_bytes(content) as frozen:
        assert os.pread(frozen.descriptor, 1000, 0) == content
        assert (frozen.sha256, frozen.size_bytes, frozen.format) == (of_file.sha256, len(content), of_file.format)
        assert frozen.look is None
        with pytest.raises(PermissionError):
            os.pwrite(frozen.descriptor, b"x", 0)


def test_below_a_root_a_file_with_another_name_is_waited_for(tmp_path: Path) -> None:
    """To link and to unlink is a way to deliver; and a link may be to another's file."""
    (tmp_path / "sending").write_bytes(b"content")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "DOE^JOHN").hardlink_to(tmp_path / "sending")
    with pytest.raises(StillLinked, match=r"has 2 names .*remove the others, or send a copy") as fault:  # noqa: SIM117
        with snapshot(tmp_path / "in" / "DOE^JOHN", root=tmp_path / "in"):
            pass
    assert "DOE" not in str(fault.value)
    (tmp_path / "sending").unlink()
    with snapshot(tmp_path / "in" / "DOE^JOHN", root=tmp_path / "in") as frozen:
        assert frozen.size_bytes == 7


def test_a_file_with_two_names_is_not_even_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "other").hardlink_to(tmp_path / "file")
    monkeypatch.setattr("edge.snapshot.reopen", None)
    with pytest.raises(StillLinked), snapshot(tmp_path / "file", root=tmp_path):
        pass


def test_a_file_linked_while_it_is_read_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"content")
    read = os.read

    def linked_meanwhile(descriptor: int, count: int) -> bytes:
        (tmp_path / "other").unlink(missing_ok=True)
        (tmp_path / "other").hardlink_to(tmp_path / "file")
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", linked_meanwhile)
    with pytest.raises(StillLinked), snapshot(tmp_path / "file", root=tmp_path):
        pass


def test_a_person_may_ask_for_a_file_with_two_names(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "other").hardlink_to(tmp_path / "file")
    with snapshot(tmp_path / "file") as frozen:
        assert frozen.size_bytes == 7


def test_a_link_on_the_way_is_followed_for_a_person_and_not_below_a_root(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"content")
    (tmp_path / "DOE^JOHN").symlink_to("folder")
    with snapshot(tmp_path / "DOE^JOHN" / "file") as frozen:
        assert frozen.size_bytes == 7
    with pytest.raises(Unopenable, match=r"a link lies in the folder, .*remove it") as fault:  # noqa: SIM117
        with snapshot(tmp_path / "DOE^JOHN" / "file", root=tmp_path):
            pass
    assert "DOE" not in str(fault.value)


def test_a_sparse_file_of_terabytes_takes_no_time(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as opened:
        opened.truncate(MAX_HASHED_BYTES + 1)
    before = os.times()
    with pytest.raises(Unopenable, match=rf"{MAX_HASHED_BYTES + 1} bytes or more; .*remove it"):  # noqa: SIM117
        with snapshot(tmp_path / "file", root=tmp_path):
            pass
    assert os.times().user - before.user < 0.5


def test_a_file_that_grows_for_ever_is_left_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100)
    monkeypatch.setattr("edge.snapshot.MAX_HASHED_BYTES", 1000)
    monkeypatch.setattr(os, "read", lambda descriptor, count: b"x" * 100)
    with pytest.raises(Unopenable, match="1100 bytes or more"), snapshot(tmp_path / "file", root=tmp_path):
        pass


def test_a_file_whose_owner_holds_a_lease_is_not_waited_for(tmp_path: Path) -> None:
    """The kernel would keep an open waiting for 45 s."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("r+b") as held:
        fcntl.fcntl(held, fcntl.F_SETSIG, 0)
        before = signal.signal(signal.SIGIO, signal.SIG_IGN)
        try:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            with pytest.raises(Unopenable, match="temporarily unavailable"), snapshot(path, root=tmp_path):
                pass
        finally:
            fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            signal.signal(signal.SIGIO, before)


def test_no_name_of_the_file_shows_in_proc(tmp_path: Path) -> None:
    (tmp_path / "DOE^JOHN").write_bytes(b"content")
    with snapshot(tmp_path / "DOE^JOHN", root=tmp_path) as frozen:
        assert os.readlink(f"/proc/self/fd/{frozen.descriptor}") == "/memfd:radiograph (deleted)"  # noqa: PTH115
        opened = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]  # noqa: PTH115
        assert not any("DOE" in path for path in opened)
