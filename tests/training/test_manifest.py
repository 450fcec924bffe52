"""The training manifest: what is read, and the one clear error that each fault earns before any training."""

from pathlib import Path

import pytest

from edge.errors import UsageError
from training.manifest import hold_out, permitted, read_manifest

HEADER = "path,patient_id,label,split,licence"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_bytes(b"-")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return manifest


def test_rows_keep_their_order_and_further_columns(tmp_path: Path) -> None:
    manifest = write(tmp_path, "b.png,p2,covid,val,CC BY 4.0", "a.png,p1,other,train,")
    rows = read_manifest(manifest)
    assert [(row.path.name, row.label, row.line) for row in rows] == [("b.png", "covid", 2), ("a.png", "other", 3)]
    assert rows[0].columns["licence"] == "CC BY 4.0"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.png,p1,other,train,", "missing.png,p2,covid,train,"], "line 3: no such file missing.png"),
        (["a.png,p1,flu,train,"], "line 2: label 'flu' is neither other nor covid"),
        (["a.png,p1,,train,"], "line 2: label '' is neither"),
        (["a.png,p1,other,train,", "b.png,p1,other,val,"], "line 3: this patient is in val and, on line 2, in train"),
        (["a.png,p1,other,train,", "a.png,p1,other,train,"], "line 3: a.png stands already on line 2"),
        ([], "has no rows"),
    ],
)
def test_each_fault_names_its_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_manifest(write(tmp_path, *lines))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column patient_id"):
        read_manifest(write(tmp_path, "a.png,other", header="path,label"))


def test_no_patient_identifier_in_an_error(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.png,secret-7,other,train,", "b.png,secret-7,other,test,")
    with pytest.raises(UsageError) as raised:
        read_manifest(manifest)
    assert "secret-7" not in str(raised.value)


def test_a_label_may_be_empty_and_a_patient_shared_outside_the_checked_splits(tmp_path: Path) -> None:
    rows = read_manifest(write(tmp_path, "a.png,p1,,not_frontal,", "b.png,p1,other,train,"))
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("CC BY 4.0", True),
        ("CC BY-SA", True),
        ("CC BY-NC-SA", True),
        ("CC BY-NC 3.0", True),
        ("NIH ChestX-ray14: no restriction stated by NIH", True),
        ("CC BY-NC-ND", False),
        ("CC BY-ND 4.0", False),
        ("none stated in metadata.csv (publication figure)", False),
        ("", False),
    ],
)
def test_only_licences_that_allow_changed_works_are_permitted(tmp_path: Path, licence: str, allowed: bool) -> None:
    (row,) = read_manifest(write(tmp_path, f"a.png,p1,other,train,{licence}"))
    assert permitted(row) is allowed


def test_hold_out_keeps_patients_whole_and_gives_every_split_both_labels(tmp_path: Path) -> None:
    lines = []
    for patient in range(40):
        for view in range(2):
            (tmp_path / f"{patient}-{view}.png").write_bytes(b"-")
            lines.append(f"{patient}-{view}.png,p{patient},{('other', 'covid')[patient % 2]},,")
    rows = hold_out(read_manifest(write(tmp_path, *lines)), shares={"val": 0.2, "test": 0.2}, seed=3)
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row.patient_id, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert {(row.split, row.label) for row in rows} == {
        (split, label) for split in ("train", "val", "test") for label in ("other", "covid")
    }
    assert rows == hold_out(rows, shares={"val": 0.9}, seed=4)  # rows that have a split keep it
