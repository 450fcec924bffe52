"""Whose a file is, by its name; and removals that a power cut does not undo."""

import os
from pathlib import Path

import pytest

from edge.case_files import case_of, files_of, radiographs_of, remove_durably
from edge.errors import StateError

CASE, OTHER = "0123456789abcdef", "f" * 16


@pytest.mark.parametrize(
    "name",
    [
        f"{CASE}.dcm",
        f"{CASE}.reason.json",
        f"{CASE}-1.dcm",
        f".{CASE}.json.part",
        f".edge-cxr-{CASE}",
        f"edge-cxr-{CASE}",
    ],
)
def test_a_name_that_begins_with_a_case_id_is_its_file(name: str) -> None:
    assert case_of(name) == CASE


@pytest.mark.parametrize("name", ["README", f"x{CASE}.dcm", f"{CASE}0.dcm", f"{CASE[:-1]}.dcm", CASE.upper(), "lock"])
def test_any_other_is_no_case_s(name: str) -> None:
    assert case_of(name) is None


def test_files_of_the_cases_that_are_asked_for(tmp_path: Path) -> None:
    names = [f"{CASE}.dcm", f"{CASE}.reason.json", f".{CASE}.dcm.part", f"{OTHER}.dcm", "README"]
    for name in names:
        (tmp_path / name).touch()
    assert sorted(files_of(tmp_path, {CASE})) == sorted((CASE, tmp_path / name) for name in names[:3])
    assert sorted(radiographs_of(tmp_path, {CASE, OTHER})) == [
        (CASE, tmp_path / names[0]),
        (OTHER, tmp_path / names[3]),
    ]
    assert files_of(tmp_path / "nowhere", {CASE}) == []


def test_what_was_removed_is_gone_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder is synced once its last file has gone."""
    paths = [tmp_path / folder / name for folder in ("one", "two") for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    fsync, synced = os.fsync, {}

    def recording(descriptor: int) -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced[folder] = [path.name for path in folder.iterdir()]
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    remove_durably([*paths, tmp_path / "one" / "gone already"])
    assert synced == {tmp_path / "one": [], tmp_path / "two": []}


def test_a_file_that_cannot_be_removed_is_a_fault_of_the_state(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="check the disk"):
        remove_durably([tmp_path / "folder"])
