"""What is kept: by age and by space, oldest first; never what is young, from the future, or judged by a wrong clock."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kept_cases import finish, tree
from reports import refused, scored, sha

from edge.config import Config
from edge.retention import Limits, Removed, Stored, expired, retain, trusted_since
from edge.state import StateFolder, open_state
from edge.store import Ledger

DAY_S, NOW_S = 86_400.0, 1_800_000_000.0
FOLDER = Path("archive")


def stored(number: int, age_s: float, size_bytes: int = 10) -> Stored:
    return Stored(FOLDER, (f"{number}.dcm",), size_bytes, NOW_S - age_s)


def test_by_age() -> None:
    files = [stored(1, 2 * DAY_S + 1), stored(2, 2 * DAY_S - 1), stored(3, 9 * DAY_S)]
    assert expired(files, NOW_S, Limits(keep_s=2 * DAY_S)) == [files[2], files[0]]


def test_by_space_the_oldest_go_until_the_rest_fits() -> None:
    files = [stored(1, 3 * DAY_S), stored(2, 5 * DAY_S), stored(3, 4 * DAY_S)]
    assert expired(files, NOW_S, Limits(max_bytes=30)) == []
    assert expired(files, NOW_S, Limits(max_bytes=29)) == [files[1]]
    assert expired(files, NOW_S, Limits(max_bytes=10)) == [files[1], files[2]]


def test_what_goes_by_age_makes_room() -> None:
    files = [stored(1, 3 * DAY_S), stored(2, 5 * DAY_S), stored(3, 4 * DAY_S)]
    assert expired(files, NOW_S, Limits(keep_s=4.5 * DAY_S, max_bytes=20)) == [files[1]]


def test_nothing_young_goes_for_space() -> None:
    files = [stored(1, 3_599), stored(2, 3_601), stored(3, 0)]
    assert expired(files, NOW_S, Limits(max_bytes=1)) == [files[1]]


def test_nothing_from_the_future_goes() -> None:
    """The clock was ahead, or is behind now."""
    files = [stored(1, -DAY_S), stored(2, -9 * DAY_S)]
    assert expired(files, NOW_S, Limits(keep_s=1, max_bytes=1)) == []


def test_without_limits_nothing_goes() -> None:
    assert expired([stored(1, 9_999 * DAY_S)], NOW_S, Limits()) == []


@given(
    ages=st.lists(st.floats(-DAY_S, 30 * DAY_S), max_size=20),
    keep_s=st.floats(0, 30 * DAY_S),
    max_bytes=st.integers(0, 300),
)
def test_what_goes_is_never_younger_than_what_stays(ages: list[float], keep_s: float, max_bytes: int) -> None:
    files = [stored(number, age_s) for number, age_s in enumerate(ages)]
    gone = expired(files, NOW_S, Limits(keep_s, max_bytes))
    stays = [one for one in files if one not in gone]
    assert all(one.since_s <= other.since_s for one in gone for other in stays)
    assert all(NOW_S - one.since_s <= keep_s for one in stays) or not keep_s
    too_young = [one for one in stays if NOW_S - one.since_s > 3_600]
    assert not max_bytes or sum(one.size_bytes for one in stays) <= max_bytes or not too_young


def test_a_clock_that_jumped_ahead_removes_nothing_from_before() -> None:
    ordinary = [stored(number, 800 * DAY_S + number * DAY_S) for number in range(30)]
    since = [stored(99, 0.5 * DAY_S)]  # the box went on after the jump
    for files in (ordinary, ordinary + since):
        start_s = trusted_since(files, NOW_S, 20 * DAY_S)
        assert expired(files, NOW_S, Limits(keep_s=20 * DAY_S), trusted_since_s=start_s) == []
        assert len(expired(files, NOW_S, Limits(keep_s=20 * DAY_S))) == 30  # without the guard
    later_s = NOW_S + 21 * DAY_S
    start_s = trusted_since(ordinary + since, later_s, 20 * DAY_S)
    assert expired(ordinary + since, later_s, Limits(keep_s=20 * DAY_S), trusted_since_s=start_s) == since


def test_what_is_rare_and_kept_long_is_no_sign_of_a_wrong_clock() -> None:
    """One file in quarantine, kept for three years: it goes when it is due."""
    files = [stored(1, 3 * 365 * DAY_S + 3_600)]
    assert trusted_since(files, NOW_S, 3 * 365 * DAY_S) == 0
    assert trusted_since([], NOW_S, DAY_S) == 0
    assert trusted_since([stored(1, -DAY_S), stored(2, DAY_S)], NOW_S, DAY_S) == 0


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    """Two archived, one in quarantine, one asked for again, three results and a half-written file."""
    (tmp_path / "incoming").mkdir()
    state = open_state(tmp_path / "state")
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for report in (scored(1), scored(2), refused(3)):
            finish(report, state, ledger, tmp_path / "incoming")
    state.requeued.mkdir()
    (state.requeued / f"{sha(4)[:16]}.dcm").write_bytes(b"waits")
    (state.archive / f".{sha(5)[:16]}.dcm.part").write_bytes(b"half")
    (state.archive / "README").write_bytes(b"somebody's note")
    return state


def days_later(days: float) -> float:
    return time.time() + days * DAY_S


def test_each_folder_by_its_own_limit(state: StateFolder) -> None:
    everything = tree(state.root)
    assert retain(state, Config(), days_later(99)) == []
    assert tree(state.root) == everything
    config = Config(keep_archive_days=10, keep_quarantine_days=20)
    assert [one.cases for one in retain(state, config, days_later(9))] == [0, 0]
    assert tree(state.root) == everything
    assert retain(state, config, days_later(11)) == [
        Removed("archive", cases=2, size_bytes=128, held_back=0),
        Removed("quarantine", cases=0, size_bytes=0, held_back=0),
    ]
    gone = {f"archive/{sha(number)[:16]}.dcm" for number in (1, 2)}
    assert everything.keys() - tree(state.root).keys() == gone
    assert [one.cases for one in retain(state, config, days_later(21))] == [0, 1]
    gone |= {f"quarantine/{sha(3)[:16]}.{ending}" for ending in ("dcm", "reason.json")}
    assert everything.keys() - tree(state.root).keys() == gone


def test_a_radiograph_is_kept_from_when_it_was_archived(tmp_path: Path) -> None:
    """Its time of change is its sender's: here two months ago."""
    (tmp_path / "incoming").mkdir()
    state = open_state(tmp_path / "state")
    sent = tmp_path / "incoming" / f"{sha(1)[:16]}.dcm"
    sent.write_bytes(b"xx")

    then_s = time.time() - 60 * DAY_S
    os.utime(sent, (then_s, then_s))
    state.archive.mkdir()
    archived = sent.rename(state.archive / sent.name)
    assert archived.stat().st_mtime == pytest.approx(then_s)
    for config in (Config(keep_archive_days=30), Config(archive_max_bytes=1)):
        retain(state, config, time.time())
        assert archived.exists()


