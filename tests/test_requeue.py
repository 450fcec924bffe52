"""Asked for again: the file waits for the daemon, the old result stays until then, and no crash loses anything."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from file_locks import kept_waiting
from kept_cases import finish, tree
from kill_points import killed_at
from reports import BUNDLE, refused, scored, sha, sighting_of

from edge.audit import Event
from edge.audit_log import AuditLog
from edge.errors import StateError, UsageError
from edge.requeue import Requeued, choose, requeue
from edge.snapshot import snapshot
from edge.state import StateFolder, open_state
from edge.store import Ledger
from edge.upkeep import Upkeep
from edge.values import Reason

OTHER = "0" * 64


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return open_state(tmp_path / "state")


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    return tmp_path / "incoming"


@pytest.fixture
def daemon(state: StateFolder) -> Iterator[Ledger]:
    """The daemon's own connection, open all the while."""
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        yield ledger


@pytest.fixture
def upkeep(state: StateFolder, daemon: Ledger) -> Iterator[Upkeep]:
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        yield ledger


def ids(*numbers: int) -> list[str]:
    return [sha(number)[:16] for number in numbers]


def test_files_of_archive_and_quarantine_wait_and_results_stay(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    finish(scored(1), state, daemon, incoming)
    finish(refused(2), state, daemon, incoming)
    kept = finish(scored(3), state, daemon, incoming, after="keep")
    finish(scored(4), state, daemon, incoming)
    results = tree(state.root / "results")
    assert requeue(choose(upkeep, ids(1, 2, 3)), state, upkeep) == Requeued(cases=3, moved=2, awaited=1)
    assert tree(state.requeued) == {f"{ids(1)[0]}.dcm": sha(1).encode(), f"{ids(2)[0]}.dcm": sha(2).encode()}
    assert tree(state.quarantine) == {}
    assert list(tree(state.archive)) == [f"{ids(4)[0]}.dcm"]
    assert tree(state.root / "results") == results
    assert daemon.changed_elsewhere()
    assert [daemon.finished(sha(number)) is None for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert not daemon.is_known(sighting_of(kept))
    assert [len(daemon.reports(case_id)) for case_id in ids(1, 2, 3)] == [1, 1, 1]


def test_a_file_that_a_backup_has_linked_is_judged_again(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    """As cp -al does it: a name more, outside."""
    finish(scored(1), state, daemon, incoming)
    (incoming / "backup").hardlink_to(state.archive / f"{ids(1)[0]}.dcm")
    assert requeue(choose(upkeep, ids(1)), state, upkeep).moved == 1
    (waiting,) = state.requeued.iterdir()
    with snapshot(waiting, root=state.requeued) as frozen:
        assert frozen.size_bytes == 64
    assert tree(state.archive) == {}


def test_who_asks_is_looked_up_once_and_while_nobody_waits(
    state: StateFolder, daemon: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory service may take long to answer."""
    asked = []

    def answering() -> str:
        asked.append(1)
        daemon.note(Event.STARTED, {})  # it is not locked
        return "weber"

    monkeypatch.setattr("edge.upkeep.operator", answering)
    daemon._connection.set_busy_timeout(0)
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        ledger.ask_again([sha(number) for number in (1, 2, 3)])
    assert len(asked) == 1
    with AuditLog(state.ledger, site_key=state.site_key) as log:
        assert [entry.detail for entry in log.entries(event=Event.REQUEUED)] == [{"by": "weber"}] * 3
        assert log.verify().fault_count == 0


def test_killed_at_any_point_it_is_finished_by_the_same_call(tmp_path: Path) -> None:
    """Each time anew, killed one change later, until it was not killed."""
    points = 0
    while True:
        here = tmp_path / str(points)
        here.mkdir()
        state = open_state(here / "state")
        with Ledger(state.ledger, site_key=state.site_key) as ledger:
            finish(scored(1), state, ledger, here)
            finish(refused(2), state, ledger, here)

        def again(state: StateFolder = state) -> Requeued:
            with Upkeep(state.ledger, site_key=state.site_key) as ledger:
                return requeue(choose(ledger, ids(1, 2)), state, ledger)

        killed = killed_at(points + 1, again)
        held = {content for name, content in tree(state.root).items() if name.endswith(".dcm")}
        assert held == {sha(1).encode(), sha(2).encode()}, "a radiograph is lost"
        assert again() == Requeued(cases=2, moved=2, awaited=0)
        assert set(tree(state.requeued)) == {f"{case_id}.dcm" for case_id in ids(1, 2)}
        assert tree(state.quarantine) == tree(state.archive) == {}
        if not killed:
            break
        points += 1
    assert points >= 4  # the new folder, two moves, the reason


def test_the_daemon_is_told_before_the_file_moves(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    """Or it would take the file, find its case finished, and put it away again."""
    finish(scored(1), state, daemon, incoming)
    state.requeued.touch()  # no folder: the move fails
    with pytest.raises(StateError):
        requeue(choose(upkeep, ids(1)), state, upkeep)
    assert daemon.finished(sha(1)) is None
    assert list(tree(state.archive)) == [f"{ids(1)[0]}.dcm"]


def test_a_reason_that_the_daemon_wrote_meanwhile_stays(state: StateFolder, daemon: Ledger, incoming: Path) -> None:
    """It has judged the file again before the command has come to its end."""

    class Slow(Upkeep):
        def ask_again(self, digests: Sequence[str]) -> None:
            super().ask_again(digests)
            (waiting,) = state.quarantine.glob("*.dcm")
            waiting.rename(incoming / waiting.name)  # taken ...
            finish(refused(1), state, daemon, incoming)  # ... and put away again: the file is the newer one
            (state.quarantine / waiting.name).unlink()

    finish(refused(1), state, daemon, incoming)
    reason = state.quarantine / f"{ids(1)[0]}.reason.json"
    before = reason.stat().st_ino
    with Slow(state.ledger, site_key=state.site_key) as ledger:
        requeue(choose(ledger, ids(1)), state, ledger)
    assert reason.stat().st_ino != before


def test_no_file_moves_while_others_have_them(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    """Nor does what stood in the archive when it was looked at have to be there still."""
    finish(scored(1), state, daemon, incoming)
    archived = state.archive / f"{ids(1)[0]}.dcm"
    with kept_waiting(state, lambda: requeue(choose(upkeep, ids(1)), state, upkeep)):
        assert daemon.finished(sha(1)) is None
        assert archived.exists()
        archived.unlink()  # as by forget
    assert tree(state.requeued) == {}


def test_no_reason_goes_while_others_have_the_files(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    """Its file is gone already; meanwhile the daemon judges another copy, and says why anew."""
    finish(refused(1), state, daemon, incoming)
    (state.quarantine / f"{ids(1)[0]}.dcm").unlink()
    reason = state.quarantine / f"{ids(1)[0]}.reason.json"
    with kept_waiting(state, lambda: requeue(choose(upkeep, ids(1)), state, upkeep)):
        finish(refused(1), state, daemon, incoming)
        (state.quarantine / f"{ids(1)[0]}.dcm").unlink()
    assert reason.exists()


def test_unfinished_files_stay(state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path) -> None:
    finish(scored(1), state, daemon, incoming, after="keep")
    state.archive.mkdir()
    (state.archive / f".{ids(1)[0]}.dcm.part").write_bytes(b"half")
    assert requeue(choose(upkeep, ids(1)), state, upkeep).moved == 0


def test_chosen_by_reason_of_the_last_report(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    finish(refused(1), state, daemon, incoming)
    finish(refused(2, Reason.NO_PIXELS), state, daemon, incoming)
    finish(scored(3), state, daemon, incoming)
    finish(refused(4), state, daemon, incoming)
    finish(replace(scored(4), bundle_id=OTHER), state, daemon, incoming)  # judged again since: it has a score
    assert [case.sha256 for case in choose(upkeep, [], reasons=["truncated"])] == [sha(1)]
    assert [case.sha256 for case in choose(upkeep, [], reasons=["truncated", "no_pixels"])] == [sha(1), sha(2)]
    assert [case.sha256 for case in choose(upkeep, ids(3), reasons=["truncated"])] == [sha(3), sha(1)]


def test_chosen_by_the_bundle_of_the_last_report(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    for number in (1, 2):
        finish(scored(number), state, daemon, incoming)
    finish(replace(refused(3), bundle_id=OTHER), state, daemon, incoming)
    assert [case.sha256 for case in choose(upkeep, [], bundle_prefix=BUNDLE[:12])] == [sha(1), sha(2)]
    assert [case.sha256 for case in choose(upkeep, [], bundle_prefix="0", reasons=["truncated"])] == [sha(3)]
    finish(replace(scored(1), bundle_id=OTHER), state, daemon, incoming)
    assert [case.sha256 for case in choose(upkeep, [], bundle_prefix="b")] == [sha(2)]  # so run again, it goes on


def test_a_new_bundle_leaves_the_earlier_results(
    state: StateFolder, daemon: Ledger, upkeep: Upkeep, incoming: Path
) -> None:
    finish(scored(1), state, daemon, incoming)
    before = tree(state.results(BUNDLE))
    requeue(choose(upkeep, [], bundle_prefix="b"), state, upkeep)
    (waiting,) = state.requeued.iterdir()
    finish(replace(scored(1), bundle_id=OTHER), state, daemon, waiting.parent)
    assert tree(state.results(BUNDLE)) == before
    assert len(tree(state.results(OTHER))) == 1
    assert len(daemon.reports(ids(1)[0])) == 2


@pytest.mark.parametrize(
    ("case_ids", "reasons", "bundle", "message"),
    [
        ([], [], None, "no case was named; give case ids, --reason or --bundle-id"),
        (["0" * 16], [], None, "case 0{16} is not in the ledger"),
        (["chest.dcm"], [], None, "'chest.dcm' is no case id; one is 16 hex digits"),
        ([], ["truncate"], None, r"unknown reason 'truncate'; did you mean truncated\?"),
        ([], ["x"], None, "unknown reason 'x'; known reasons: unreadable, "),
        ([], ["bomb"], None, "no case has a last result with that reason and bundle"),
        ([], [], "c", "bundle that begins with 'c'; the ledger's bundles: 0{12}, b{12}$"),
        ([], [], "", "2 bundles begin with ''; give more digits"),
    ],
)
def test_what_chooses_nothing_is_refused_with_the_fix(
    state: StateFolder,
    daemon: Ledger,
    upkeep: Upkeep,
    incoming: Path,
    case_ids: list[str],
    reasons: list[str],
    bundle: str | None,
    message: str,
) -> None:
    finish(scored(1), state, daemon, incoming)
    finish(replace(scored(2), bundle_id=OTHER), state, daemon, incoming)
    with pytest.raises(UsageError, match=message):
        choose(upkeep, [*ids(1), *case_ids] if case_ids else [], reasons=reasons, bundle_prefix=bundle)
    assert daemon.finished(sha(1)) is not None
