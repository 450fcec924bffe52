"""What somebody must come for is a line of level error: a full disk, a folder that is gone, the end of the service."""

import json
import logging
import socket
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_bundle import write_tiny_bundle

from edge import cli
from edge.config import Config
from edge.intake import Intake
from edge.state import open_state
from edge.store import Ledger

PATIENCE_S = 20.0
FULL = Config(reserve_percent=100.0, reserve_bytes=10**18)  # no disk has so much free


class Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []
        self.logger = logging.Logger("said")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))

    def errors(self) -> list[str]:
        return [text for level, text in self.lines if level == logging.ERROR]


def first_error(config: Config, incoming: Path, state_root: Path, harm: str) -> str:
    said, stop = Said(), threading.Event()
    state = open_state(state_root)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        intake = Intake(config, incoming, state, ledger, once=False, logger=said.logger)
        if harm == "gone":
            incoming.rename(incoming.with_name("away"))
        thread = threading.Thread(target=lambda: list(intake.sightings(stop)))
        thread.start()
        try:
            limit_s = time.monotonic() + PATIENCE_S
            while not said.errors():
                assert time.monotonic() < limit_s
                if harm == "full":
                    (incoming / "a.dcm").write_bytes(b"any")  # and closed: that is noticed at once
                time.sleep(0.05)
        finally:
            stop.set()
            thread.join(PATIENCE_S)
    (text,) = said.errors()
    return text


@pytest.mark.parametrize(
    ("harm", "config", "told"), [("full", FULL, "is full"), ("gone", Config(reserve_bytes=0), "is it mounted?")]
)
def test_nothing_can_be_taken(tmp_path: Path, harm: str, config: Config, told: str) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "state").mkdir(mode=0o700)
    assert told in first_error(config, tmp_path / "incoming", tmp_path / "state", harm)


def ended(
    monkeypatch: pytest.MonkeyPatch, *words: object, fault: Exception | None = None
) -> tuple[int, dict[str, str]]:
    if fault is not None:

        class Failing:
            def __init__(self, *_: object, **__: object) -> None:
                raise fault

        monkeypatch.setattr(cli, "Daemon", Failing)
    result = CliRunner().invoke(cli.main, ["watch", *map(str, words)])
    (line,) = result.stderr.splitlines()
    return result.exit_code, json.loads(line)


def test_what_ends_the_service_is_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, told = ended(monkeypatch, tmp_path / "nowhere", "--state", tmp_path / "state", "--listen", "")
    assert (code, told["level"], "does not exist" in told["event"]) == (1, "error", True)  # it may be mounted later
    (tmp_path / "incoming").mkdir()
    bundle = write_tiny_bundle(tmp_path / "tiny")
    words = (tmp_path / "incoming", "--state", tmp_path / "state", "--bundle", bundle, "--listen")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, told = ended(monkeypatch, *words, f"127.0.0.1:{other.getsockname()[1]}")
    assert (code, told["level"], "is in use" in told["event"]) == (1, "error", True)
    code, told = ended(monkeypatch, tmp_path, "--state", tmp_path / "state", "--after", "burn")
    assert (code, told["level"], "must be one of" in told["event"]) == (2, "error", True)


@pytest.mark.parametrize("fault", [OSError(28, "No space left", "/in/MUELLER.dcm"), KeyError("/in/MUELLER.dcm")])
def test_it_names_no_file_also_when_the_program_is_at_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    code, told = ended(monkeypatch, tmp_path, fault=fault)
    assert (code, told["level"]) == (1, "error")
    assert "MUELLER" not in str(told)
    if isinstance(fault, KeyError):
        assert "KeyError" in told["event"]
        assert "test_alarms.py:" in told["at"]
