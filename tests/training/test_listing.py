"""A folder as a training manifest: patients have the keys that the box gives them, and no name leaves the files."""

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner, Result

from edge.errors import EdgeError, UsageError
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.phantom import render
from edge.phantom_dicom import write_dicom, write_png
from edge.snapshot import snapshot
from edge.state import open_state
from training.cli import manifest
from training.listing import create_site_key, list_folder, read_site_key
from training.manifest import read_manifest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's and kornia's own

CANARY = "CANARY"


def write(path: Path, seed: int, *, patient: str, age: str = "054Y", view: str = "AP") -> Path:
    """A phantom whose header names a patient: an empty `patient` leaves PatientID out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_dicom(render(seed, "covid", longest_side=128), path, patient_age=age, view_position=view)
    dataset = pydicom.dcmread(path)
    dataset.PatientName = f"{CANARY}^NAME"
    dataset.AccessionNumber = f"{CANARY}-2"
    del dataset.PatientID
    if patient:
        dataset.PatientID = f"{CANARY}-{patient}"
    dataset.save_as(path)
    return path


@dataclass(frozen=True)
class Listed:
    """A folder of an archive, what its listing said, and the lines of the manifest by path."""

    folder: Path
    result: Result
    lines: dict[str, dict[str, str]]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(manifest, [str(argument) for argument in arguments], catch_exceptions=False)


def lines_of(written: Path) -> dict[str, dict[str, str]]:
    with written.open(newline="", encoding="utf-8") as text:
        return {line["path"]: line for line in csv.DictReader(text)}


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listed]:
    folder = tmp_path_factory.mktemp("listed")
    archive = folder / "archive"
    write(archive / "covid/day 1/one.dcm", 1, patient="A")
    write(archive / "covid/two.dcm", 2, patient="A", view="PA")
    write(archive / "other/three.dcm", 3, patient="B")
    write(archive / "other/child.dcm", 4, patient="B", age="010Y")
    write(archive / "nobody.dcm", 5, patient="")
    write_png(render(6, "other", longest_side=128), archive / "other/four.png", bits=8)
    write(archive / "the same,as one.dcm", 1, patient="", age="055Y")
    (archive / "notes.txt").write_text("no radiograph")
    (archive / ".hidden").write_text("passed over")
    (archive / "link.dcm").symlink_to("nobody.dcm")
    (archive / "away").symlink_to("covid")
    write(archive / "with a blank.dcm ", 7, patient="C")
    (archive / os.fsdecode(b"\xff.dcm")).write_bytes(b"")
    out = folder / "lists/manifest.csv"
    out.parent.mkdir()
    result = call(archive, "--site-key", folder / "site.key", "--new-site-key", "--label-from-folder", "--out", out)
    assert result.exit_code == 0, result.output
    yield Listed(folder, result, lines_of(out))


def box_key(state: Path, file: Path) -> str | None:
    """The patient's key as a box with this state folder hashes it."""
    with Decoder(Preprocessing(), site_key=open_state(state).site_key) as decoder, snapshot(file) as frozen:
        return decoder.decode(frozen).source.patient_key


def test_a_patient_has_the_same_key_in_training_and_on_the_box_and_another_at_another_site(
    listed: Listed, tmp_path: Path
) -> None:
    one, two, three = (
        listed.lines[f"../archive/{name}.dcm"]["patient_id"] for name in ("covid/day 1/one", "covid/two", "other/three")
    )
    assert one == two != three
    state = tmp_path / "state"
    state.mkdir()
    (state / "site.key").write_bytes((listed.folder / "site.key").read_bytes())  # nothing else is there at first
    seen_on_the_box = write(tmp_path / "new.dcm", 9, patient="A")
    assert box_key(state, seen_on_the_box) == one
    assert box_key(tmp_path / "another", seen_on_the_box) != one


def test_a_listing_is_a_training_manifest(listed: Listed) -> None:
    found = {path: (line["label"], line["view"]) for path, line in listed.lines.items()}
    assert found == {
        "../archive/covid/day 1/one.dcm": ("covid", "AP"),
        "../archive/covid/two.dcm": ("covid", "PA"),
        "../archive/the same,as one.dcm": ("", "AP"),
        "../archive/nobody.dcm": ("", "AP"),
        "../archive/other/four.png": ("other", ""),
        "../archive/other/three.dcm": ("other", "AP"),
    }
    out = listed.folder / "lists/manifest.csv"
    rows = read_manifest(out, labels=None)
    assert [row.path.resolve().exists() for row in rows] == [True] * 6
    assert out.stat().st_mode & 0o777 == 0o600
    with snapshot(rows[0].path) as frozen:
        assert rows[0].columns["sha256"] == frozen.sha256


