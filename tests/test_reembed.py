"""After a change of bundle archived cases are asked for again, one at a time, and only while the box is idle."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import reports
from kept_cases import finish as finished
from reports import BUNDLE

from edge.audit import Event
from edge.audit_log import AuditLog
from edge.reembed import reembed_when_idle
from edge.state import StateFolder, open_state
from edge.store import Ledger
from edge.upkeep import Upkeep
from edge.values import Report

NEW = "d" * 64
CONTENTS = {hashlib.sha256(content).hexdigest(): content for content in (b"%d" % number for number in range(20))}


def sha(number: int) -> str:
    return list(CONTENTS)[number]


def scored(number: int) -> Report:
    return of_file(reports.scored(number), number)


def of_file(report: Report, number: int) -> Report:
    """As the report of a file whose bytes have its digest."""
    source = report.source and replace(report.source, sha256=sha(number))
    return replace(report, sha256=sha(number), source=source)


def finish(report: Report, state: StateFolder, ledger: Ledger, incoming: Path, *, after: str = "archive") -> None:
    finished(report, state, ledger, incoming, after=after, content=CONTENTS[report.sha256])


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    (tmp_path / "incoming").mkdir()
    return open_state(tmp_path / "state")


@pytest.fixture
def daemon(state: StateFolder) -> Iterator[Ledger]:
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        yield ledger


def by_new(report: Report) -> Report:
    return replace(report, bundle_id=NEW)


class Patience(threading.Event):
    """Set by itself when it was waited for in vain too often."""

    looks = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.looks += 1
        if self.looks > 200:
            self.set()
        return super().wait(timeout)


class Box:
    """A daemon that is asked whether it is idle, and then scores what waits by the new bundle, or does not."""

    def __init__(self, state: StateFolder, ledger: Ledger) -> None:
        self.state, self.ledger = state, ledger
        self.over = Patience()
        self.asked: list[str] = []
        self.told: list[str] = []
        self.busy, self.looks = 0, 0

    def is_idle(self) -> bool:
        self.looks += 1
        waiting = list(self.state.requeued.iterdir()) if self.state.requeued.is_dir() else []
        assert len(waiting) <= 1, "more than one is before a radiograph that arrives"
        for path in waiting if self.looks % 3 == 0 else []:  # it is not noticed at once
            number = next(number for number in range(20) if path.name.startswith(sha(number)[:16]))
            self.asked.append(path.stem)
            finish(by_new(scored(number)), self.state, self.ledger, self.state.root.parent / "incoming")
            path.unlink()
        self.busy -= 1
        return self.busy < 0

    def run(self, *, bundle_id: str = NEW) -> list[str]:
        reembed_when_idle(self.state, bundle_id, self.over, is_idle=self.is_idle, warn=self.told.append, look_s=0)
        for _ in range(3):
            self.is_idle()
        return self.asked


def ids(*numbers: int) -> list[str]:
    return [sha(number)[:16] for number in numbers]


@pytest.mark.parametrize("page", [1, 500])
def test_each_archived_case_of_an_earlier_bundle_once_the_latest_first(
    state: StateFolder, daemon: Ledger, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.reembed._PAGE", page)
    incoming = state.root.parent / "incoming"
    finish(scored(1), state, daemon, incoming)
    finish(of_file(reports.refused(2), 2), state, daemon, incoming)
    finish(of_file(reports.gated(8), 8), state, daemon, incoming)  # in the archive, and it has no embedding
    finish(by_new(scored(7)), state, daemon, incoming)
    finish(scored(7), state, daemon, incoming)  # after a step back to the earlier bundle
    finish(scored(3), state, daemon, incoming, after="delete")  # and this one no file
    finish(scored(4), state, daemon, incoming)
    finish(by_new(scored(5)), state, daemon, incoming)
    finish(scored(6), state, daemon, incoming, after="delete")
    finish(replace(scored(1), bundle_id="c" * 64), state, daemon, incoming)  # two have judged it, and it is asked once
    before = {path: path.read_bytes() for path in state.results(BUNDLE).iterdir()}
    assert Box(state, daemon).run() == ids(1, 4)
    assert Box(state, daemon).run() == []  # all are judged
    assert {path: path.read_bytes() for path in state.results(BUNDLE).iterdir()} == before
    assert [told["bundle"] for told in daemon.reports(ids(4)[0])] == [BUNDLE, NEW]
    assert [told["bundle"] for told in daemon.reports(ids(1)[0])] == [BUNDLE, "c" * 64, NEW]
    with AuditLog(state.ledger, site_key=state.site_key) as log:
        told = list(log.entries(event=Event.REQUEUED))
    assert [(entry.case, entry.detail) for entry in told] == [(case_id, {"by": "daemon"}) for case_id in ids(1, 4)]


def test_nothing_is_asked_for_while_the_box_works(state: StateFolder, daemon: Ledger) -> None:
    finish(scored(1), state, daemon, state.root.parent / "incoming")
    box = Box(state, daemon)
    box.busy = 10
    assert box.run() == ids(1)
    assert box.looks >= 11


def test_it_ends_when_told_to(state: StateFolder, daemon: Ledger) -> None:
    finish(scored(1), state, daemon, state.root.parent / "incoming")
    box = Box(state, daemon)
    box.busy = 1000
    assert box.run() == []
    assert daemon.finished(sha(1)) is not None


def test_what_was_forgotten_meanwhile_does_not_come_back(state: StateFolder, daemon: Ledger) -> None:
    incoming = state.root.parent / "incoming"
    finish(scored(1), state, daemon, incoming)
    finish(scored(4), state, daemon, incoming)
    box = Box(state, daemon)

    def forgets() -> bool:
        idle = box.is_idle()
        if box.asked == ids(4):
            with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
                if upkeep.cases(ids(1)[0]):
                    upkeep.forget(upkeep.mentions(ids(1)[0]), lambda text: text, lambda document: None)
        return idle

    reembed_when_idle(state, NEW, box.over, is_idle=forgets, warn=box.told.append, look_s=0)
    assert box.asked == ids(4)
    assert daemon._one("SELECT count(*) FROM requeued") == (0,)


def test_cut_short_between_mark_and_move_the_next_start_goes_on(state: StateFolder, daemon: Ledger) -> None:
    finish(scored(1), state, daemon, state.root.parent / "incoming")
    with Upkeep(state.ledger, site_key=state.site_key) as upkeep:
        upkeep.ask_again([sha(1)], by="daemon")
    assert Box(state, daemon).run() == ids(1)


@pytest.mark.parametrize("content", [b"as another wrote it", b"", None])
def test_a_file_that_is_no_longer_its_cases_is_told_and_left(
    state: StateFolder, daemon: Ledger, content: bytes | None
) -> None:
    """Judged again, its bytes would be a case that nobody sent, and its own would wait for ever."""
    incoming = state.root.parent / "incoming"
    for number in (1, 4, 5):
        finish(scored(number), state, daemon, incoming)
    box = Box(state, daemon)
    path = state.archive / f"{sha(4)[:16]}.dcm"

    def spoils() -> bool:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        return box.is_idle()

    reembed_when_idle(state, NEW, box.over, is_idle=spoils, warn=box.told.append, look_s=0)
    for _ in range(3):
        box.is_idle()
    assert box.asked == ids(5, 1)
    (warning,) = box.told
    assert f"case {sha(4)[:16]} is gone or has other bytes" in warning
    assert daemon.finished(sha(4)) is not None  # not asked for
    assert path.is_file() == (content is not None)
