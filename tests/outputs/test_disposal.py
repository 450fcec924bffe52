"""What happens to an input once its result is safe."""

import json
from pathlib import Path

import pytest
from reports import sha, sighting_of

from edge.outputs.disposal import dispose
from edge.outputs.durable import move_durably
from edge.state import StateFolder, open_state
from edge.values import AFTER, QUARANTINED, FinishedCase, Reason, Sighting

CASE = sha(1)[:16]


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
