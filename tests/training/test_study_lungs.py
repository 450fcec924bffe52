"""Whom the lung U-Net of a study learns from: nobody whom the study tests on."""

from pathlib import Path

import pytest

from training.devices import ALONE
from training.manifest import read_manifest
from training.options import HELD_OUT
from training.presets import PRESETS
from training.row import TRAINING_SPLITS, Row
from training.splits import hold_out
from training.study_folder import StudyFolder
from training.study_lungs import StudyLungs
from training.wishes import Wishes


def write(folder: Path, name: str, header: str, lines: list[str]) -> Path:
    manifest = folder / name
    manifest.write_text("\n".join([header, *lines]) + "\n")
    return manifest


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Sixty patients without splits; every third has a mask."""
    lines = []
    for number in range(60):
        (tmp_path / f"{number}.png").write_text(f"never read {number}")
        mask = f"{number}.png" if number % 3 == 0 else ""
        lines.append(f"{number}.png,p{number:02},{('other', 'covid')[number % 2]},{mask}")
    return write(tmp_path, "cohort.csv", "path,patient_id,label,mask_path", lines)


def rows_of_tests(cohort: Path) -> list[Row]:
    drawn = hold_out(read_manifest(cohort), shares=HELD_OUT, seed=3)
    return [row for row in drawn if row.split == "test"]


def learned(cohort: Path, lung_manifest: Path | None) -> list[Row]:
    wishes = Wishes(cohort, "smoke", cohort.parent / "out", cohort.parent / "arrays", ("other", "covid"), "pad",
                    lung_manifest=lung_manifest, seed=3)  # fmt: skip
    lungs = StudyLungs(wishes, PRESETS["smoke"].lungs, StudyFolder(wishes.out), rows_of_tests(cohort), ALONE, print)
    return [row for row in lungs._rows if row.split in TRAINING_SPLITS]


def test_masks_of_the_manifest_itself_are_divided_as_the_study_divides(cohort: Path) -> None:
    rows = learned(cohort, None)
    assert len(rows) >= 10 and all(row.mask_path for row in rows)
    assert not {row.patient_id for row in rows} & {row.patient_id for row in rows_of_tests(cohort)}


@pytest.mark.parametrize("by", ["patient", "file"])
def test_another_manifests_masks_of_tested_patients_or_files_are_left_out(cohort: Path, by: str) -> None:
    """All sixty stand in its train split, under their own names or under others."""
    lines = [f"{number}.png,{'p' if by == 'patient' else 'q'}{number:02},{number}.png,train" for number in range(60)]
    masks = write(cohort.parent, "masks.csv", "path,patient_id,mask_path,split", lines)
    rows = learned(cohort, masks)
    held = {row.path.name for row in rows_of_tests(cohort)}
    assert len(rows) == 60 - len(held) and not {row.path.name for row in rows} & held
