"""Who takes part, each exclusion with its reason, and the counts of Table 1 against ones made by hand."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from edge.imaging.preprocess import Preprocessing
from edge.phantom import render
from edge.phantom_dicom import write_png
from training.arrays import Kept, standardise
from training.cohort import (
    ExclusionCount,
    HospitalNegatives,
    Table1,
    exclusion_counts,
    frontal,
    gather,
    negatives_by_hospital,
    table1,
)
from training.manifest import read_manifest
from training.outcome import Excluded
from training.row import Row

LABELS = ("other", "covid")


def row_of(line: int, *, split: str = "train", view: str = "AP", label: str = "other", **columns: str) -> Row:
    """patient: who it is, else one of its own."""
    patient = columns.pop("patient", f"p{line}")
    return Row(line, Path(f"{line}.png"), patient, label, split, view, "", None, columns)


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two standardised radiographs: a phantom as it is, and with a box on it."""
    folder = tmp_path_factory.mktemp("radiographs")
    phantom = render(7, "covid", longest_side=512)
    write_png(phantom, folder / "plain.png")
    phantom.pixels[150:250, 150:260] = 0
    write_png(phantom, folder / "box.png")
    paths = [folder / "plain.png", folder / "box.png"]
    rows = [Row(2, path, path.stem, "other", "train", "", "", None) for path in paths]
    kept = standardise(rows, Preprocessing(), folder / "arrays")
    return {item.row.path.stem: item.path for item in kept if item.path is not None}


def test_each_exclusion_has_its_reason_and_the_others_keep_their_order(arrays: dict[str, Path]) -> None:
    plain = arrays["plain"]
    kept = (
        Kept(row_of(2, age="18"), plain),
        Kept(row_of(3, view="L"), plain),
        Kept(row_of(4, split="excluded_overlay"), plain),
        Kept(row_of(5, split="not_frontal", view="L"), None, "refused too"),
        Kept(row_of(6, age="17.9", split="test_b"), plain),
        Kept(row_of(7, split="val"), None, "the lungs are not found"),
        Kept(row_of(8, split="test"), arrays["box"]),
        Kept(row_of(9, split="", view=""), plain),
        Kept(row_of(10, view="lateral", age="3"), None, "refused too"),
    )
    rows, paths, excluded = gather(kept)
    assert ([row.line for row in rows], paths) == ([2, 9], (plain, plain))
    assert [(item.row.line, item.reason) for item in excluded] == [
        (3, "lateral"),
        (4, "excluded_overlay"),
        (5, "not_frontal"),
        (6, "minor"),
        (7, "refused"),
        (8, "artefact"),
        (10, "lateral"),
    ]
    assert excluded[0].detail == "view L"
    assert excluded[4].detail == "the lungs are not found"
    assert "pixels at row" in excluded[5].detail


def test_nobody_left_is_no_error_here() -> None:
    assert gather([Kept(row_of(2, view="L"), None)])[:2] == ((), ())


@pytest.mark.parametrize(
    "view",
    ["AP", "PA", "ap supine", "AP_PORTABLE", "A.P.", "postero-anterior", "POSTEROANTERIOR", "Frontal", "supine",
     "AP/PA", "", "unknown", "n/a", "?", "portable erect"],
)  # fmt: skip
def test_frontal_views(view: str) -> None:
    assert frontal(view)


@pytest.mark.parametrize(
    "view",
    [
        "L",
        "LL",
        "LATERAL",
        "Lat",
        "left lateral",
        "Axial",
        "RL",
        "LLD",
        "AP lordotic",
        "AP LLD",
        "AP oblique",
        "spine",
        "RAO",
    ],
)
def test_other_views(view: str) -> None:
    assert not frontal(view)


def test_exclusions_are_counted_by_reason_split_and_label() -> None:
    excluded = [
        Excluded(row_of(2, label="covid"), "lateral"),
        Excluded(row_of(3, label="covid"), "lateral"),
        Excluded(row_of(4), "lateral"),
        Excluded(row_of(5, split="test"), "artefact"),
    ]
    assert exclusion_counts(excluded) == (
        ExclusionCount("artefact", "test", "other", 1),
        ExclusionCount("lateral", "train", "covid", 2),
        ExclusionCount("lateral", "train", "other", 1),
    )


def test_table_1_counts_patients_once() -> None:
    rows = [
        row_of(2, label="covid", patient="a", sex="M", age="60", hospital="h1"),
        row_of(3, label="covid", patient="a", sex="M", age="62", hospital="h2"),
        row_of(4, label="covid", patient="b", sex="female", age="40", hospital="h1"),
        row_of(5, label="covid", patient="c", sex="", age="", hospital=""),
        row_of(6, label="covid", patient="d", sex="F"),
        row_of(7, label="covid", patient="d", sex=""),
        row_of(8, label="covid", patient="e", sex="F", age="50"),
        row_of(9, label="covid", patient="e", sex="M", age="50"),
        row_of(10, label="other", patient="a", sex="M", age="59"),
    ]
    other, covid = table1(rows, LABELS)
    assert covid == Table1("covid", 5, 8, 1, 2, 2, 3, 50.0, 10.0, 2)
    assert covid.percent(covid.women) == 40.0
    assert other == Table1("other", 1, 1, 1, 0, 0, 1, 59.0, None, 0)


def test_table_1_of_a_label_without_rows_is_empty() -> None:
    empty = table1([], LABELS)[1]
    assert (empty.patients, empty.mean_age_years, empty.percent(0)) == (0, None, 0.0)


def test_normal_and_abnormal_negatives_of_the_hospitals_that_say_so() -> None:
    rows = [
        row_of(2, hospital="b", abnormal="yes"),
        row_of(3, hospital="b", abnormal="no"),
        row_of(4, hospital="b", abnormal="no"),
        row_of(5, hospital="b", abnormal=""),
        row_of(6, hospital="b", abnormal="yes", label="covid"),
        row_of(7, hospital="a", abnormal="1"),
        row_of(8, hospital="silent"),
    ]
    found = negatives_by_hospital(rows, "other")
    assert found == (HospitalNegatives("a", 1, 0, 1), HospitalNegatives("b", 4, 2, 1))
    assert found[1].unknown == 1


@pytest.mark.real
def test_the_real_manifest_loses_its_laterals_and_what_it_sets_aside(real_data: Path) -> None:
    rows = read_manifest(real_data / "covid.csv")
    absent = [Kept(row, None, "not read here") for row in rows]
    _, _, excluded = gather(absent)
    counts = Counter(item.reason for item in excluded)
    with (real_data / "covid.csv").open(encoding="utf-8", newline="") as text:
        written = Counter(line["split"] for line in csv.DictReader(text))
    for split in ("excluded_overlay", "excluded_ambiguous", "not_frontal"):
        assert counts[split] == written[split] > 0
    assert counts["lateral"] == counts["minor"] == 0  # those of this manifest stand in not_frontal
    nih = read_manifest(real_data / "nih.csv", labels=("no_finding", "pneumonia"))
    _, _, excluded = gather([Kept(row, None, "") for row in nih])
    assert Counter(item.reason for item in excluded)["minor"] == sum((row.age or 99) < 18 for row in nih) == 95
    assert sum(label.images for label in table1(nih, ("no_finding", "pneumonia"))) == len(nih) == 937
