"""The cohort of calibration and gate: who takes part, and that nobody is judged twice or used twice."""

from pathlib import Path
from shutil import copyfile

import pytest

from calib.cohort import Cohort, read_cohort
from calib.gate_set import gate_set
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from edge.phantom import render
from edge.phantom_dicom import write_dicom

HEADER = "path,patient_id,label,split,view,age"
ROWS = ("a,1,covid,train,AP,", "b,2,other,train,AP,", "c,3,covid,val,AP,", "d,4,other,val,PA,", "e,5,covid,gate,AP,")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiographs")
    for seed, name in enumerate("abcdefgh"):
        write_dicom(render(seed, ("covid", "other")[seed % 2], longest_side=128), folder / f"{name}.dcm")
    (folder / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM and no more")
    return folder


def listed(folder: Path, name: str, *lines: str) -> Path:
    manifest = folder / f"{name}.csv"
    rows = [line.replace(",", ".dcm,", 1) for line in lines]
    manifest.write_text("\n".join([HEADER, *rows]) + "\n")
    return manifest


def cohort(*manifests: Path, labels: tuple[str, str] = ("other", "covid"), leave_out_refused: bool = False) -> Cohort:
    cache = manifests[0].parent / "arrays"
    return read_cohort(manifests, Preprocessing(), cache, labels=labels, leave_out_refused=leave_out_refused)


def test_train_rows_calibrate_and_val_and_gate_rows_are_judged(radiographs: Path) -> None:
    first = listed(radiographs, "first", *ROWS)
    other_task = listed(radiographs, "other-task", "f,6,no_finding,gate,AP,", "g,7,pneumonia,train,AP,")
    read = cohort(first, other_task)
    assert [row.path.stem for row in read.judged] == ["c", "d", "e", "f"]
    assert sorted(row.path.stem for row in read.calibration(8).rows) == ["a", "b", "g"]
    assert sorted(row.path.stem for row in read.cases) == ["a", "b"]
    gate = gate_set(read, positive="covid")
    assert gate.labels.positive.tolist() == [True, False, True, False]
    assert gate.labels.validation.tolist() == [True, True, False, False]
    assert len(gate.radiographs) == 4 and len(gate.cases) == 2


def test_minors_and_laterals_take_no_part(radiographs: Path) -> None:
    more = ("f,6,covid,val,LATERAL,", "g,7,covid,train,AP,9", "h,8,other,gate,AP,17")
    read = cohort(listed(radiographs, "excluded", *ROWS, *more))
    assert [row.path.stem for row in read.judged] == ["c", "d", "e"]
    assert len(read.calibration(8).rows) == 2


def test_what_the_box_refuses_is_named_or_left_out(radiographs: Path) -> None:
    manifest = listed(radiographs, "broken", *ROWS, "broken,6,covid,val,AP,")
    with pytest.raises(UsageError, match=r"broken\.dcm"):
        cohort(manifest)
    assert len(cohort(manifest, leave_out_refused=True).judged) == 3


def test_nobody_is_judged_twice(radiographs: Path) -> None:
    first = listed(radiographs, "first", *ROWS)
    with pytest.raises(UsageError, match=r"c\.dcm is c\.dcm again, and would be judged twice"):
        cohort(first, first).judged  # noqa: B018
    copyfile(radiographs / "c.dcm", radiographs / "z.dcm")
    with pytest.raises(UsageError, match=r"z\.dcm is c\.dcm again"):
        cohort(first, listed(radiographs, "copied", "z,9,pneumonia,gate,AP,")).judged  # noqa: B018


@pytest.mark.parametrize("split", ["train", "test", "test_elsewhere"])
def test_nobody_is_judged_and_used_otherwise(radiographs: Path, split: str) -> None:
    """Laterals too: that a row takes no part makes its copy no less known."""
    second = listed(radiographs, f"second-{split}", f"e,5,no_finding,{split},LATERAL,")
    with pytest.raises(UsageError, match=rf"e\.dcm is of {split} and would be judged too"):
        cohort(listed(radiographs, "first", *ROWS), second).judged  # noqa: B018


def test_the_labels_of_the_first_manifest_are_checked(radiographs: Path) -> None:
    with pytest.raises(UsageError, match="label"):
        cohort(listed(radiographs, "first", *ROWS), labels=("no_finding", "pneumonia"))
    with pytest.raises(UsageError, match="no val row"):
        cohort(listed(radiographs, "train-only", *ROWS[:2])).judged  # noqa: B018
