"""The daemon's stages beside an operator's commands: what was forgotten or asked for again at any moment holds."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from file_locks import kept_waiting
from kept_cases import finish, tree
from reports import BUNDLE, refused, scored, sha, sighting_of, source
from single_stages import decoding, pipeline_in, seen, taking, writing

from edge.errors import Bomb
from edge.forget import forget
from edge.inbox import Inbox
from edge.outputs.report_json import report_json
from edge.pipeline import Pipeline
from edge.requeue import choose, requeue
from edge.snapshot import Snapshot
from edge.stages import Taken
from edge.state import StateFolder, open_state
from edge.store import Ledger
from edge.upkeep import Upkeep
from edge.values import FinishedCase, Neighbour, Reason, Report


class Refusing:
    """A decoder; what comes to it is judged."""

    def decode(self, frozen: Snapshot) -> None:
        raise Bomb("it was decoded")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return pipeline_in(tmp_path_factory.mktemp("bundle"), Refusing())


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


@pytest.fixture
def ledger(state: StateFolder) -> Iterator[Ledger]:
    with Ledger(state.ledger, site_key=state.site_key) as opened:
        yield opened


def forget_now(state: StateFolder, *case_ids: str) -> None:
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        forget(case_ids, state, upkeep)


def of_bytes(number: int, content: bytes) -> Report:
    """The report of a file with these bytes."""
    digest = hashlib.sha256(content).hexdigest()
    return replace(scored(number), sha256=digest, source=replace(source(number), sha256=digest))


def test_a_first_case_that_is_asked_for_again_is_no_duplicate_of_its_duplicate(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    finished: list[Report] = []
    write = writing(pipeline, ledger, state, finished=finished.append)
    for number in (1, 2):
        write(Taken(seen(tmp_path, f"{number}.dcm"), 0.0, report=scored(number, instance="i")))
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        requeue(choose(upkeep, [sha(1)[:16]]), state, upkeep)
    write(Taken(seen(tmp_path, "1.dcm"), 0.0, report=scored(1, instance="i")))
    assert [report.reason for report in finished] == [None, "duplicate", None]


def test_a_report_that_waited_does_not_name_what_was_forgotten_meanwhile(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    gone = sha(1)[:16]
    finish(scored(1, instance="i"), state, ledger, tmp_path)
    finish(scored(9), state, ledger, tmp_path)
    near = tuple(Neighbour(case_id, 0.25, None, 0.5) for case_id in (gone, sha(9)[:16], "reference"))
    detail = f"the same radiograph has its result as case {gone}"
    waited = [
        replace(scored(2), neighbours=near),
        replace(refused(3, Reason.DUPLICATE), source=source(3, instance="i"), detail=detail),
    ]
    forget_now(state, gone)
    finished: list[Report] = []
    put_away: list[FinishedCase] = []
    write = writing(pipeline, ledger, state, finished=finished.append, put_away=put_away.append)
    for number, report in enumerate(waited, start=2):
        write(Taken(seen(tmp_path, f"{number}.dcm"), 0.0, report=report))
    detail = "the same radiograph has its result as a case that was forgotten"
    expected = [replace(waited[0], neighbours=near[1:]), replace(waited[1], detail=detail)]
    assert [report_json(report) for report in finished] == [report_json(report) for report in expected]
    assert [ledger.reports(report.case_id) for report in expected] == [[report_json(report)] for report in expected]
    assert put_away[1].detail == detail
    assert [name for name, held in tree(state.root).items() if gone.encode() in held] == []


def test_a_neighbour_that_came_back_is_named(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    finish(scored(1), state, ledger, tmp_path)
    forget_now(state, sha(1)[:16])
    finish(scored(1), state, ledger, tmp_path)
    near = (Neighbour(sha(1)[:16], 0.25, None, 0.5),)
    finished: list[Report] = []
    write = writing(pipeline, ledger, state, finished=finished.append)
    write(Taken(seen(tmp_path, "2.dcm"), 0.0, report=replace(scored(2), neighbours=near)))
    assert finished[0].neighbours == near


def test_a_result_its_row_and_its_file_come_in_one_step_for_the_commands(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    put_away: list[bool] = []
    write = writing(pipeline, ledger, state, put_away=lambda case: put_away.append(_is_free(state)))
    with kept_waiting(state, lambda: write(Taken(seen(tmp_path, "1.dcm"), 0.0, report=scored(1)))):
        assert tree(state.root / "results") == {}
        assert ledger.reports(sha(1)[:16]) == []
        # What it names may still be forgotten, and its twin have its result.
        finish(scored(2, instance="i"), state, ledger, tmp_path)
    assert put_away == [False]
    assert _is_free(state)
    assert len(ledger.reports(sha(1)[:16])) == len(tree(state.results(BUNDLE))) - 1 == 1


def test_what_waited_for_a_command_is_not_written_after_a_wrong_known_answer(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    faults: list[str] = []
    put_away: list[FinishedCase] = []
    finished: list[Report] = []
    write = writing(
        pipeline, ledger, state, put_away=put_away.append, finished=finished.append, is_faulty=lambda: bool(faults)
    )
    with kept_waiting(state, lambda: write(Taken(seen(tmp_path, "1.dcm"), 0.0, report=scored(1)))):
        faults.append("a known answer was wrong")
    assert tree(state.root / "results") == {}
    assert ledger.reports(sha(1)[:16]) == put_away == finished == []


def _is_free(state: StateFolder) -> bool:
    descriptor = os.open(state.root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def test_what_was_done_before_a_report_could_be_written_counts(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path
) -> None:
    """Looked at only once nobody can change it any more."""
    finished: list[Report] = []
    write = writing(pipeline, ledger, state, finished=finished.append)
    with kept_waiting(state, lambda: write(Taken(seen(tmp_path, "1.dcm"), 0.0, report=scored(1, instance="i")))):
        finish(scored(2, instance="i"), state, ledger, tmp_path)
    assert [report.reason for report in finished] == ["duplicate"]


@pytest.mark.parametrize("stays", [True, False])
def test_a_copy_of_what_is_forgotten_meanwhile_is_not_put_away(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path, stays: bool
) -> None:
    copy = seen(tmp_path, "copy.dcm")
    report = of_bytes(1, b"copy.dcm")
    finish(report, state, ledger, tmp_path, after="delete")
    put_away: list[FinishedCase] = []
    take = taking(
        ledger,
        state,
        Inbox(tmp_path, lambda _: False),
        put_away=put_away.append,
        stays=stays,
    )
    taken: list[Taken | None] = []
    with kept_waiting(state, lambda: taken.append(take(copy))), Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        upkeep.forget(upkeep.mentions(report.case_id), str, print)
    assert put_away == []
    if stays:  # nothing tells it from the file that was left
        assert taken == [None]
        assert ledger.is_known(copy)
    else:
        assert taken[0] is not None
        taken[0].close()
    rows = ledger._connection.execute("SELECT count(*) FROM sightings WHERE sha256 = ?", (report.sha256,))
    assert rows.get == 0


@pytest.mark.parametrize("stays", [True, False])
def test_a_case_that_came_back_after_it_was_forgotten_is_judged_when_it_is_asked_for(
    pipeline: Pipeline, ledger: Ledger, state: StateFolder, tmp_path: Path, stays: bool
) -> None:
    content = b"came back"
    report = of_bytes(1, content)
    finish(report, state, ledger, tmp_path, content=content)
    forget_now(state, report.case_id)
    put_away: list[FinishedCase] = []
    inbox = Inbox(tmp_path, lambda _: False)
    take = taking(ledger, state, inbox, put_away=put_away.append, stays=stays)
    finish(report, state, ledger, tmp_path, content=content)  # it was being scored meanwhile
    (tmp_path / "copy.dcm").write_bytes(content)
    assert take(sighting_of(tmp_path / "copy.dcm")) is None
    assert [case.case_id for case in put_away] == [report.case_id]  # it has its result, forgotten before or not
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        assert requeue(choose(upkeep, [report.case_id]), state, upkeep).moved == 1
    (waiting,) = state.requeued.iterdir()
    taken = take(sighting_of(waiting))
    assert taken is not None
    refused = decoding(pipeline)(taken)
    assert refused is not None
    assert refused.report is not None
    assert refused.report.reason == "bomb"
