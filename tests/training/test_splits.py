"""Divisions: nobody on two sides, shares as asked within each label, the same whatever the order of the rows."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_files import GROUPED, write

from edge.errors import UsageError
from training.manifest import read_manifest
from training.row import Row
from training.splits import clusters_of, draw_splits, hold_out, hold_out_source, sources_of_both

LABELS = ("other", "covid")
SHARES = {"val": 0.1, "test": 0.15}


def row_of(
    number: int, patient: str, label: str, *, split: str = "", group: str = "", hospital: str = "", source: str = ""
) -> Row:
    columns = {"group_id": group, "hospital": hospital, "source": source}
    return Row(number + 2, Path(f"{number:04}.png"), patient, label, split, "", "", None, columns)


def patients(count: int, label: str, *, first: int = 0, **kept: str) -> list[Row]:
    return [row_of(number, f"p{number}", label, **kept) for number in range(first, first + count)]


def clusters_in(rows: Sequence[Row], split: str, label: str = "") -> set[object]:
    clusters = clusters_of([row for row in rows if row.counted])
    return {clusters[row.patient_id] for row in rows if row.split == split and label in ("", row.label)}


CELLS = st.tuples(
    st.sampled_from([f"p{number}" for number in range(12)]),
    st.sampled_from(LABELS),
    st.sampled_from(["", "", "", "g1", "g2", "g3"]),
    st.sampled_from(["", "h1", "h2", "h3"]),
    st.sampled_from(["", "s1", "s2"]),
)
COHORTS = st.lists(CELLS, min_size=1, max_size=40)
DRAWN = st.sampled_from(["", "train", "val"])


def cohort_of(cells: Sequence[tuple[str, str, str, str, str]], split: str = "") -> list[Row]:
    return [
        row_of(number, patient, label, group=group, hospital=hospital, source=source, split=split)
        for number, (patient, label, group, hospital, source) in enumerate(cells)
    ]


@given(COHORTS, st.integers(0, 50), DRAWN, st.randoms(use_true_random=False))
def test_a_division_keeps_every_row_and_cluster_whole_in_any_order(cells, seed, split, rng) -> None:  # type: ignore[no-untyped-def]
    rows = cohort_of(cells, split)
    drawn = draw_splits(rows, seed=seed)
    assert [replace(row, split=split) for row in drawn] == rows
    assert {row.split for row in drawn} <= {"train", "val", "test"}
    sides = [clusters_in(drawn, name) for name in ("train", "val", "test")]
    assert sum(map(len, sides)) == len(set.union(*sides))
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert sorted(draw_splits(shuffled, seed=seed), key=lambda row: row.line) == list(drawn)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 30), min_size=1), st.integers(0, 200))
def test_a_share_is_right_to_one_cluster_of_a_label_and_two_of_a_hospital(sizes: dict[str, int], seed: int) -> None:
    rows: list[Row] = []
    for hospital, count in sizes.items():
        rows += patients(count, "other", first=len(rows), hospital=hospital)
    drawn = hold_out(rows, shares=SHARES, seed=seed)
    for split, share in SHARES.items():
        assert abs(len(clusters_in(drawn, split)) - share * len(rows)) <= 1
        for hospital, count in sizes.items():
            there = sum(row.split == split for row in drawn if row.hospital == hospital)
            assert abs(there - share * count) <= 2


def test_hospitals_of_a_single_patient_are_held_out_as_often_as_others() -> None:
    rows = [row for number in range(40) for row in patients(1, "other", first=number, hospital=f"h{number}")]
    held = Counter(row.patient_id for seed in range(200) for row in draw_splits(rows, seed=seed) if row.split == "test")
    assert sum(held.values()) == 200 * 6
    assert len(held) == 40
    assert max(held.values()) < 3 * 30  # expected: 30 times each


def test_a_source_of_many_small_hospitals_is_held_out_by_its_share() -> None:
    rows = [
        row_of(number, f"p{number}", "other", source="ab"[number % 2], hospital=f"h{number:02}") for number in range(80)
    ]
    for seed in range(20):
        test = Counter(row.source for row in draw_splits(rows, seed=seed) if row.split == "test")
        assert test == {"a": 6, "b": 6}


def test_each_label_of_a_small_cohort_reaches_val_and_test() -> None:
    rows = [*patients(3, "other"), *patients(3, "covid", first=3)]
    drawn = draw_splits(rows, seed=0)
    assert Counter((row.split, row.label) for row in drawn) == {
        (split, label): 1 for split in ("train", "val", "test") for label in LABELS
    }


def test_ten_seeds_give_ten_divisions() -> None:
    rows = [*patients(40, "other"), *patients(40, "covid", first=40)]
    assert len({tuple(row.split for row in draw_splits(rows, seed=seed)) for seed in range(10)}) == 10
    assert draw_splits(rows, seed=3) == hold_out(rows, shares=SHARES, seed=3)


def test_test_splits_of_the_manifest_never_move() -> None:
    fixed = [*patients(4, "covid", split="test"), *patients(4, "other", first=4, split="test_other_town")]
    aside = patients(2, "", first=8, split="not_frontal")
    free = [*patients(20, "covid", first=10, split="train"), *patients(20, "other", first=30, split="val")]
    drawn = draw_splits([*fixed, *aside, *free], seed=5)
    assert list(drawn[:10]) == [*fixed, *aside]
    assert Counter(row.split for row in drawn[10:]) == {"train": 30, "val": 4, "test_drawn": 6}
    with pytest.raises(UsageError, match="has a split test_drawn"):
        draw_splits(drawn, seed=6)


def test_a_row_beside_a_fixed_test_patient_is_never_trained_on() -> None:
    rows = [row_of(0, "p0", "covid", split="test_b"), row_of(1, "p0", "covid"), *patients(20, "other", first=2)]
    assert all(draw_splits(rows, seed=seed)[1].split == "test_b" for seed in range(5))


@given(COHORTS, st.integers(0, 50))
def test_a_source_is_held_out_whole(cells: list[tuple[str, str, str, str, str]], seed: int) -> None:
    rows = [row for row in cohort_of(cells, "train") if row.source]
    fixed = [replace(row, patient_id=f"fixed-{row.patient_id}", split="test", columns={**row.columns, "group_id": ""})
             for row in rows[:3]]  # fmt: skip
    for source in {row.source for row in rows}:
        drawn = hold_out_source([*rows, *fixed], source, seed=seed)
        assert list(drawn[len(rows) :]) == fixed
        assert all(row.split == "test_source" for row in drawn[: len(rows)] if row.source == source)
        assert {row.split for row in drawn[: len(rows)]} <= {"train", "val", "test_source"}
        sides = [clusters_in(drawn[: len(rows)], name) for name in ("train", "val", "test_source")]
        assert sum(map(len, sides)) == len(set.union(*sides))


def test_the_other_sources_are_drawn_anew() -> None:
    rows = [
        *patients(20, "other", source="a", split="train"),
        *patients(10, "covid", first=20, source="b", split="val"),
    ]
    drawn = hold_out_source(rows, "b", seed=0)
    assert Counter(row.split for row in drawn) == {"train": 18, "val": 2, "test_source": 10}
    with pytest.raises(UsageError, match="no row of source 'c'"):
        hold_out_source(rows, "c", seed=0)


@pytest.mark.parametrize(
    ("of_a", "of_b", "found"),
    [
        ((3, 3), (1, 1), ("a",)),
        ((3, 3), (3, 3), ("a", "b")),
        ((2, 9), (1, 1), ()),  # too few of one label
        ((3, 3), (5, 0), ()),  # the others would hold one label only
    ],
)
def test_sources_are_worth_holding_out_when_both_sides_have_both_labels(
    of_a: tuple[int, int], of_b: tuple[int, int], found: tuple[str, ...]
) -> None:
    rows: list[Row] = []
    for source, counts in (("a", of_a), ("b", of_b)):
        for label, count in zip(LABELS, counts, strict=True):
            rows += patients(count, label, first=len(rows), source=source, split="train")
    assert sources_of_both(rows, LABELS) == found
    tests = [replace(row, split="test_x") for row in patients(9, "other", first=50, source="a")]
    assert sources_of_both([*rows, *tests], LABELS) == found


def test_several_images_of_a_patient_do_not_make_a_source_worth_holding_out() -> None:
    rows = [*patients(6, "other", source="a"), *patients(6, "covid", first=6, source="b")]
    rows += [row_of(20 + number, "p20", "covid", source="a") for number in range(9)]
    assert sources_of_both([*rows, *patients(1, "other", first=30, source="b")], LABELS) == ()


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
        (tmp_path / f"{99 - patient}.png").write_text(str(patient))
    lines = [f"{99 - patient}.png,p{patient},{('other', 'covid')[patient % 2]},," for patient in range(12)]
    rows = hold_out(read_manifest(write(tmp_path, *lines)), shares={"val": 0.2, "test": 0.3}, seed=7)
    held = {split: {row.patient_id for row in rows if row.split == split} for split in ("val", "test")}
    assert held == {"val": {"p0", "p7"}, "test": {"p5", "p8", "p9", "p10"}}


def test_rows_without_a_split_take_that_of_their_patient_or_group(tmp_path: Path) -> None:
    lines = ["a.png,p1,,other,test_b", "b.png,p1,,other,", "c.png,p2,g1,other,val", "d.png,p3,g1,other,"]
    (tmp_path / "d.png").write_text("d")
    rows = hold_out(read_manifest(write(tmp_path, *lines, header=GROUPED)), shares={"val": 0.0}, seed=0)
    assert [row.split for row in rows] == ["test_b", "test_b", "val", "val"]


MANIFEST_CELLS = st.tuples(
    st.sampled_from(["p1", "p2", "p3", "p4", "p5", "p6"]),
    st.sampled_from(["", "", "g1", "g2"]),
    st.sampled_from(["", "", "", "train", "val", "test", "test_b", "not_frontal"]),
)


@given(st.lists(MANIFEST_CELLS, min_size=1, max_size=8))
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
                read_manifest(write(Path(folder), *lines, header=GROUPED)),
                shares={"val": 0.4, "test": 0.4},
                seed=1,
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
