"""What lies below a folder is opened, and nothing else: by one call, and name by name where the kernel has none."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from swapping import swapped_on_and_on

from edge import beneath
from edge.beneath import LED_ASTRAY, held_folder, open_beneath, reopen

SECRET, INNOCENT = b"secret of another", b"innocent radiograph"
REAL = beneath._syscall


class Kernel:
    """Answers openat2 with errors, one after the other, and then as the real one does; the last is repeated."""

    def __init__(self, *errors: int, then_real: bool = False) -> None:
        self.errors, self.then_real, self.asked = errors, then_real, 0

    def __call__(self) -> Callable[..., int]:
        return self._answer

    def _answer(self, *arguments: object) -> int:
        self.asked += 1
        if self.asked > len(self.errors) and self.then_real:
            return int(REAL()(*arguments))
        ctypes.set_errno(self.errors[min(self.asked, len(self.errors)) - 1])
        return -1


@pytest.fixture(params=[0, errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EAGAIN], ids=lambda number: errno.errorcode.get(number, "openat2"))  # fmt: skip  # noqa: E501
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has openat2, and where it has not, a filter forbids it, or renames disturb it for ever."""
    if request.param:
        monkeypatch.setattr(beneath, "_syscall", Kernel(request.param))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file in a folder, and a secret outside."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    (tmp_path / "in" / "ward" / "today").mkdir(parents=True)
    (tmp_path / "in" / "file").write_bytes(INNOCENT)
    (tmp_path / "in" / "ward" / "today" / "file").write_bytes(INNOCENT)
    return tmp_path / "in"


def content(root: Path, path: Path) -> bytes:
    found = open_beneath(root, path)
    try:
        opened = reopen(found, os.O_RDONLY)
        try:
            return os.read(opened, 100)
        finally:
            os.close(opened)
    finally:
        os.close(found)


@pytest.mark.usefixtures("each_way")
def test_files_and_folders_below_are_opened(root: Path) -> None:
    assert content(root, root / "file") == INNOCENT
    assert content(root, root / "ward" / "today" / "file") == INNOCENT
    for folder in (root, root / "ward" / "today"):
        with held_folder(root, folder) as held:
            assert (held / "file").read_bytes() == INNOCENT


@pytest.mark.usefixtures("each_way")
def test_no_link_is_followed_anywhere(root: Path) -> None:
    (root / "last").symlink_to(root.parent / "outside" / "file")
    (root / "inside").symlink_to(root / "file")
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "ward" / "up").symlink_to("..")
    (root / "magic").symlink_to("/proc/self/root")
    for path in ("last", "inside", "folder/file", "ward/up/file", "magic/etc/passwd", "magic"):
        with pytest.raises(OSError, match=r".") as fault:
            open_beneath(root, root / path)
        assert fault.value.errno in LED_ASTRAY, path
    with pytest.raises(OSError, match=r".") as fault, held_folder(root, root / "folder"):
        pass
    assert fault.value.errno in LED_ASTRAY


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("path", ["../outside/file", "ward/../file", "ward/../../outside/file", ".."])
def test_no_path_leads_up(root: Path, path: str) -> None:
    with pytest.raises(OSError, match="cross-device"):
        open_beneath(root, root / path)


@pytest.mark.usefixtures("each_way")
def test_what_lies_elsewhere_is_not_below(root: Path) -> None:
    for path in (root.parent / "outside" / "file", root.parent, Path("file"), Path(f"{root}-other/file")):
        with pytest.raises(OSError, match="cross-device"):
            open_beneath(root, path)


@pytest.mark.usefixtures("each_way")
def test_what_is_gone_is_told_as_ever(root: Path) -> None:
    for path in (root / "none", root / "none" / "file"):
        with pytest.raises(FileNotFoundError):
            open_beneath(root, path)
    with pytest.raises(OSError, match="File name too long"):
        open_beneath(root, root / ("n" * 256))
    with pytest.raises(NotADirectoryError), held_folder(root, root / "file"):
        pass


@pytest.mark.usefixtures("each_way")
def test_a_pipe_is_neither_waited_for_nor_met(root: Path) -> None:
    """A writer that waits in open would go on if anybody opened the other end."""
    os.mkfifo(root / "pipe")
    found = open_beneath(root, root / "pipe")
    assert stat.S_ISFIFO(os.fstat(found).st_mode)
    with pytest.raises(OSError, match="No such device"):  # as long as nobody reads
        os.open(root / "pipe", os.O_WRONLY | os.O_NONBLOCK)
    os.close(found)


@pytest.mark.usefixtures("each_way")
def test_every_descriptor_is_closed(root: Path) -> None:
    (root / "link").symlink_to("file")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("file", "link", "none/file", "ward", "link/file"):
        try:
            os.close(open_beneath(root, root / path))
        except OSError:
            pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_rename_that_disturbs_is_tried_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(errno.EAGAIN, errno.EAGAIN, then_real=True)
    monkeypatch.setattr(beneath, "_syscall", kernel)
    monkeypatch.setattr(beneath, "_step_by_step", None)  # not needed
    assert content(root, root / "file") == INNOCENT
    assert kernel.asked == 3


def test_a_held_folder_stays_itself(root: Path) -> None:
    with held_folder(root, root / "ward" / "today") as held:
        (root / "ward" / "today").rename(root / "ward" / "moved")
        (root / "ward" / "today").symlink_to(root.parent / "outside")
        assert (held / "file").read_bytes() == INNOCENT
        (held / "file").rename(held / "other")
    assert (root / "ward" / "moved" / "other").exists()
    assert (root.parent / "outside" / "file").read_bytes() == SECRET


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize("where", ["ward", "ward/today", "ward/today/file"])
def test_whoever_swaps_a_link_in_gains_nothing(root: Path, where: str) -> None:
    outside = root.parent / "outside"
    (outside / "today").mkdir()
    (outside / "today" / "file").write_bytes(SECRET)
    leads_to = {"ward": outside, "ward/today": outside / "today", "ward/today/file": outside / "file"}[where]
    (root / ".link").symlink_to(leads_to)
    seen = set()
    with swapped_on_and_on(root / where, root / ".link"):
        for _ in range(150):
            try:
                seen.add(content(root, root / "ward" / "today" / "file"))
            except OSError as fault:
                assert fault.errno in LED_ASTRAY
    assert SECRET not in seen


NAMES = st.sampled_from(["file", "ward", "today", "link", "up", "..", ".", "none", "out"])


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=6))
def test_both_ways_lead_to_the_same(root: Path, names: list[str]) -> None:
    """And to what os.path says too, where no link and no ".." is in it."""
    for name, target in (("link", "file"), ("up", "ward/.."), ("out", "../outside")):
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    path = root.joinpath(*names)
    answers = []
    for way in (REAL, Kernel(errno.ENOSYS)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(beneath, "_syscall", way)
            try:
                found = open_beneath(root, path)
            except OSError as fault:
                answers.append("astray" if fault.errno in LED_ASTRAY else os.strerror(fault.errno or 0))
            else:
                answers.append(os.fstat(found).st_ino)
                os.close(found)
    assert answers[0] == answers[1]
    if {"link", "up", "out", ".."} & set(path.relative_to(root).parts):
        assert answers[0] in ("astray", "No such file or directory")
    elif path.exists():
        assert answers[0] == path.stat().st_ino
