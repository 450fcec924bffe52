"""The reserve: the smaller of a share and a number, and it does not flutter."""

import re
import shutil
from pathlib import Path

import pytest

from edge.disk_space import Reserve

GB = 1_000_000_000


class Disk:
    """What shutil.disk_usage tells of a disk that the test fills."""

    def __init__(self, total: int, free: int) -> None:
        self.total, self.free = total, free

    def __call__(self, _: Path) -> "Disk":
        return self


def reserve_of(disk: Disk, monkeypatch: pytest.MonkeyPatch, **options: float) -> Reserve:
    monkeypatch.setattr(shutil, "disk_usage", disk)
    return Reserve(Path("/state"), **{"percent": 5.0, "at_most_bytes": 5 * GB, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("total", "free", "short"),
    [
        (1000 * GB, 6 * GB, False),  # 5 GB of a large disk
        (1000 * GB, 4 * GB, True),
        (10 * GB, 0.6 * GB, False),  # 5 % of a small one
        (10 * GB, 0.4 * GB, True),
    ],
)
def test_the_smaller_of_both_counts(total: int, free: int, short: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shortage = reserve_of(Disk(total, free), monkeypatch).shortage()
    assert (shortage is not None) == short
    if shortage is not None:
        assert re.fullmatch(r"the disk of /state is full: \d+ MB are free, \d+ MB are kept in reserve", shortage)


def test_it_goes_on_only_with_a_tenth_more(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(1000 * GB, 5 * GB)
    reserve = reserve_of(disk, monkeypatch)
    answers = []
    for free in (5.0, 4.9, 5.0, 5.4, 5.6, 5.0, 4.9):
        disk.free = int(free * GB)
        answers.append(reserve.shortage() is not None)
    assert answers == [False, True, True, True, False, False, True]


def test_no_reserve_is_asked_of_whoever_sets_it_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reserve_of(Disk(10 * GB, 0), monkeypatch, percent=0.0).shortage() is None


def test_a_real_disk_is_looked_at(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert Reserve(tmp_path, percent=100.0, at_most_bytes=2 * free).shortage() is not None
    assert Reserve(tmp_path, percent=100.0, at_most_bytes=free // 2).shortage() is None
