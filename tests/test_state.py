"""The state folder: closed to others, one daemon at a time, on a disk of this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_locks import begun_and_waits

from edge.errors import StateError, UsageError
from edge.mounts import filesystem_of
from edge.state import existing_state, files_held, lock_state, open_state

HOLD = """
import sys
from pathlib import Path
from edge.state import lock_state, open_state
lock_state(open_state(Path(sys.argv[1])))
print("locked", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_folder_and_key_are_closed_to_others(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        state = open_state(tmp_path / "a" / "state")
    finally:
        os.umask(previous)
    assert mode(state.root) == 0o700
    assert mode(state.root / "site.key") == 0o600
    assert len(state.site_key) == 32


def test_a_folder_that_was_open_is_closed(tmp_path: Path) -> None:
    root = tmp_path / "state"
    root.mkdir(mode=0o755)
    assert mode(open_state(root).root) == 0o700


def test_the_key_stays_and_each_folder_has_its_own(tmp_path: Path) -> None:
    first, again = open_state(tmp_path / "a"), open_state(tmp_path / "a")
    assert first.site_key == again.site_key
    assert first.site_key != open_state(tmp_path / "b").site_key


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    state = open_state(tmp_path / "state")
    key = state.root / "site.key"
    key.write_bytes(content)
    with pytest.raises(StateError, match=r"site\.key is damaged; restore it from a backup"):
        open_state(tmp_path / "state")
    assert key.read_bytes() == content


def test_a_lost_key_beside_a_ledger_is_named(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    state.ledger.touch()
    (state.root / "site.key").unlink()
    with pytest.raises(StateError, match=r"site\.key is missing, .* restore it"):
        open_state(tmp_path / "state")


def test_results_without_a_ledger_are_no_new_box(tmp_path: Path) -> None:
    """An empty ledger would have everything scored again."""
    state = open_state(tmp_path / "state")
    state.results("b" * 64).mkdir(parents=True)
    with pytest.raises(StateError, match=r"state holds results and no ledger; run edge-cxr restore, .*--state"):
        open_state(state.root)
    assert open_state(state.root, restoring=True) == state
    state.ledger.touch()
    assert open_state(state.root) == state


def test_a_command_opens_only_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none holds no ledger; check --state"):
        existing_state(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    state = open_state(tmp_path / "state")
    with pytest.raises(UsageError, match="holds no ledger"):
        existing_state(state.root)
    state.ledger.touch()
    assert existing_state(state.root) == state


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_command_leaves_another_users_folder_alone(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    state.ledger.touch()
    os.chown(state.ledger, 1, 1)
    with pytest.raises(UsageError, match=r"belongs to user 1, this is user 0; .* sudo -u"):
        existing_state(state.root)


def test_paths(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    assert state.results("0123456789abcdef") == state.root / "results" / "0123456789ab"
    assert {state.ledger.name, state.quarantine.name, state.archive.name} == {
        "ledger.sqlite",
        "quarantine",
        "archive",
    }


def test_a_relative_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_state(Path("state")).root == tmp_path / "state"


def test_a_file_in_the_way_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "state"):
        with pytest.raises(StateError, match="choose another with --state"):
            open_state(root)


def test_another_process_holds_the_lock_until_it_ends(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    command = [sys.executable, "-c", HOLD, str(state.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(StateError, match=r"another edge-cxr watches with state folder.*--state"):
            lock_state(state)
        holder.kill()  # however it ends
    os.close(lock_state(state))


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    """A decode worker that outlives its daemon must not hold the folder."""
    descriptor = lock_state(open_state(tmp_path / "state"))
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


def test_filesystems_are_known_by_the_kernels_names() -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(Path("/sys/kernel")) == "sysfs"


def test_an_unlike_folder_with_the_same_beginning_is_no_mount(tmp_path: Path) -> None:
    """/process is not below /proc."""
    assert filesystem_of(Path("/process")) != "proc"


def test_a_key_that_was_cut_short_is_never_visible(tmp_path: Path) -> None:
    """Several processes open a new folder at once: all read the same whole key, and no temporary file stays."""
    code = (
        "import sys; from pathlib import Path; from edge.state import open_state; "
        "print(open_state(Path(sys.argv[1])).site_key.hex())"
    )
    root = tmp_path / "state"
    root.mkdir()
    command = [sys.executable, "-c", code, str(root)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {racer.communicate(timeout=60)[0].strip() for racer in racers}
    assert len(keys) == 1
    assert len(keys.pop()) == 64
    assert [path.name for path in root.iterdir()] == ["site.key"]


@pytest.mark.parametrize("name", ["Röntgen", "with blank", "back\\slash"])
def test_a_mount_point_is_found_whatever_its_name(tmp_path: Path, name: str) -> None:
    """As the kernel writes them: UTF-8 as it is, blanks and backslashes as octal escapes; other mounts are no UTF-8."""
    share = tmp_path / name
    share.mkdir()
    written = bytes(share).replace(b"\\", rb"\134").replace(b" ", rb"\040")
    lines = [b"1 0 8:1 / / rw - ext4 /dev/sda rw", b"2 1 0:9 / /media/\xff rw - vfat /dev/sdb rw"]
    lines.append(b"3 1 0:42 / " + written + b" rw,relatime shared:1 - cifs //server/share rw")
    (tmp_path / "mountinfo").write_bytes(b"\n".join(lines) + b"\n")
    assert filesystem_of(share / "deeper", mountinfo=tmp_path / "mountinfo") == "cifs"
    assert filesystem_of(tmp_path, mountinfo=tmp_path / "mountinfo") == "ext4"


HOLD_FILES = """
import sys
from pathlib import Path
from edge.state import files_held, open_state
with files_held(open_state(Path(sys.argv[1]))):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_the_files_are_held_by_one_at_a_time_and_not_beyond_death(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    before = sorted(path.name for path in state.root.iterdir())
    order: list[str] = []

    def hold(name: str) -> None:
        with files_held(state):
            order.append(name)

    command = [sys.executable, "-c", HOLD_FILES, str(state.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        finish = begun_and_waits(lambda: hold("after the other process"))
        order.append("the other process")
        other.kill()
        finish()
    with files_held(state, often=True):
        finish = begun_and_waits(lambda: hold("after this thread"))
        order.append("this thread")
    finish()
    with pytest.raises(ZeroDivisionError), files_held(state):
        1 / 0  # noqa: B018
    hold("after the fault")
    expected = ["the other process", "after the other process", "this thread", "after this thread", "after the fault"]
    assert order == expected
    assert sorted(path.name for path in state.root.iterdir()) == before


def test_a_folder_that_is_gone_cannot_be_held(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    state.root.rename(tmp_path / "elsewhere")
    with pytest.raises(StateError, match=r"state folder .* cannot be opened \(No such file"), files_held(state):
        pass
