"""Forgotten: no byte of the case is left below the state folder, whatever happens half-way, and others are unharmed."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import apsw
import numpy as np
import pytest
from file_locks import begun_and_waits, kept_waiting
from kept_cases import finish, tree
from kill_points import killed_at
from reports import BUNDLE, refused, scored, sha, sighting_of

from edge.errors import StateError, UsageError
from edge.forget import Forgotten, forget
from edge.mentions import result_without
from edge.outputs.durable import write_durably
from edge.outputs.report_json import encode, report_json, write_result
from edge.requeue import choose, requeue
from edge.shadow_pairs import ShadowPair, Verdict
from edge.state import StateFolder, files_held, open_state
from edge.store import Ledger
from edge.upkeep import Document, Mentions, Upkeep
from edge.values import Neighbour, Reason, Report, Source

OTHER = "0" * 64
PIXELS = np.random.default_rng(9).integers(0, 65536, 1000, np.uint16).tobytes()
GONE = "3e1f5a7c9b2d4860" + sha(77)[16:]  # a digest that no other case's begins like
CASE = GONE[:16]


def gone(**changes: object) -> Report:
    report = scored(1, instance="i" * 64)
    assert report.source is not None
    return replace(report, sha256=GONE, source=replace(report.source, sha256=GONE), **changes)  # type: ignore[arg-type]


def near_gone(number: int) -> Report:
    report = scored(number)
    return replace(report, neighbours=(Neighbour(CASE, 0.25, None, 0.5), *report.neighbours))


def told_gone(number: int, reason: Reason, detail: str) -> Report:
    source = Source(sha(number), "dicom", 30, 20, "p" * 64, "AP", instance_key="i" * 64)
    return replace(refused(number, reason), source=source, detail=detail)


def fill(state: StateFolder, ledger: Ledger, incoming: Path, *, others: int = 60) -> Path:
    """Cases among which one is to be forgotten; returns where its file stays in the incoming folder."""
    incoming.mkdir(exist_ok=True)
    for number in range(100, 100 + others):
        finish(scored(number), state, ledger, incoming, after="delete")
    finish(gone(), state, ledger, incoming, content=PIXELS)
    finish(gone(bundle_id=OTHER, reason=Reason.CONFLICT, prediction=None), state, ledger, incoming, content=PIXELS)
    kept = finish(gone(bundle_id="1" * 64), state, ledger, incoming, after="keep", content=PIXELS)
    finish(near_gone(2), state, ledger, incoming)
    detail = f"the same radiograph has its result as case {CASE}"
    finish(told_gone(3, Reason.DUPLICATE, detail), state, ledger, incoming)
    detail = f"case {CASE} has the same SOPInstanceUID and other pixels; find out which is right"
    finish(told_gone(4, Reason.CONFLICT, detail), state, ledger, incoming)
    for number in range(300, 300 + others):
        finish(scored(number), state, ledger, incoming, after="delete")
    # Asked for again and judged again: the earlier reports are superseded, and one names the case.
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        upkeep.ask_again([GONE, sha(2)])
    finish(gone(), state, ledger, incoming, content=PIXELS)
    finish(scored(2), state, ledger, incoming)
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        requeue(choose(upkeep, [CASE]), state, upkeep)
    verdict = Verdict(0.5, True, None, 0.25)
    assert ledger.record_shadow(ShadowPair(GONE, BUNDLE, "d" * 64, verdict, verdict))
    (state.archive / f"{CASE}.dcm").write_bytes(PIXELS)
    (state.archive / f".{CASE}.dcm.part").write_bytes(PIXELS[:900])
    (state.results(BUNDLE) / f".{CASE}.json.part").write_bytes(b"{")
    state.index.mkdir()
    (state.index / "bbbbbbbbbbbb.usearch").write_bytes(b"head" + embedding().astype("<f2").tobytes())
    return kept


def embedding() -> np.ndarray:
    prediction = gone().prediction
    assert prediction is not None
    return prediction.embedding


def remains(root: Path) -> set[str]:
    """What a look at every byte below a folder still finds of the case: also parts of what was longer."""
    traces = {"digest": [GONE.encode()], "raw digest": [bytes.fromhex(GONE)], "case id": [CASE.encode()]}
    for name, content in (
        ("embedding", embedding().astype("<f4").tobytes()),
        ("embedding in an index", embedding().astype("<f2").tobytes()),
        ("pixels", PIXELS),
    ):
        traces[name] = [content[start : start + 24] for start in range(0, len(content) - 24, 24)]
    files = [path for path in root.rglob("*") if path.is_file()]
    found = {name for path in files for name in traces if CASE in path.name and name == "case id"}
    for path in files:
        content = path.read_bytes()
        found |= {name for name, parts in traces.items() if any(part in content for part in parts)}
    return found


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


@pytest.fixture
def daemon(state: StateFolder) -> Iterator[Ledger]:
    """The daemon's own connection, open all the while: the log beside the ledger is not emptied by a close."""
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        yield ledger