def test_results_go_and_the_ledger_keeps_the_reports(state: StateFolder) -> None:
    (told,) = retain(state, Config(results_max_bytes=1), days_later(1))
    assert (told.folder, told.cases) == ("results", 3)
    assert list(state.root.glob("results/*/*")) == []
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        assert [len(ledger.reports(sha(number)[:16])) for number in (1, 2, 3)] == [1, 1, 1]
        assert ledger.finished(sha(1)) is not None


def test_the_same_case_of_two_bundles_is_two_results(state: StateFolder, tmp_path: Path) -> None:
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        finish(replace(scored(1), bundle_id="0" * 64), state, ledger, tmp_path / "incoming", after="delete")
    (told,) = retain(state, Config(keep_results_days=1), days_later(2))
    assert told.cases == 4
    assert list(state.root.glob("results/*/*")) == []


def test_a_trial_removes_nothing_and_tells_the_same(state: StateFolder) -> None:
    everything = tree(state.root)
    config = Config(keep_archive_days=1, keep_results_days=1)
    told = retain(state, config, days_later(2), dry_run=True)
    assert tree(state.root) == everything
    assert retain(state, config, days_later(2)) == told


def test_a_wrong_clock_holds_back_and_space_does_not_care(state: StateFolder) -> None:
    config = Config(keep_archive_days=30)
    assert retain(state, config, days_later(2_000)) == [Removed("archive", 0, 0, held_back=2)]
    (by_space,) = retain(state, replace(config, archive_max_bytes=64), days_later(2_000), dry_run=True)
    assert (by_space.cases, by_space.held_back) == (1, 1)
    assert retain(state, config, days_later(2_000), trust_clock=True)[0].cases == 2


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    config = Config(keep_archive_days=1, keep_results_days=1, keep_quarantine_days=1)
    assert [one.cases for one in retain(state, config, days_later(9))] == [0, 0, 0]