def test_whom_no_identifier_names_is_a_patient_alone_unless_the_pixels_tell(listed: Listed) -> None:
    patients = {Path(path).name: line["patient_id"] for path, line in listed.lines.items()}
    assert patients["the same,as one.dcm"] == patients["one.dcm"]
    alone = [patients["nobody.dcm"], patients["four.png"]]
    assert all(patient.startswith("unknown-") for patient in alone)
    assert len({*patients.values()}) == 4
    assert "2 without PatientID" in listed.result.stderr


def test_what_is_left_out_is_counted_by_reason_and_not_named(listed: Listed) -> None:
    refused = {"outside_intended_use": 1, "unopenable": 2, "unreadable": 1, "unwritable_name": 2}
    told = json.loads(listed.result.stdout)
    assert told == {
        "manifest": str(listed.folder / "lists/manifest.csv"),
        "radiographs": 6,
        "patients": 4,
        "without_id": 2,
        "refused": refused,
    }
    left_out = next(line for line in listed.result.stderr.splitlines() if line.startswith("left out: "))
    assert left_out == "left out: 1 outside_intended_use, 2 unopenable, 1 unreadable, 2 unwritable_name"


def test_no_identifier_is_in_any_output(listed: Listed) -> None:
    uid = str(pydicom.dcmread(listed.folder / "archive/nobody.dcm").SOPInstanceUID)
    written = (listed.folder / "lists/manifest.csv").read_text()
    for output in (written, listed.result.stdout, listed.result.stderr):
        assert CANARY not in output
        assert uid not in output
    assert (listed.folder / "site.key").read_bytes().hex() not in written


def test_a_folder_without_radiographs_leaves_an_older_manifest_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("older")
    create_site_key(tmp_path / "key")
    (tmp_path / "folder").mkdir()
    arguments = (tmp_path / "folder", "--site-key", tmp_path / "key", "--out", tmp_path / "out.csv")
    with pytest.raises(EdgeError, match=r"can be listed .there is none.; name a folder"):
        call(*arguments)
    (tmp_path / "folder/text").write_text("text")
    with pytest.raises(EdgeError, match=r"can be listed .1 unreadable.; name a folder"):
        call(*arguments)
    assert (tmp_path / "out.csv").read_text() == "older"


def test_the_manifest_lists_no_manifest(tmp_path: Path) -> None:
    write(tmp_path / "one.dcm", 1, patient="A")
    (tmp_path / "chest.csv").write_text("of yesterday")
    listing = list_folder(tmp_path, tmp_path / "chest.csv", site_key=bytes(32), workers=1)
    assert [row.path for row in listing.rows] == ["one.dcm"]
    assert not listing.refused


def test_a_site_key_that_others_may_open_or_that_is_none_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    create_site_key(key)
    assert (len(read_site_key(key)), key.stat().st_mode & 0o777) == (32, 0o600)
    for mode in (0o640, 0o604, 0o601):
        key.chmod(mode)
        with pytest.raises(UsageError, match=rf"mode 0{mode:o}\); run: chmod 600"):
            read_site_key(key)
    key.chmod(0o600)
    key.write_bytes(bytes(31))
    with pytest.raises(UsageError, match="no site key: it has 31 bytes"):
        read_site_key(key)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(UsageError, match="no site key"):
        read_site_key(tmp_path / "pipe")
    with pytest.raises(UsageError, match=r"cannot be opened .*--new-site-key"):
        read_site_key(tmp_path / "missing")


def test_a_site_key_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    with pytest.raises(UsageError, match="never replaced"):
        create_site_key(tmp_path / "key")
    (tmp_path / "dangling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="never replaced"):
        create_site_key(tmp_path / "dangling")
    assert (tmp_path / "key").read_bytes() == b"k" * 32
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(UsageError, match="cannot be made"):
        create_site_key(tmp_path / "nowhere/key")
