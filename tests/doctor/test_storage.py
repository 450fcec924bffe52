"""State and incoming folder: what the daemon would meet there, found without changing it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from machines import SERVICE, Files, machine

from edge.config import Config
from edge.doctor import storage
from edge.doctor.check import Outcome, run
from edge.doctor.machine import Machine, User, may, user_numbered
from edge.errors import StateError, Unopenable, UsageError
from edge.state import LEDGER, RESULTS, SITE_KEY, open_state

ME = user_numbered(os.geteuid())


@pytest.fixture
def config(tmp_path: Path) -> Config:
    open_state(tmp_path / "state")
    return Config(state=str(tmp_path / "state"))


@pytest.fixture
def here(tmp_path: Path) -> Machine:
    return machine(tmp_path / "machine")


def test_a_state_folder_that_is_not_there_is_not_made(tmp_path: Path, here: Machine) -> None:
    absent = Config(state=str(tmp_path / "deep/state"), reserve_bytes=0)
    assert "watch makes it one" in storage.state_folder(absent).text
    assert storage.permissions(absent, ME, here).outcome == Outcome.PASSED
    assert storage.disk(absent, here).outcome == Outcome.PASSED
    assert not (tmp_path / "deep").exists()
    (tmp_path / "deep/state").mkdir(parents=True)  # as tmpfiles.d makes it
    assert "watch makes it one" in storage.state_folder(absent).text
    assert not list((tmp_path / "deep/state").iterdir())


def test_what_would_stop_the_daemon_fails(config: Config) -> None:
    root = Path(config.state)
    assert storage.state_folder(config).outcome == Outcome.PASSED
    (root / RESULTS).mkdir()
    with pytest.raises(StateError, match="holds results and no ledger; run edge-cxr restore"):
        storage.state_folder(config)
    (root / LEDGER).touch()
    assert storage.state_folder(config).outcome == Outcome.PASSED
    (root / SITE_KEY).write_bytes(b"half a key")
    with pytest.raises(StateError, match="is damaged"):
        storage.state_folder(config)
    (root / SITE_KEY).unlink()
    with pytest.raises(StateError, match=f"holds other files and no {SITE_KEY}"):
        storage.state_folder(config)


def test_a_state_folder_that_others_may_read_is_told_and_left(config: Config, here: Machine) -> None:
    root = Path(config.state)
    assert storage.permissions(config, ME, here).text == f"{root} is user {ME.name}'s alone (mode 0700)"
    root.chmod(0o750)
    found = storage.permissions(config, ME, here)
    assert (found.outcome, f"mode 0750, and patient data are in it; run: chmod 700 {root}" in found.text) == (
        Outcome.WARNING,
        True,
    )
    assert root.stat().st_mode & 0o777 == 0o750


def test_files_of_another_user_fail(config: Config, here: Machine) -> None:
    found = storage.permissions(config, SERVICE, here)
    assert found.outcome == Outcome.FAILED
    assert f"2 entries of {config.state} are not user edge-cxr's" in found.text  # the folder and its key
    forbidden = replace(here, may=lambda user, path, letters: False)
    found = storage.permissions(config, ME, forbidden)
    assert (found.outcome, "may not write in" in found.text) == (Outcome.FAILED, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask for another user")
def test_what_another_user_may_do(tmp_path: Path) -> None:
    """Folders above count too, and nothing is asked of a shell."""
    nobody, folder = User(65534, 65534, (), "nobody"), Path("/tmp") / f"edge-cxr ; 'x' {os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        assert may(nobody, folder, "rx")
        assert not may(nobody, folder, "rwx")
        (folder / "in").mkdir(mode=0o777)
        assert may(nobody, folder / "in", "rx")
        folder.chmod(0o700)
        assert not may(nobody, folder / "in", "rx")
        assert may(User(65534, 0, (0,), "nobody"), folder, "r") is False
        folder.chmod(0o750)
        assert may(User(65534, 65534, (0,), "nobody"), folder, "rx")  # by a further group
    finally:
        (folder / "in").rmdir()
        folder.rmdir()


def test_what_may_be_done_is_told_to_that_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert may(ME, tmp_path, "rwx")
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(UsageError, match="run: sudo -u edge-cxr edge-cxr doctor"):
        may(SERVICE, tmp_path, "rx")


def test_the_disk_against_the_reserve(config: Config, here: Machine) -> None:
    assert storage.disk(replace(config, reserve_bytes=0), here).outcome == Outcome.PASSED
    free_bytes = os.statvfs(config.state).f_bavail * os.statvfs(config.state).f_frsize
    most = replace(config, reserve_percent=100.0)
    near = storage.disk(replace(most, reserve_bytes=int(free_bytes * 0.7)), here)
    assert (near.outcome, "less than twice the reserve" in near.text) == (Outcome.WARNING, True)
    full = storage.disk(replace(most, reserve_bytes=free_bytes * 2), here)
    assert (full.outcome, "are kept in reserve; nothing is taken" in full.text) == (Outcome.FAILED, True)
    few = storage.disk(replace(config, reserve_bytes=0), replace(here, statvfs=lambda folder: Files()))
    assert (few.outcome, "room for 5 more files" in few.text) == (Outcome.FAILED, True)


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming/MUELLER^ANNA").mkdir(parents=True)
    (tmp_path / "incoming").chmod(0o2770)
    return tmp_path / "incoming"


def test_the_incoming_folder(incoming: Path, config: Config, here: Machine) -> None:
    found = storage.incoming_folder(incoming, config, SERVICE, here)
    assert found.outcome == Outcome.PASSED
    assert found.text.endswith("(mode 2770)")
    incoming.chmod(0o777)
    opened = storage.incoming_folder(incoming, config, SERVICE, here)
    assert (opened.outcome, f"chmod o-rwx {incoming}" in opened.text) == (Outcome.WARNING, True)
    incoming.chmod(0o1770)
    assert storage.incoming_folder(incoming, config, SERVICE, here).outcome == Outcome.PASSED
    archived = replace(config, after="archive")
    found = storage.incoming_folder(incoming, archived, SERVICE, here)
    assert (found.outcome, "chmod -t" in found.text) == (Outcome.WARNING, True)
    with pytest.raises(Unopenable, match="is mounted"):
        storage.incoming_folder(incoming / "absent", config, SERVICE, here)


def test_the_incoming_folder_of_whom(incoming: Path, config: Config, here: Machine) -> None:
    """The service's user, whoever asks."""
    asked: list[tuple[User, str]] = []

    def only_reads(user: User, path: Path, letters: str) -> bool:
        asked.append((user, letters))
        return "w" not in letters

    reader = replace(here, may=only_reads)
    assert storage.incoming_folder(incoming, config, SERVICE, reader).outcome == Outcome.PASSED
    with pytest.raises(Unopenable, match="cannot be written in by user edge-cxr"):
        storage.incoming_folder(incoming, replace(config, after="delete"), SERVICE, reader)
    assert asked == [(SERVICE, "rx"), (SERVICE, "rx"), (SERVICE, "wx")]


