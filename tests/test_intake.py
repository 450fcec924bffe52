"""What the daemon takes: the configured order and way, what was asked for again, and what a single run must say."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.config import Config
from edge.errors import Unopenable
from edge.intake import Intake
from edge.outputs.disposal import ASIDE
from edge.state import open_state
from edge.store import Ledger

SIX = [f"{number}.dcm" for number in range(6)]


class Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def intake_of(tmp_path: Path, *, once: bool = True, **settings: object) -> Iterator[tuple[Intake, Listener]]:
    incoming, listener, logger = tmp_path / "incoming", Listener(), logging.Logger("heard")
    incoming.mkdir(exist_ok=True)
    logger.addHandler(listener)
    state = open_state(tmp_path / "state")
    config = Config(**{"state": str(state.root), **settings})  # type: ignore[arg-type]
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        yield Intake(config, incoming, state, ledger, once=once, logger=logger), listener


def six_files(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    for number, name in enumerate(SIX):
        (tmp_path / "incoming" / name).write_bytes(b"x")
        os.utime(tmp_path / "incoming" / name, ns=(number, number))


@pytest.mark.parametrize(("order", "expected"), [("oldest", SIX), ("newest", SIX[::-1])])
def test_in_the_configured_order(tmp_path: Path, order: str, expected: list[str]) -> None:
    six_files(tmp_path)
    with intake_of(tmp_path, order=order) as (intake, _):
        assert [seen.path.name for seen in intake.sightings(threading.Event())] == expected


@pytest.mark.parametrize(("watching", "told"), [("polling", "polling"), ("events", "inotify events and scans")])
def test_in_the_configured_way(tmp_path: Path, watching: str, told: str) -> None:
    with intake_of(tmp_path, watching=watching) as (intake, listener):
        assert list(intake.sightings(threading.Event())) == []
        (record,) = [record for record in listener.records if record.getMessage() == "watching"]
        assert told in record.fields["incoming"]  # type: ignore[attr-defined]
        assert intake.inbox._watching == watching


def test_at_the_configured_pace(tmp_path: Path) -> None:
    with intake_of(tmp_path, scan_s=7.0, poll_s=3.0) as (intake, _):
        assert (intake.inbox._pace.scan_s, intake.inbox._pace.poll_s) == (7.0, 3.0)


def test_what_was_asked_for_again_is_taken(tmp_path: Path) -> None:
    with intake_of(tmp_path) as (intake, _):
        requeued = tmp_path / "state" / "requeued"
        requeued.mkdir()
        (requeued / "0011223344556677.dcm").write_bytes(b"x")
        assert [seen.path.parent for seen in intake.sightings(threading.Event())] == [requeued]


def test_what_a_crash_left_set_aside_is_taken(tmp_path: Path) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / f"{ASIDE}0011223344556677").write_bytes(b"x")
    with intake_of(tmp_path) as (intake, listener):
        (sighting,) = intake.sightings(threading.Event())
        assert sighting.path.name == f"{ASIDE}0011223344556677".removeprefix(".")
        assert "a crash had left inputs set aside" in [record.getMessage() for record in listener.records]


def test_a_single_run_says_what_it_left(tmp_path: Path) -> None:
    with intake_of(tmp_path) as (intake, _):
        intake.check_all_read(0)
        with pytest.raises(Unopenable, match=r"2 file\(s\) and 0 folder\(s\) could not be read"):
            intake.check_all_read(2)
        intake.inbox._folders.unreadable.add("ward")
        with pytest.raises(Unopenable, match=r"0 file\(s\) and 1 folder\(s\) could not be read"):
            intake.check_all_read(0)
        intake.inbox._folders.unreadable.clear()
        intake.inbox.restless = 3
        with pytest.raises(Unopenable, match=r"3 file\(s\) are still being written"):
            intake.check_all_read(0)
