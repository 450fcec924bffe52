"""The training manifest: what is read, and the one clear error that each fault earns before any training."""

from pathlib import Path

import pytest
from manifest_files import GROUPED, write

from edge.errors import UsageError
from edge.manifest_lines import FAULTS_SHOWN
from training.manifest import read_manifest, require_split


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


CELLS = "path,patient_id,label,sex,age,days_since_admission,hard,abnormal"


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ("M,63y,,,", "age is no number from 0 to 130"),
        ("M,nan,,,", "age is no number"),
        ("M,-3,,,", "age is no number"),
        ("M,1950,,,", "age is no number"),
        (",,2020-03-01,,", "days_since_admission is no number"),
        (",,inf,,", "days_since_admission is no number"),
        ("X,,,,", "sex is neither M nor F"),
        (",,,perhaps,", "hard is neither yes nor no"),
        (",,,,2", "abnormal is neither yes nor no"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named_but_not_repeated(tmp_path: Path, cells: str, fault: str) -> None:
    manifest = write(tmp_path, "b.png,p2,covid,F,40,0,no,", f"a.png,p1,other,{cells}", header=CELLS)
    with pytest.raises(UsageError, match=f"\\(1\\):\n  line 3: {fault}.*; write") as raised:
        read_manifest(manifest)
    value = next(cell for cell in cells.split(",") if cell not in ("", "M"))
    assert value == "2" or value not in str(raised.value).split("line 3: ")[1]  # it may be a date of birth


@pytest.mark.parametrize(
    ("written", "sex"),
    [("M", "M"), ("male", "M"), ("F", "F"), ("Woman", "F"), ("", ""), ("unknown", ""), ("O", ""), ("N/A", "")],
)
def test_sexes_are_read_as_hospitals_write_them(tmp_path: Path, written: str, sex: str) -> None:
    (row,) = read_manifest(write(tmp_path, f"a.png,p1,other,{written},63.5,-2,YES,0", header=CELLS))
    assert (row.sex, row.age, row.days_since_admission, row.hard, row.abnormal) == (sex, 63.5, -2.0, True, False)


def test_the_hospital_stands_in_for_a_source_that_is_not_named(tmp_path: Path) -> None:
    manifest = write(
        tmp_path, "a.png,p1,other,h,s", "b.png,p2,other,h,", header="path,patient_id,label,hospital,source"
    )
    assert [row.source for row in read_manifest(manifest)] == ["s", "h"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (",p1,other,train,", "path is empty"),
        ("a.png,,other,train,", "patient_id is empty"),
        ("a.png,p1,other,train,CC BY,4.0", "more cells than the header"),
    ],
)
def test_a_line_that_is_no_whole_row_is_a_fault(tmp_path: Path, line: str, fault: str) -> None:
    with pytest.raises(UsageError, match=f"\\(1\\):\n  line 3: {fault}"):
        read_manifest(write(tmp_path, "b.png,p2,covid,train,", line))


def test_blank_lines_and_spare_commas_are_passed_over(tmp_path: Path) -> None:
    rows = read_manifest(write(tmp_path, "", ",,,,", "a.png,p1,other,train,,,", " , ,,,"))
    assert [row.line for row in rows] == [4]


def test_a_column_named_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names column label twice; keep one"):
        read_manifest(write(tmp_path, "a.png,p1,other,covid", header="path,patient_id,label, label"))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_that_is_not_utf8_says_so(tmp_path: Path, encoding: str) -> None:
    manifest = write(tmp_path, "a.png,p1,other,train,", "b.png,p2,covid,train,Jönköping")
    manifest.write_bytes(manifest.read_text(encoding="utf-8").encode(encoding))
    line = 3 if encoding == "latin-1" else 1
    with pytest.raises(UsageError, match=f"manifest.csv is not UTF-8 \\(line {line}\\); save it as UTF-8"):
        read_manifest(manifest)


@pytest.mark.parametrize("rest", ["x" * 200_000, "CC BY"])
def test_a_quotation_mark_that_is_not_closed_swallows_no_rows(tmp_path: Path, rest: str) -> None:
    manifest = write(tmp_path, "c.png,p3,other,train,", f'a.png,p1,other,train,"{rest}', "b.png,p2,covid,train,")
    with pytest.raises(UsageError, match=r"cannot be read as CSV after line [24] .* quotation mark that is not closed"):
        read_manifest(manifest)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["a.png,p1,covid,,", "b.png,p2,covid,,"], "line 2: every row to train on is labelled covid, .* none other"),
        (["a.png,p1,covid,test,", "b.png,p2,other,train,"], "line 3: every train row is labelled other, .* none covid"),
        (
            ["a.png,p1,covid,train,", "b.png,p2,other,train,", "c.png,p3,other,val,"],
            "line 4: every val row is labelled other, .* list radiographs labelled covid too",
        ),
        (["a.png,p1,covid,train,", "b.png,p2,other,,"], None),
        (["a.png,p1,covid,train,", "b.png,p2,other,train,", "c.png,p3,other,test_b,"], None),
        (["a.png,p1,covid,test_a,", "b.png,p2,covid,test_b,"], None),
    ],
)
def test_what_trains_needs_both_labels(tmp_path: Path, lines: list[str], fault: str | None) -> None:
    manifest = write(tmp_path, *lines)
    assert len(read_manifest(manifest)) == len(lines)  # rows that are only measured may hold one
    if fault is None:
        assert len(read_manifest(manifest, both=True)) == len(lines)
        return
    with pytest.raises(UsageError, match=f"\\(1\\):\n  {fault}"):
        read_manifest(manifest, both=True)


def test_a_mistyped_label_is_not_also_called_a_missing_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\(1\):") as raised:
        read_manifest(write(tmp_path, "a.png,p1,covid,train,", "b.png,p2,othr,train,"), both=True)
    assert "every train row" not in str(raised.value)
