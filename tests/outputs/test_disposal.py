"""What happens to an input once its result is safe."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from reports import sighting_of

from edge.errors import DiskFailed, StateError
from edge.looks import is_temporary, look
from edge.outputs.disposal import ASIDE, dispose, recover_set_aside
from edge.outputs.durable import move_durably
from edge.snapshot import snapshot
from edge.state import StateFolder, open_state
from edge.values import AFTER, QUARANTINED, FinishedCase, Reason, Sighting

CASE = hashlib.sha256(b"content").hexdigest()[:16]


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


@pytest.fixture
def seen(tmp_path: Path) -> Sighting:
    (tmp_path / "incoming").mkdir()
    path = tmp_path / "incoming" / "DOE^JOHN.dcm"
    path.write_bytes(b"content")
    return sighting_of(path)


def case(reason: Reason | None = None, format: str | None = "dicom") -> FinishedCase:
    return FinishedCase(CASE, format, reason, None if reason is None else "send it again")


def held(state: StateFolder) -> set[str]:
    """Files of the state folder but its key."""
    return {str(path.relative_to(state.root)) for path in state.root.rglob("*") if path.is_file()} - {"site.key"}


@pytest.mark.parametrize("reason", [None, *Reason], ids=str)
def test_keep_touches_nothing(state: StateFolder, seen: Sighting, reason: Reason | None) -> None:
    dispose(seen, case(reason), state, after="keep")
    assert seen.path.read_bytes() == b"content"
    assert held(state) == set()


@pytest.mark.parametrize("reason", [None, *sorted(set(Reason) - QUARANTINED)], ids=str)
def test_what_was_read_is_archived_or_deleted(state: StateFolder, seen: Sighting, reason: Reason | None) -> None:
    dispose(seen, case(reason), state, after="archive")
    assert held(state) == {f"archive/{CASE}.dcm"}
    assert (state.archive / f"{CASE}.dcm").read_bytes() == b"content"
    assert not seen.path.exists()
    seen.path.write_bytes(b"again")
    dispose(sighting_of(seen.path), case(reason), state, after="delete")
    assert not seen.path.exists()
    assert held(state) == {f"archive/{CASE}.dcm"}


@pytest.mark.parametrize("reason", sorted(QUARANTINED), ids=str)
@pytest.mark.parametrize("after", ["archive", "delete"])
def test_what_could_not_be_read_goes_to_quarantine(
    state: StateFolder, seen: Sighting, reason: Reason, after: str
) -> None:
    dispose(seen, case(reason), state, after=after)
    assert held(state) == {f"quarantine/{CASE}.dcm", f"quarantine/{CASE}.reason.json"}
    assert (state.quarantine / f"{CASE}.dcm").read_bytes() == b"content"
    told = json.loads((state.quarantine / f"{CASE}.reason.json").read_bytes())
    assert told == {"case_id": CASE, "reason": reason.value, "detail": "send it again"}
    assert not seen.path.exists()


@pytest.mark.parametrize(
    ("format", "suffix"), [("dicom", "dcm"), ("png", "png"), ("jpeg", "jpg"), ("tiff", "tif"), (None, "bin")]
)
def test_names_come_from_the_bytes_and_never_from_the_file(
    state: StateFolder, seen: Sighting, format: str | None, suffix: str
) -> None:
    dispose(seen, case(format=format), state, after="archive")
    assert held(state) == {f"archive/{CASE}.{suffix}"}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("reason", [None, Reason.TRUNCATED], ids=str)
def test_a_file_that_changed_is_left(state: StateFolder, seen: Sighting, after: str, reason: Reason | None) -> None:
    seen.path.write_bytes(b"another radiograph")
    dispose(seen, case(reason), state, after=after)
    assert seen.path.read_bytes() == b"another radiograph"
    assert held(state) == set()


@pytest.mark.parametrize("after", AFTER)
def test_a_file_that_is_gone_is_no_fault(state: StateFolder, seen: Sighting, after: str) -> None:
    seen.path.unlink()
    dispose(seen, case(), state, after=after)
    assert held(state) == set()


def test_an_input_that_its_sender_took_back_is_no_fault(tmp_path: Path) -> None:
    target = tmp_path / "archive" / "a.dcm"
    with pytest.raises(FileNotFoundError):
        move_durably(tmp_path / "gone.dcm", target)
    assert not target.exists()


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_a_file_put_in_its_place_meanwhile_is_not_taken_for_it(
    state: StateFolder, seen: Sighting, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender renames another radiograph over it after the look: that one stays, whole, and is found again."""

    def replaced_after_the_look(path: Path) -> Sighting | None:
        found = look(path)
        if path.name == seen.path.name:
            (path.parent / "fresh.part").write_bytes(b"another radiograph")
            (path.parent / "fresh.part").rename(path)
        return found

    monkeypatch.setattr("edge.outputs.disposal.look", replaced_after_the_look)
    dispose(seen, case(), state, after=after)
    assert held(state) == set()
    assert [path.read_bytes() for path in seen.path.parent.iterdir()] == [b"another radiograph"]
    assert not is_temporary(next(seen.path.parent.iterdir()).name)


