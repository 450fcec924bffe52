"""What is kept: by age and by space, oldest first; never what is young, from the future, or judged by a wrong clock."""

import errno
import logging
import os
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_locks import kept_waiting
from hypothesis import given
from hypothesis import strategies as st
from kept_cases import finish, tree
from kill_points import killed_at
from reports import refused, scored, sha

from edge.config import Config
from edge.errors import StateError
from edge.retention import Limits, Removed, expired, retain, retain_regularly, trusted_since
from edge.state import StateFolder, open_state
from edge.store import Ledger

DAY_S, NOW_S = 86_400.0, 1_800_000_000.0


def ages(*age_s: float) -> Any:
    """When files came that are so old."""
    return NOW_S - np.array(age_s, np.float64)


def gone(since_s: Any, limits: Limits, *, size_bytes: int = 10, trusted_since_s: float = 0.0) -> list[int]:
    """Places of those that go, of files of one size."""
    sizes = np.full(len(since_s), size_bytes, np.int64)
    return list(np.flatnonzero(expired(since_s, sizes, NOW_S, limits, trusted_since_s=trusted_since_s)))


def test_by_age() -> None:
    assert gone(ages(2 * DAY_S + 1, 2 * DAY_S - 1, 9 * DAY_S), Limits(keep_s=2 * DAY_S)) == [0, 2]


def test_by_space_the_oldest_go_until_the_rest_fits() -> None:
    since_s = ages(3 * DAY_S, 5 * DAY_S, 4 * DAY_S)
    assert gone(since_s, Limits(max_bytes=30)) == []
    assert gone(since_s, Limits(max_bytes=29)) == [1]
    assert gone(since_s, Limits(max_bytes=10)) == [1, 2]


def test_by_space_no_more_go_of_those_that_came_at_once() -> None:
    assert len(gone(ages(*[DAY_S] * 5), Limits(max_bytes=30))) == 2


def test_what_goes_by_age_makes_room() -> None:
    assert gone(ages(3 * DAY_S, 5 * DAY_S, 4 * DAY_S), Limits(keep_s=4.5 * DAY_S, max_bytes=20)) == [1]


def test_nothing_young_goes_for_space() -> None:
    assert gone(ages(3_599, 3_601, 0), Limits(max_bytes=1)) == [1]


def test_nothing_from_the_future_goes() -> None:
    """The clock was ahead, or is behind now."""
    assert gone(ages(-DAY_S, -9 * DAY_S), Limits(keep_s=1, max_bytes=1)) == []


def test_without_limits_nothing_goes() -> None:
    assert gone(ages(9_999 * DAY_S), Limits()) == []


@given(
    days=st.lists(st.floats(-1, 30), max_size=20),
    keep_s=st.floats(0, 30 * DAY_S),
    max_bytes=st.integers(0, 300),
)
def test_what_goes_is_never_younger_than_what_stays(days: list[float], keep_s: float, max_bytes: int) -> None:
    since_s = ages(*(DAY_S * day for day in days))
    going = gone(since_s, Limits(keep_s, max_bytes))
    stays = [place for place in range(len(days)) if place not in going]
    assert all(since_s[one] <= since_s[other] for one in going for other in stays)
    assert all(NOW_S - since_s[one] <= keep_s for one in stays) or not keep_s
    too_young = [one for one in stays if NOW_S - since_s[one] > 3_600]
    assert not max_bytes or 10 * len(stays) <= max_bytes or not too_young
    if max_bytes and not keep_s and going:
        assert 10 * (len(stays) + 1) > max_bytes  # and no more than needed


def test_a_clock_that_jumped_ahead_removes_nothing_from_before() -> None:
    ordinary = [800 * DAY_S + number * DAY_S for number in range(30)]
    since = [0.5 * DAY_S]  # the box went on after the jump
    limits = Limits(keep_s=20 * DAY_S)
    for files in (ages(*ordinary), ages(*ordinary, *since)):
        assert gone(files, limits, trusted_since_s=trusted_since(files, NOW_S, limits.keep_s)) == []
        assert len(gone(files, limits)) == 30  # without the guard
    files = ages(*(age_s + 21 * DAY_S for age_s in [*ordinary, *since]))
    assert gone(files, limits, trusted_since_s=trusted_since(files, NOW_S, limits.keep_s)) == [30]


def test_what_is_rare_and_kept_long_is_no_sign_of_a_wrong_clock() -> None:
    """One file in quarantine, kept for three years: it goes when it is due."""
    assert trusted_since(ages(3 * 365 * DAY_S + 3_600), NOW_S, 3 * 365 * DAY_S) == 0
    assert trusted_since(ages(), NOW_S, DAY_S) == 0
    assert trusted_since(ages(-DAY_S, DAY_S), NOW_S, DAY_S) == 0


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


