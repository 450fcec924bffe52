"""The calibration set: in proportion, the same for everyone, and of training radiographs alone."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from calib.selection import choose
from edge.errors import UsageError
from training.row import Row


def rows(folder: Path, counts: dict[tuple[str, str, str], int]) -> list[Row]:
    """counts: (split, label, hospital) -> how many."""
    made = []
    for (split, label, hospital), count in counts.items():
        for number in range(count):
            path = folder / f"{split}-{label}-{hospital}-{number}.png"
            path.write_bytes(path.name.encode())
            columns = {"path": path.name, "hospital": hospital}
            made.append(Row(len(made) + 2, path, path.stem, label, split, "", "", None, columns))
    return made


def test_labels_and_hospitals_keep_their_share(tmp_path: Path) -> None:
    listed = rows(tmp_path, {("train", "covid", "a"): 40, ("train", "other", "a"): 20, ("train", "other", "b"): 20})
    chosen = Counter((row.label, row.hospital) for row in choose(listed, 21).rows)
    assert chosen.total() == 21
    assert chosen["covid", "a"] in (10, 11) and {chosen["other", "a"], chosen["other", "b"]} <= {5, 6}


def test_only_train_rows_are_drawn(tmp_path: Path) -> None:
    listed = rows(tmp_path, {(split, "covid", "a"): 5 for split in ("train", "val", "gate", "test", "test_other", "")})
    assert {row.split for row in choose(listed, 512).rows} == {"train"}
    with pytest.raises(UsageError, match="no train row"):
        choose([row for row in listed if row.split != "train"], 4)


def test_the_order_of_rows_does_not_matter_and_the_files_do(tmp_path: Path) -> None:
    listed = rows(tmp_path, {("train", "covid", "a"): 30, ("train", "other", "a"): 30})
    first = choose(listed, 16)
    Random(1).shuffle(listed)
    again = choose(listed, 16)
    assert (again.sha256, [row.path for row in again.rows]) == (first.sha256, [row.path for row in first.rows])
    first.rows[0].path.write_bytes(b"another radiograph")
    assert choose(listed, 60).sha256 != first.sha256 and choose(listed, 16).sha256 != first.sha256


@pytest.mark.parametrize("count", [0, 513])
def test_a_count_out_of_range_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(UsageError, match="choose 1 to 512"):
        choose(rows(tmp_path, {("train", "covid", "a"): 2}), count)


def test_a_label_of_many_small_hospitals_is_not_lost(tmp_path: Path) -> None:
    """Each alone has a share below one half; together they have two and a half."""
    counts = {("train", "covid", f"c{number}"): 1 for number in range(20)}
    counts |= {("train", "other", f"o{number}"): 20 for number in range(20)}
    chosen = Counter(row.label for row in choose(rows(tmp_path, counts), 52).rows)
    assert chosen == {"covid": 2, "other": 50}
    assert Counter(row.label for row in choose(rows(tmp_path, counts), 5).rows) == {"covid": 1, "other": 4}
