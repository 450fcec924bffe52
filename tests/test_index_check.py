"""What `index verify` counts: each way in which a file can differ from the ledger, and none when it does not."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from fake_ledger import BUNDLE, FakeLedger, numbered

from edge.case_index import EarlierCases, empty_index
from edge.index_check import check_index
from edge.index_file import IndexDamaged, Stamp, load, path_of, save

CASES = 60


@pytest.fixture
def ledger(tmp_path: Path) -> FakeLedger:
    """One whose index was saved."""
    ledger = FakeLedger(numbered(CASES, 0))
    earlier = EarlierCases(tmp_path, ledger, BUNDLE, size=128)
    earlier.complete(threading.Event())
    assert earlier.save()
    return ledger


def counts(folder: Path, ledger: FakeLedger) -> dict[str, int]:
    """The counts that are not 0, without what every check has."""
    check = check_index(folder, ledger, BUNDLE)
    names = ("missing", "different", "gone", "later", "holds_forgotten")
    return {name: getattr(check, name) for name in names if getattr(check, name)}


def test_a_file_that_agrees_has_no_fault(tmp_path: Path, ledger: FakeLedger) -> None:
    seen: list[tuple[int, int]] = []
    check = check_index(tmp_path, ledger, BUNDLE, on_page=lambda last_number, of: seen.append((last_number, of)))
    assert (check.cases, check.last_number, check.found, check.sampled) == (CASES, CASES, CASES, CASES)
    assert (counts(tmp_path, ledger), check.faults, seen) == ({}, [], [(CASES, CASES)])
    assert check.bytes == path_of(tmp_path, BUNDLE).stat().st_size


def test_cases_that_came_later_are_no_fault(tmp_path: Path, ledger: FakeLedger) -> None:
    ledger.add(numbered(3, 1, after=CASES))
    assert counts(tmp_path, ledger) == {"later": 3}
    assert check_index(tmp_path, ledger, BUNDLE).faults == []


def test_cases_that_gave_way_are_no_fault_until_they_are_most(tmp_path: Path, ledger: FakeLedger) -> None:
    for number in range(1, 31):
        del ledger.cases[number]
    assert counts(tmp_path, ledger) == {"gone": 30}
    assert check_index(tmp_path, ledger, BUNDLE).faults == []
    del ledger.cases[31]
    assert check_index(tmp_path, ledger, BUNDLE).faults == [f"31 of {CASES} cases are gone from the ledger"]


def test_a_forgotten_case_is_a_fault(tmp_path: Path, ledger: FakeLedger) -> None:
    ledger.forget(4)
    assert counts(tmp_path, ledger) == {"gone": 1, "holds_forgotten": True}
    assert check_index(tmp_path, ledger, BUNDLE).faults == ["a case was forgotten since it was saved"]


def test_a_missing_case_is_a_fault(tmp_path: Path, ledger: FakeLedger) -> None:
    kept = load(path_of(tmp_path, BUNDLE), BUNDLE)
    assert kept is not None
    index = empty_index(128)
    index.load(kept[1])
    index.remove(7)
    save(path_of(tmp_path, BUNDLE), replace(kept[0], count=CASES - 1), index.save())
    assert counts(tmp_path, ledger) == {"missing": 1}
    assert check_index(tmp_path, ledger, BUNDLE).faults == ["1 cases of the ledger are missing"]


def test_another_embedding_is_a_fault(tmp_path: Path, ledger: FakeLedger) -> None:
    ledger.cases[7] = replace(ledger.cases[7], embedding=ledger.cases[8].embedding)
    assert counts(tmp_path, ledger) == {"different": 1}
    assert check_index(tmp_path, ledger, BUNDLE).faults == ["1 embeddings are not the ledger's"]


def test_cases_that_no_search_finds_are_a_fault(tmp_path: Path, ledger: FakeLedger) -> None:
    check = check_index(tmp_path, ledger, BUNDLE)
    assert replace(check, sampled=100, found=98).faults == []
    assert replace(check, sampled=100, found=97).faults == ["only 97 of 100 cases are found"]


def test_a_large_index_is_sampled_evenly_across_the_pages_of_the_ledger(tmp_path: Path) -> None:
    ledger = FakeLedger(numbered(6000, 0))
    earlier = EarlierCases(tmp_path, ledger, BUNDLE, size=128)
    earlier.complete(threading.Event())
    earlier.save()
    check = check_index(tmp_path, ledger, BUNDLE)
    assert (check.sampled, check.found, check.faults) == (500, 500, [])


def test_no_file_and_a_damaged_one_are_refused_with_what_to_do(tmp_path: Path, ledger: FakeLedger) -> None:
    path = path_of(tmp_path, BUNDLE)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(IndexDamaged, match=r"is damaged .* edge-cxr index rebuild"):
        check_index(tmp_path, ledger, BUNDLE)
    path.unlink()
    with pytest.raises(IndexDamaged, match=r"there is no index .*; run edge-cxr index rebuild"):
        check_index(tmp_path, ledger, BUNDLE)


def test_an_index_of_nothing_agrees_with_a_ledger_of_nothing(tmp_path: Path) -> None:
    save(path_of(tmp_path, BUNDLE), Stamp(BUNDLE, 128, "f16", 0, 0, "0"), empty_index(128).save())
    assert check_index(tmp_path, FakeLedger(), BUNDLE).faults == []