@pytest.mark.parametrize("folder", ["results", "archive", "quarantine"])
def test_what_is_replaced_after_it_was_seen_stays(state: StateFolder, tmp_path: Path, folder: str) -> None:
    """A folder of a million takes a while; the daemon goes on meanwhile."""
    config = Config(**{f"keep_{folder}_days": 1})
    removed: list[Removed] = []
    with (
        Ledger(state.ledger, site_key=state.site_key) as ledger,
        kept_waiting(state, lambda: removed.extend(retain(state, config, days_later(2)))),
    ):
        for report in (scored(1), refused(3)):
            finish(report, state, ledger, tmp_path / "incoming")
        everything = tree(state.root)
    old = {"results": [f"results/{'b' * 12}/{sha(2)[:16]}.json"], "archive": [f"archive/{sha(2)[:16]}.dcm"]}
    assert sorted(everything.keys() - tree(state.root).keys()) == old.get(folder, [])
    assert removed[0].cases == len(old.get(folder, []))


def test_killed_at_any_point_no_file_lacks_its_reason(tmp_path: Path) -> None:
    config, points = Config(keep_quarantine_days=1), 0
    while True:
        here = tmp_path / str(points)
        here.mkdir()
        state = open_state(here / "state")
        with Ledger(state.ledger, site_key=state.site_key) as ledger:
            for number in range(3):
                finish(refused(number), state, ledger, here)
        killed = killed_at(points + 1, lambda state=state: retain(state, config, days_later(2)))  # type: ignore[misc]
        left = {path.name for path in state.quarantine.iterdir()}
        assert all(f"{name[:16]}.reason.json" in left for name in left)
        if not killed:
            assert left == set()
            break
        points += 1
    assert points == 6


def test_what_went_before_a_fault_is_noted(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder that went whole, and of one of which a part would not go."""
    noted: list[dict[str, int]] = []
    unlink, left = Path.unlink, [4]

    def failing(path: Path, missing_ok: bool = False) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path, missing_ok=missing_ok)

    config = Config(keep_results_days=1, keep_archive_days=1, keep_quarantine_days=1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing)
        with pytest.raises(StateError, match="Input/output error"):
            retain(state, config, days_later(2), note=noted.append)
    assert noted == [{"results": 3}, {"archive": 1}]
    assert len(list(state.archive.glob("[!.]*.dcm"))) == 1
    retain(state, config, days_later(2), note=noted.append)
    assert noted[2:] == [{"archive": 1}, {"quarantine": 1}]


class SetAfter(threading.Event):
    """Set once it was asked so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(("asked", "fewest", "most"), [(0, 0, 0), (299, 0, 0), (450, 100, 200), (10_000, 300, 300)])
def test_a_stop_ends_it_and_what_went_is_told(tmp_path: Path, asked: int, fewest: int, most: int) -> None:
    """Half a folder seen is no ground to remove anything: the oldest may be in the other half."""
    state = open_state(tmp_path / "state")
    state.archive.mkdir()
    for number in range(300):
        (state.archive / f"{number:016x}.dcm").write_bytes(b"xx")
    told = retain(state, Config(keep_archive_days=1), days_later(2), over=SetAfter(asked))
    left = len(list(state.archive.iterdir()))
    assert fewest <= 300 - left <= most
    assert [(one.cases, one.size_bytes) for one in told] in ([], [(300 - left, 2 * (300 - left))])


def test_the_daemon_s_stop_ends_it(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopping(SetAfter):
        waited = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.waited += 1
            return self.waited > 1

    then_s = days_later(2)
    monkeypatch.setattr(time, "time", lambda: then_s)
    for times, left in ((0, 2), (10_000, 0)):
        stopping = Stopping(times)
        settings, quiet = Config(keep_archive_days=1), logging.Logger("quiet")
        retain_regularly(state, settings, stopping, logger=quiet, each_s=1, note=lambda cases: None)
        assert len(list(state.archive.glob("[!.]*.dcm"))) == left
        assert stopping.waited == 2


def test_a_million_files_take_little_memory(tmp_path: Path) -> None:
    count = 20_000
    state = open_state(tmp_path / "state")
    state.results("b" * 64).mkdir(parents=True)
    for number in range(count):
        (state.results("b" * 64) / f"{number:016x}.json").touch()
    tracemalloc.start()
    try:
        retain(state, Config(keep_results_days=1, results_max_bytes=1), days_later(2), dry_run=True)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 120 * count
