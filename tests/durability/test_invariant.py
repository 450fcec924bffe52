"""The check of the proofs: it passes a box that did well, and names what is lost, twice or half."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from benchmarks.durability.bench import Bench, bench
from benchmarks.durability.invariant import Findings, check, check_at_once
from benchmarks.durability.radiographs import small_set

SECOND_ROW = (
    "INSERT INTO cases SELECT 99, sha256, 'other', case_id, status, reason, score, label, instance_key, patient_key, "
    "pixels_sha256, embedding, report, finished_s FROM cases WHERE number = 1"
)


@pytest.fixture(scope="module")
def done() -> Iterator[Bench]:
    with bench(small_set()) as place:
        place.fresh()
        assert place.run(after="archive").exit_code == 0
        yield place


def spoiled(done: Bench, tmp_path: Path, spoil: Callable[[Path], object]) -> Findings:
    state = shutil.copytree(done.state, tmp_path / "state")
    spoil(state)
    return check(done.incoming, state, done.files, after="archive")


def result(state: Path) -> Path:
    return min(state.glob("results/*/*.json"))


def sql(state: Path, statement: str) -> None:
    connection = apsw.Connection(str(state / "ledger.sqlite"))
    connection.execute(statement)
    connection.close()


def test_a_box_that_did_well_passes(done: Bench, tmp_path: Path) -> None:
    found = spoiled(done, tmp_path, lambda state: None)
    assert found.lines == []
    assert not found


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("lost", lambda state: result(state).unlink()),
        ("lost", lambda state: sql(state, "DELETE FROM cases WHERE number = 2")),
        ("lost", lambda state: min((state / "archive").iterdir()).unlink()),
        ("lost", lambda state: min((state / "quarantine").glob("*.reason.json")).unlink()),
        ("lost", lambda state: shutil.rmtree(state / "quarantine")),
        ("lost", lambda state: min((state / "archive").iterdir()).write_bytes(b"other")),
        ("duplicated", lambda state: shutil.copytree(result(state).parent, state / "results" / "another")),
        ("duplicated", lambda state: sql(state, SECOND_ROW)),
        ("partial", lambda state: result(state).write_bytes(result(state).read_bytes()[:-9])),
        ("partial", lambda state: result(state).write_text(result(state).read_text().replace("fp32", "int8"))),
        ("partial", lambda state: (state / "archive" / ".x.dcm.part").write_bytes(b"")),
    ],
)
def test_what_went_wrong_is_named(done: Bench, tmp_path: Path, kind: str, spoil: Callable[[Path], object]) -> None:
    found = spoiled(done, tmp_path, spoil)
    assert found.counts()[kind] > 0, found.lines


def test_an_input_that_is_gone_before_its_result_is_noticed_at_once(done: Bench, tmp_path: Path) -> None:
    state = shutil.copytree(done.state, tmp_path / "state")
    assert not check_at_once(done.incoming, state, done.files, after="archive")
    sql(state, "DELETE FROM cases WHERE number = 1")
    assert check_at_once(done.incoming, state, done.files, after="archive").lost > 0


def test_an_input_may_be_set_aside_under_another_name_at_a_crash(done: Bench, tmp_path: Path) -> None:
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    (state := tmp_path / "nothing").mkdir()
    for file in done.files:
        (incoming / f".aside-{file.name}").write_bytes(file.content)
    assert check_at_once(incoming, state, done.files, after="archive").lines == []