def test_a_name_taken_again_meanwhile_is_not_overwritten(
    state: StateFolder, seen: Sighting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replaced before it was set aside, and sent once more before it was put back: both stay."""

    def twice(path: Path) -> Sighting | None:
        found = look(path)
        if path.name == seen.path.name:
            (path.parent / "fresh.part").write_bytes(b"second")
            (path.parent / "fresh.part").rename(path)
        elif path.name.startswith(ASIDE):
            seen.path.write_bytes(b"third")
        return found

    monkeypatch.setattr("edge.outputs.disposal.look", twice)
    dispose(seen, case(), state, after="archive")
    assert sorted(path.read_bytes() for path in seen.path.parent.iterdir()) == [b"second", b"third"]
    assert not any(is_temporary(path.name) for path in seen.path.parent.iterdir())


def test_an_input_that_cannot_be_moved_is_put_back(state: StateFolder, seen: Sighting) -> None:
    state.archive.write_bytes(b"no folder")
    with pytest.raises(StateError, match="check the disk"):
        dispose(seen, case(), state, after="archive")
    assert [path.name for path in seen.path.parent.iterdir()] == [seen.path.name]
    assert look(seen.path) == seen


def test_what_a_crash_left_set_aside_is_found_again(state: StateFolder, seen: Sighting) -> None:
    (seen.path.parent / "ward").mkdir()
    seen.path.rename(seen.path.parent / "ward" / f"{ASIDE}{CASE}")
    assert recover_set_aside(seen.path.parent) == (1, 0)
    (found,) = (seen.path.parent / "ward").iterdir()
    assert found.read_bytes() == b"content"
    assert not is_temporary(found.name)
    assert recover_set_aside(seen.path.parent) == (0, 0)


@pytest.mark.parametrize("after", ["archive", "delete"])
def test_a_crash_between_setting_aside_and_moving_is_no_hindrance(
    state: StateFolder, seen: Sighting, after: str
) -> None:
    """A copy of the same bytes comes while the first is still set aside."""
    (seen.path.parent / f"{ASIDE}{CASE}").write_bytes(b"content")
    dispose(seen, case(), state, after=after)
    assert [path.name for path in seen.path.parent.iterdir()] == [f"{ASIDE}{CASE}"]
    assert recover_set_aside(seen.path.parent) == (1, 0)
    (left,) = seen.path.parent.iterdir()
    assert left.read_bytes() == b"content"
    assert not is_temporary(left.name)


@pytest.mark.parametrize(("after", "goes_to"), [("keep", "archive"), ("archive", "archive"), ("delete", None)])
def test_a_requeued_input_goes_back_to_the_archive(state: StateFolder, after: str, goes_to: str | None) -> None:
    state.requeued.mkdir()
    path = state.requeued / f"{CASE}.dcm"
    path.write_bytes(b"content")
    dispose(sighting_of(path), case(), state, after=after)
    assert held(state) == ({f"{goes_to}/{CASE}.dcm"} if goes_to else set())


def test_a_requeued_input_that_fails_again_goes_back_to_quarantine(state: StateFolder) -> None:
    state.requeued.mkdir()
    path = state.requeued / f"{CASE}.dcm"
    path.write_bytes(b"content")
    dispose(sighting_of(path), case(Reason.TRUNCATED), state, after="keep")
    assert held(state) == {f"quarantine/{CASE}.dcm", f"quarantine/{CASE}.reason.json"}


def test_a_failed_sync_is_told_even_when_the_input_cannot_be_put_back(
    state: StateFolder, seen: Sighting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed sync must end the process; the second fault must not take its place."""

    def failing(target: Path, content: object) -> None:
        raise DiskFailed("syncing failed")

    def refused(aside: Path, free: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("edge.outputs.disposal.write_durably", failing)
    monkeypatch.setattr("edge.outputs.disposal.rename_to_free", refused)
    with pytest.raises(DiskFailed, match="syncing failed"):
        dispose(seen, case(), state, after="archive")


@pytest.mark.parametrize("reason", [None, Reason.TRUNCATED], ids=str)
def test_bytes_that_were_exchanged_under_the_same_look_are_put_back(
    state: StateFolder, seen: Sighting, reason: Reason | None
) -> None:
    """Written in after it was read, of the same size, and given back its times: another radiograph all the same."""
    seen.path.write_bytes(b"CONTENT")
    os.utime(seen.path, ns=(seen.mtime_ns, seen.mtime_ns))
    assert look(seen.path) == seen
    with pytest.raises(StateError, match="given back its time of change"):
        dispose(seen, case(reason), state, after="archive")
    assert {path.read_bytes() for path in seen.path.parent.iterdir()} == {b"CONTENT"}
    assert seen.path.exists()
    assert held(state) <= {f"quarantine/{CASE}.reason.json"}


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_folder_that_cannot_be_opened_is_told(
    state: StateFolder, seen: Sighting, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or inputs would stay without a word when the box has no descriptor left."""

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        with pytest.raises(StateError, match="cannot be opened") as told:
            dispose(seen, case(), state, after="archive")
    assert os.strerror(number) in str(told.value)
    assert seen.path.name not in str(told.value)
    assert seen.path.exists()


def test_a_folder_that_is_gone_or_led_astray_is_no_fault(state: StateFolder, seen: Sighting) -> None:
    folder = seen.path.parent
    folder.rename(folder.with_name("elsewhere"))
    dispose(seen, case(), state, after="archive")
    folder.symlink_to("elsewhere")
    dispose(seen, case(), state, after="archive")
    folder.unlink()
    folder.touch()
    dispose(seen, case(), state, after="archive")
    assert held(state) == set()


@pytest.mark.parametrize("name", ["DOE^JOHN.dcm", f"edge-cxr-{CASE}-0123"])
def test_a_crash_between_two_names_leaves_an_input_that_is_read(state: StateFolder, seen: Sighting, name: str) -> None:
    """Where no rename spares what is there, as on NFS, what was set aside is linked to its name and then unlinked."""
    aside = seen.path.parent / f"{ASIDE}{CASE}-0123456789abcdef"
    seen.path.rename(aside)
    (seen.path.parent / name).hardlink_to(aside)
    assert recover_set_aside(seen.path.parent) == (1, 0)
    assert [path.name for path in seen.path.parent.iterdir()] == [name]
    with snapshot(seen.path.parent / name, root=seen.path.parent) as frozen:
        assert frozen.sha256[:16] == CASE


def test_what_was_set_aside_is_not_removed_for_a_name_that_is_not_read(seen: Sighting) -> None:
    """A hidden name, and one in another folder: the input would be seen no more."""
    aside = seen.path.parent / f"{ASIDE}{CASE}-0123456789abcdef"
    seen.path.rename(aside)
    (seen.path.parent / ".hidden").hardlink_to(aside)
    (seen.path.parent.parent / "elsewhere").hardlink_to(aside)
    assert recover_set_aside(seen.path.parent) == (1, 0)
    assert {path.name for path in seen.path.parent.iterdir()} == {".hidden", aside.name[1:]}
