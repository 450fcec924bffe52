"""Patients set aside for the accuracy gate: whole patients, as many as asked, and nobody who has a split already."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from edge.errors import UsageError
from training.manifest import read_manifest
from training.reserve import main, reserve
from training.splits import hold_out


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Forty patients of two radiographs each; the last two patients are fixed as test."""
    path = tmp_path / "from" / "manifest.csv"
    path.parent.mkdir()
    lines = ["path,patient_id,label,split,note"]
    for patient in range(40):
        for shot in (1, 2):
            name = f"{patient}-{shot}.png"
            (path.parent / name).write_bytes(name.encode())
            label, split = ("other", "covid")[patient % 2], "test" if patient >= 38 else ""
            lines.append(f'{name},p{patient},{label},{split},"kept, as it is"')
    path.write_text("\n".join(lines) + "\n")
    return path


def test_whole_patients_of_both_labels_are_set_aside_and_never_trained_on(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "to" / "manifest.csv"
    told = CliRunner().invoke(main, ["--manifest", str(manifest), "--patients", "10", "--out", str(out)])
    assert told.exit_code == 0 and "20 of 80 radiographs" in told.output
    rows = read_manifest(out)  # which also checks that no patient is in two splits
    aside = {row.patient_id for row in rows if row.split == "gate"}
    assert len(aside) == 10 and sum(row.split == "gate" for row in rows) == 20
    assert {row.label for row in rows if row.split == "gate"} == {"other", "covid"}
    drawn = hold_out(rows, shares={"val": 0.1, "test": 0.15}, seed=0)
    assert not aside & {row.patient_id for row in drawn if row.split != "gate"}
    assert {row.patient_id for row in rows if row.split == "test"} == {"p38", "p39"}
    assert [row.path.resolve() for row in rows] == [row.path.resolve() for row in read_manifest(manifest)]
    assert {row.columns["note"] for row in rows} == {"kept, as it is"}


def test_too_many_are_refused(manifest: Path) -> None:
    with pytest.raises(UsageError, match="only 38 patients have no split yet, 38 were to be set aside"):
        reserve(read_manifest(manifest), 38, seed=0)


def test_a_patient_set_aside_and_trained_on_is_an_error(manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace("0-1.png,p0,other,,", "0-1.png,p0,other,gate,")
                        .replace("0-2.png,p0,other,,", "0-2.png,p0,other,train,", 1))  # fmt: skip
    with pytest.raises(UsageError, match="this patient is in"):
        read_manifest(manifest)