@pytest.fixture
def upkeep(state: StateFolder, daemon: Ledger) -> Iterator[Upkeep]:
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        yield ledger


def test_no_byte_of_the_case_is_left(state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path) -> None:
    fill(state, daemon, tmp_path / "incoming")
    everything = {"digest", "case id", "embedding", "embedding in an index", "pixels"}
    assert remains(state.root) == everything
    assert (state.root / "ledger.sqlite-wal").stat().st_size > 0
    assert forget([CASE], state, upkeep) == [Forgotten(CASE, files=7, mentions=3)]
    assert remains(state.root) == set()
    assert daemon.reports(CASE) == []
    assert daemon.finished(GONE) is None
    assert list(state.index.glob("*")) == [state.index / ".lock"]


def test_a_ledger_that_is_only_told_to_delete_is_caught(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    """The look at every byte would see it if deleted rows were not overwritten."""
    fill(state, daemon, tmp_path / "incoming")
    upkeep._connection.pragma("secure_delete", False)
    forget([CASE], state, upkeep)
    assert remains(state.root) >= {"embedding"}


def test_a_log_that_is_not_emptied_is_caught(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    class Forgetful(Upkeep):
        def clear_log(self, *, tries: int = 0, wait_s: float = 0) -> None:
            pass

    fill(state, daemon, tmp_path / "incoming")
    with Forgetful(state.ledger, site_key=state.site_key) as ledger:
        forget([CASE], state, ledger)
    assert remains(state.root) >= {"embedding", "digest"}


def test_other_cases_keep_all_but_the_name(state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path) -> None:
    fill(state, daemon, tmp_path / "incoming")
    before = {number: daemon.reports(sha(number)[:16]) for number in (2, 3, 4, 100, 359)}
    unconcerned = {
        name: held
        for name, held in tree(state.root).items()
        if CASE.encode() not in held and CASE not in name and not name.startswith("index")
    }
    forget([CASE], state, upkeep)
    after = {number: daemon.reports(sha(number)[:16]) for number in before}
    duplicate = {**before[3][0], "detail": "the same radiograph has its result as a case that was forgotten"}
    detail = "a case that was forgotten has the same SOPInstanceUID and other pixels; find out which is right"
    assert after == {**before, 3: [duplicate], 4: [{**before[4][0], "detail": detail}]}
    reason = json.loads((state.quarantine / f"{sha(4)[:16]}.reason.json").read_bytes())
    assert reason == {"case_id": sha(4)[:16], "reason": "conflict", "detail": detail}
    for number, reports in after.items():
        (result,) = state.root.glob(f"results/*/{sha(number)[:16]}.json")
        assert [json.loads(result.read_bytes())] == reports
        (text,) = (daemon._connection.execute("SELECT report FROM cases WHERE sha256 = ?", (sha(number),)).get,)
        assert result.read_text() == text
    assert {name: held for name, held in tree(state.root).items() if name in unconcerned} == unconcerned
    assert len(daemon.earlier_cases(BUNDLE)) == 121


def test_a_neighbour_goes_and_the_rest_of_the_report_stays(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    (tmp_path / "incoming").mkdir()
    finish(gone(), state, daemon, tmp_path / "incoming")
    finish(near_gone(2), state, daemon, tmp_path / "incoming")
    forget([CASE], state, upkeep)
    assert daemon.reports(sha(2)[:16]) == [report_json(scored(2))]


def test_a_report_that_comes_meanwhile_loses_the_name_too(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    """Recorded after the search, before the commit."""
    (tmp_path / "incoming").mkdir()
    finish(gone(), state, daemon, tmp_path / "incoming")
    finish(near_gone(2), state, daemon, tmp_path / "incoming")
    waiting = [3]

    def record_one_more(*_: object) -> None:
        if waiting:
            finish(near_gone(waiting.pop()), state, daemon, tmp_path / "incoming")

    upkeep._connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda seen: "BEGIN" in seen["sql"] and record_one_more())
    assert forget([CASE], state, upkeep)[0].mentions == 2
    assert not waiting
    assert remains(state.root) == set()


def test_a_file_that_still_lies_there_is_not_taken_again(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    kept = fill(state, daemon, tmp_path / "incoming")
    forget([CASE], state, upkeep)
    assert daemon.changed_elsewhere()
    assert daemon.is_known(sighting_of(kept))
    moved = kept.rename(kept.with_name("other.dcm"))  # or the share was mounted anew
    assert not daemon.is_known(sighting_of(moved))
    assert daemon.remember_forgotten(sighting_of(moved), GONE)
    assert daemon.is_known(sighting_of(moved))
    assert not daemon.remember_forgotten(sighting_of(moved), sha(2))
    assert remains(state.root) == set()


def test_a_reader_that_holds_the_log_is_named_and_the_same_call_finishes(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    class Impatient(Upkeep):
        def clear_log(self, *, tries: int = 2, wait_s: float = 0.05) -> None:
            super().clear_log(tries=tries, wait_s=wait_s)

    fill(state, daemon, tmp_path / "incoming")
    reader = apsw.Connection(str(state.ledger), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM cases").fetchall()
    fault = r"another program reads the ledger .* close that program and run it again"
    with Impatient(state.ledger, site_key=state.site_key) as ledger, pytest.raises(StateError, match=fault):
        forget([CASE], state, ledger)
    assert remains(state.root) != set()
    release = threading.Timer(0.3, reader.close)
    release.start()  # it is waited for
    assert forget([CASE], state, upkeep) == [Forgotten(CASE, files=0, mentions=0)]
    release.join()
    assert remains(state.root) == set()


def test_killed_at_any_point_it_is_finished_by_the_same_call(tmp_path: Path) -> None:
    points = 0
    while True:
        state = open_state(tmp_path / str(points) / "state")
        with Ledger(state.ledger, site_key=state.site_key) as ledger:
            kept = fill(state, ledger, tmp_path / str(points) / "incoming", others=5)

        def once(state: StateFolder = state) -> None:
            with Upkeep(state.ledger, site_key=state.site_key) as ledger:
                forget([CASE], state, ledger)

        killed = killed_at(points + 1, once)
        once()
        assert remains(state.root) == set()
        with Ledger(state.ledger, site_key=state.site_key) as ledger:
            assert ledger.is_known(sighting_of(kept))
            assert len(ledger.earlier_cases(BUNDLE)) == 11
        if not killed:
            break
        points += 1
    assert points >= 11  # three files rewritten, seven removed, and the index


@pytest.mark.parametrize("case_id", ["0" * 16, "chest.dcm", CASE.upper()])
def test_an_unknown_case_is_named_and_nothing_is_removed(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path, case_id: str
) -> None:
    fill(state, daemon, tmp_path / "incoming")
    before = tree(state.root)
    with pytest.raises(UsageError, match=case_id):
        forget([CASE, case_id], state, upkeep)
    assert tree(state.root) == before
    assert len(daemon.reports(CASE)) == 3


def test_other_cases_of_a_patient_are_found(daemon: Ledger, upkeep: Upkeep, state: StateFolder, tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    for number, patient in ((1, "a"), (2, "b"), (3, "a"), (4, None), (5, None)):
        report = scored(number)
        assert report.source is not None
        report = replace(report, source=replace(report.source, patient_key=patient))
        finish(report, state, daemon, tmp_path / "incoming")
    first, second, third, fourth, _ = (sha(number)[:16] for number in range(1, 6))
    assert upkeep.same_patient([first]) == [third]
    assert upkeep.same_patient([first, second, third]) == []
    assert upkeep.same_patient([fourth]) == []  # no PatientID is nobody's


def test_several_at_once(state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path) -> None:
    fill(state, daemon, tmp_path / "incoming")
    told = forget([CASE, sha(2)[:16], CASE], state, upkeep)
    assert [case.case_id for case in told] == [CASE, sha(2)[:16]]
    assert daemon.reports(CASE) == daemon.reports(sha(2)[:16]) == []
    assert remains(state.root) == set()


def test_what_is_judged_again_while_it_is_forgotten_can_be_forgotten_again(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    fill(state, daemon, tmp_path / "incoming")
    forget([CASE], state, upkeep)
    finish(gone(), state, daemon, tmp_path / "incoming", content=PIXELS)
    assert remains(state.root) != set()
    assert forget([CASE], state, upkeep) == [Forgotten(CASE, files=2, mentions=0)]
    assert remains(state.root) == set()


def test_the_daemon_writes_while_a_reader_is_waited_for(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    """A checkpoint that waits for a reader lets nobody write: it must not wait for as long as the daemon would."""
    finish(scored(1), state, daemon, tmp_path)
    reader = apsw.Connection(str(state.ledger), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM cases").fetchall()
    finish(scored(2), state, daemon, tmp_path)
    daemon._connection.set_busy_timeout(2_000)
    clearing = threading.Thread(target=lambda: upkeep.clear_log(tries=1_000, wait_s=0.1))
    clearing.start()
    number = 3
    for number in range(3, 10):
        finish(scored(number), state, daemon, tmp_path)
        assert clearing.is_alive()
    reader.close()
    clearing.join(60)
    assert not clearing.is_alive()
    assert (state.root / "ledger.sqlite-wal").stat().st_size == 0
    assert len(daemon.earlier_cases(BUNDLE)) == number


def test_a_result_that_the_daemon_writes_meanwhile_is_not_undone(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    """The other case is judged again while its file is about to be rewritten."""
    finish(gone(), state, daemon, tmp_path)
    finish(near_gone(2), state, daemon, tmp_path)
    upkeep.ask_again([sha(2)])
    anew = scored(2, score=0.125)
    result = state.results(BUNDLE) / f"{anew.case_id}.json"
    with kept_waiting(state, lambda: forget([CASE], state, upkeep)):
        assert CASE in result.read_text()
        write_result(state.results(BUNDLE), anew.case_id, encode(anew))
        daemon.record(anew, encode(anew), None)
    assert result.read_text() == encode(anew)
    assert daemon.reports(anew.case_id) == [report_json(anew)]
    assert remains(state.root) == set()  # not even in the report that was superseded


def test_a_case_whose_file_is_being_put_away_is_forgotten_after_that(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    incoming = tmp_path / "chest.dcm"
    incoming.write_bytes(PIXELS)
    sighting = sighting_of(incoming)
    write_result(state.results(BUNDLE), CASE, encode(gone()))
    daemon.record(gone(), encode(gone()), sighting)
    with kept_waiting(state, lambda: forget([CASE], state, upkeep)):
        assert len(daemon.reports(CASE)) == 1
        write_durably(state.archive / f"{CASE}.dcm", PIXELS)
        assert len(tree(state.archive)) == 1
    assert remains(state.root) == set()


def test_what_comes_back_at_the_commit_comes_back_whole(state: StateFolder, daemon: Ledger, tmp_path: Path) -> None:
    """Between the commit and the removal of the files the daemon waits, or its new result would go with the old."""
    finish(gone(), state, daemon, tmp_path, content=PIXELS)
    came_back: list[Callable[[], None]] = []

    def write_again() -> None:
        with files_held(state):
            finish(gone(), state, daemon, tmp_path, content=PIXELS)

    class Overtaken(Upkeep):
        def forget(self, found: Mentions, blank: Callable[[str], str], before: Callable[[Document], None]) -> int:
            mentions = super().forget(found, blank, before)
            came_back.append(begun_and_waits(write_again))
            return mentions

    with Overtaken(state.ledger, site_key=state.site_key) as ledger:
        forget([CASE], state, ledger)
    came_back[0]()
    assert len(daemon.reports(CASE)) == 1
    assert set(tree(state.root)) >= {f"archive/{CASE}.dcm", f"results/{BUNDLE[:12]}/{CASE}.json"}


def test_nobody_waits_while_millions_of_reports_are_searched(
    state: StateFolder, daemon: Ledger, tmp_path: Path
) -> None:
    class Searching(Upkeep):
        def mentions(self, case_id: str) -> Mentions:
            with files_held(state):
                finish(near_gone(2), state, daemon, tmp_path)
            return super().mentions(case_id)

    finish(gone(), state, daemon, tmp_path)
    with Searching(state.ledger, site_key=state.site_key) as ledger:
        forget([CASE], state, ledger)
    assert remains(state.root) == set()


@pytest.mark.parametrize("rest", [b"", b"\xff\xfe"])
def test_a_damaged_file_of_another_case_is_written_as_the_ledger_has_it(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path, rest: bytes
) -> None:
    detail = f"case {CASE} has the same SOPInstanceUID and other pixels; find out which is right"
    finish(gone(), state, daemon, tmp_path)
    finish(near_gone(2), state, daemon, tmp_path)
    finish(told_gone(4, Reason.CONFLICT, detail), state, daemon, tmp_path)
    result = state.results(BUNDLE) / f"{sha(2)[:16]}.json"
    reason = state.quarantine / f"{sha(4)[:16]}.reason.json"
    for path in (result, reason):
        path.write_bytes(path.read_bytes()[:-20] + rest)
        assert CASE.encode() in path.read_bytes()
    forget([CASE], state, upkeep)
    assert remains(state.root) == set()
    assert result.read_text() == encode(scored(2))
    unnamed = detail.replace(f"case {CASE}", "a case that was forgotten")
    assert json.loads(reason.read_bytes()) == {"case_id": sha(4)[:16], "reason": "conflict", "detail": unnamed}


def test_a_damaged_file_is_not_written_as_it_was_superseded(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path
) -> None:
    """Judged again since: the earlier report names the case too, and is no longer the result."""
    finish(gone(), state, daemon, tmp_path)
    finish(near_gone(2), state, daemon, tmp_path)
    upkeep.ask_again([sha(2)])
    anew = scored(2, score=0.125)
    finish(anew, state, daemon, tmp_path)
    result = state.results(BUNDLE) / f"{anew.case_id}.json"
    result.write_text(f"damaged {CASE}")
    assert forget([CASE], state, upkeep)[0].mentions == 1
    assert result.read_text() == encode(anew)


def test_results_that_were_removed_stay_so(state: StateFolder, daemon: Ledger, upkeep: Upkeep, tmp_path: Path) -> None:
    finish(gone(), state, daemon, tmp_path)
    finish(near_gone(2), state, daemon, tmp_path)
    for result in state.results(BUNDLE).iterdir():
        result.unlink()
    assert forget([CASE], state, upkeep)[0].mentions == 1
    assert tree(state.root / "results") == {}


def test_a_report_superseded_between_two_forgets_at_once_is_not_missed(
    state: StateFolder, daemon: Ledger, tmp_path: Path
) -> None:
    """The second forget removes the last superseded report: were its number given again, the first would not look."""
    fill(state, daemon, tmp_path / "incoming", others=1)
    finish(scored(8), state, daemon, tmp_path / "incoming")
    finish(near_gone(9), state, daemon, tmp_path / "incoming")
    with (
        Upkeep(state.ledger, site_key=state.site_key) as first,
        Upkeep(state.ledger, site_key=state.site_key) as second,
    ):
        second.ask_again([sha(8)])
        finish(scored(8, score=0.5), state, daemon, tmp_path / "incoming")
        found = first.mentions(CASE)
        forget([sha(8)[:16]], state, second)
        second.ask_again([sha(9)])
        finish(scored(9), state, daemon, tmp_path / "incoming")  # the report that names the case is superseded only now
        first.forget(found, partial(result_without, CASE), lambda document: None)
    reports = daemon._all("SELECT report FROM superseded")
    assert reports
    assert not [report for (report,) in reports if CASE in report]