def test_inotify_against_the_folders(incoming: Path, config: Config, tmp_path: Path) -> None:
    def found(**limits: int) -> tuple[Outcome, str]:
        place = tmp_path / f"machine-{len(list(tmp_path.iterdir()))}"
        told = storage.inotify(incoming, config, machine(place, **limits))
        return told.outcome, told.text

    for number in range(8):
        (incoming / "MUELLER^ANNA" / str(number)).mkdir()
    assert found(watches=20)[0] == Outcome.PASSED
    outcome, text = found(watches=19)
    assert (outcome, "10 folders, of 19" in text) == (Outcome.WARNING, True)
    assert "fs.inotify.max_user_watches=40" in text
    assert "MUELLER" not in text
    assert found(instances=8)[0] == Outcome.WARNING
    polled = storage.inotify(incoming, replace(config, watching="polling"), machine(tmp_path / "polled", watches=1))
    assert polled.outcome == Outcome.PASSED


def test_a_folder_that_may_not_be_looked_into_names_no_path(tmp_path: Path) -> None:
    def refused() -> storage.Finding:
        raise PermissionError(13, "Permission denied", str(tmp_path / "MUELLER^ANNA"))

    found = run("incoming folder", refused)
    assert found.outcome == Outcome.FAILED
    assert found.finding == "Permission denied; run it as the user of the service, or as root"
