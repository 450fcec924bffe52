"""The training manifest: what is read, and the one clear error that each fault earns before any training."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UsageError
from training.manifest import FAULTS_SHOWN, read_manifest, require_split
from training.row import Row
from training.splits import hold_out

HEADER = "path,patient_id,label,split,licence"
GROUPED = "path,patient_id,group_id,label,split"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        (folder / name).write_text(name)
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


def test_every_faulty_row_is_named_at_once(tmp_path: Path) -> None:
    faulty = ["missing.png,p1,other,train,", "a.png,p2,flu,train,", "a.png,p2,other,train,", "b.png,p2,covid,val,"]
    with pytest.raises(UsageError) as raised:
        read_manifest(write(tmp_path, *faulty))
    told = [line.strip().split(":")[0] for line in str(raised.value).splitlines()[1:]]
    assert told == ["line 2", "line 3", "line 4", "line 5"]


def test_of_many_faults_the_first_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read_manifest(write(tmp_path, *(f"{number}.png,p{number},other,train," for number in range(FAULTS_SHOWN + 5))))
    assert str(raised.value).count("no such file") == FAULTS_SHOWN
    assert str(raised.value).endswith("and 5 more")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.png,p1,other,train,")
    manifest.write_text(manifest.read_text(), encoding="utf-8-sig")
    assert read_manifest(manifest)[0].path.name == "a.png"


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["a.png,p1,g1,other,train", "b.png,p2,g1,other,test"], "line 3: this group is in test and, on line 2"),
        # p2 has no split of its own, and ties g1 to g2
        (["a.png,p1,g1,other,train", "b.png,p2,g1,other,", "c.png,p2,g2,other,val"], "line 4: this group is in val"),
    ],
)
def test_a_group_in_two_splits_is_refused(tmp_path: Path, lines: list[str], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        read_manifest(write(tmp_path, *lines, header=GROUPED))


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["a.png,p1,other,train,", "copy.png,p2,other,test,"], "line 3: copy.png has the bytes of a.png on line 2"),
        (["a.png,p1,other,,", "copy.png,p2,other,,"], "line 3: copy.png has the bytes of a.png"),
        (["a.png,p1,other,train,", "copy.png,p2,other,,"], "line 3: copy.png has the bytes of a.png"),
        (["a.png,p1,other,train,", "copy.png,p2,other,train,"], None),
        (["a.png,p1,other,,", "copy.png,p1,other,,"], None),
        (["a.png,p1,other,train,", "copy.png,p2,other,not_frontal,"], None),
    ],
)
def test_the_same_bytes_never_stand_in_two_splits(tmp_path: Path, lines: list[str], fault: str | None) -> None:
    manifest = write(tmp_path, *lines)
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    if fault is None:
        assert len(read_manifest(manifest)) == 2
        return
    with pytest.raises(UsageError, match=fault):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("CC BY 4.0", True),
        ("CC BY 4.0 (Land and Sea Archive)", True),
        ("CC BY-SA", True),
        ("CC BY-NC-SA", True),
        ("CC BY-NC 3.0", True),
        ("NIH ChestX-ray14: no restriction stated by NIH", True),
        ("CC BY-NC-ND", False),
        ("CC BY-ND 4.0", False),
        ("CC BY NC ND 4.0", False),
        ("CC BY\u2011NC\u2011ND", False),
        ("CC BY \u2013 ND", False),
        ("CC BY 4.0 ND", False),
        ("CC BY NCND", False),
        ("CC BY 4.0 NoDerivs", False),
        ("CC BY 4.0, no derivatives", False),
        ("none stated in metadata.csv (publication figure)", False),
        ("", False),
    ],
)
def test_only_licences_that_allow_changed_works_are_permitted(tmp_path: Path, licence: str, allowed: bool) -> None:
    manifest = write(tmp_path, f'a.png,p1,other,train,"{licence}"', "b.png,p2,other,train,CC BY 4.0")
    kept = [row.path.name for row in read_manifest(manifest, permitted_only=True)]
    assert kept == (["a.png", "b.png"] if allowed else ["b.png"])
    assert len(read_manifest(manifest)) == 2


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("a.png,p1,,CC BY 4.0,CC BY-SA", True),
        ("a.png,p1,,CC BY 4.0,", False),
        ("a.png,p1,,CC BY 4.0,CC BY-ND", False),
        ("a.png,p1,,CC BY-ND,CC BY-SA", True),  # no mask: what `licence` says is of no mask
        ("a.png,p1,c.png,CC BY-ND,CC BY-SA", False),
        ("a.png,p1,c.png,CC BY 4.0,CC BY-SA", True),
    ],
)
def test_the_image_licence_stands_alone_and_a_mask_needs_its_own(tmp_path: Path, line: str, allowed: bool) -> None:
    header = "path,patient_id,mask_path,licence,image_licence"
    manifest = write(tmp_path, line, "b.png,p2,,CC BY 4.0,CC BY 4.0", header=header)
    kept = [row.path.name for row in read_manifest(manifest, labels=None, permitted_only=True)]
    assert kept == (["a.png", "b.png"] if allowed else ["b.png"])


def test_a_manifest_without_any_permitted_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no row whose licence permits"):
        read_manifest(write(tmp_path, "a.png,p1,other,train,CC BY-ND"), permitted_only=True)


def test_a_split_that_is_not_there_is_an_error_with_those_that_are(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.png,p1,other,train,", "b.png,p2,other,validation,", "c.png,p3,other,validation,")
    rows = read_manifest(manifest)
    assert [row.line for row in require_split(manifest, rows, "train")] == [2]
    with pytest.raises(UsageError, match="no val row, but 1 train, 2 validation"):
        require_split(manifest, rows, "val")


def test_hold_out_keeps_patients_whole_and_gives_every_split_both_labels(tmp_path: Path) -> None:
    lines = []
    for patient in range(40):
        for view in range(2):
            (tmp_path / f"{patient}-{view}.png").write_text(f"{patient}-{view}")
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


def test_what_is_held_out_stays_the_same_from_version_to_version(tmp_path: Path) -> None:
    """Without splits and groups: an `evaluate` of a later version must not score what was trained on."""
    for patient in range(12):
        (tmp_path / f"{patient}.png").write_text(str(patient))
    lines = [f"{patient}.png,p{patient},{('other', 'covid')[patient % 2]},," for patient in range(12)]
    rows = hold_out(read_manifest(write(tmp_path, *lines)), shares={"val": 0.2, "test": 0.3}, seed=7)
    held = {split: {row.patient_id for row in rows if row.split == split} for split in ("val", "test")}
    assert held == {"val": {"p0", "p7"}, "test": {"p5", "p8", "p9", "p10"}}


def test_rows_without_a_split_take_that_of_their_patient_or_group(tmp_path: Path) -> None:
    lines = ["a.png,p1,,other,test_b", "b.png,p1,,other,", "c.png,p2,g1,other,val", "d.png,p3,g1,other,"]
    (tmp_path / "d.png").write_text("d")
    rows = hold_out(read_manifest(write(tmp_path, *lines, header=GROUPED)), shares={"val": 0.0}, seed=0)
    assert [row.split for row in rows] == ["test_b", "test_b", "val", "val"]


CELLS = st.tuples(
    st.sampled_from(["p1", "p2", "p3", "p4", "p5", "p6"]),
    st.sampled_from(["", "", "g1", "g2"]),
    st.sampled_from(["", "", "", "train", "val", "test", "test_b", "not_frontal"]),
)


@given(st.lists(CELLS, min_size=1, max_size=8))
def test_no_manifest_that_is_accepted_ends_with_a_patient_or_group_in_two_splits(
    cells: list[tuple[str, str, str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for number, (patient, group, split) in enumerate(cells):
            Path(folder, f"{number}.png").write_text(str(number))
            lines.append(f"{number}.png,{patient},{group},other,{split}")
        try:
            rows = hold_out(
                read_manifest(write(Path(folder), *lines, header=GROUPED)), shares={"val": 0.4, "test": 0.4}, seed=1
            )
        except UsageError:
            # Only what is split explicitly can contradict itself.
            assert len({split[:4] for _, _, split in cells if split not in ("", "not_frontal")}) > 1
            return
    assert all(row.split for row in rows)
    for name in ("patient_id", "group_id"):
        assert all(len(splits) == 1 for splits in splits_of(rows, name).values())


def splits_of(rows: tuple[Row, ...], name: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        if row.checked and row.columns[name]:
            found.setdefault(row.columns[name], set()).add(row.split[:4])
    return found
