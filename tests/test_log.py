"""Lines for machines, for the journal and for a terminal."""

import ast
import contextlib
import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from edge.log import FIELDS, RADIOGRAPH, make_logger

ROOT = Path(__file__).parent.parent


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_machine_reads_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logger = make_logger(terminal=False)
    logger.info(RADIOGRAPH, extra={FIELDS: {"case_id": "00112233aabbccdd", "wait_s": 0.25}})
    logger.warning("the disk\nis full")
    one, other = (json.loads(line) for line in lines(capsys))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", one.pop("time"))
    assert one == {"level": "info", "event": "radiograph", "case_id": "00112233aabbccdd", "wait_s": 0.25}
    assert (other["level"], other["event"]) == ("warning", "the disk\nis full")


def test_debug_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    make_logger(terminal=False).debug("how it went")
    assert lines(capsys) == []


def test_a_terminal_shows_no_radiographs_and_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    logger = make_logger(terminal=True)
    logger.info(RADIOGRAPH, extra={FIELDS: {"case_id": "00112233aabbccdd"}})
    logger.info("watching", extra={FIELDS: {"incoming": "ext4"}})
    logger.error("out of service")
    assert lines(capsys) == ["watching  incoming=ext4", "ERROR: out of service"]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    """A file in place of stderr: it has a device and an inode, as the journal's stream has."""
    with (tmp_path / "stderr").open("w+", encoding="utf-8") as opened:
        yield opened


def written(stream: TextIO) -> str:
    stream.seek(0)
    return stream.read()


def journal_of(stream: TextIO) -> str:
    seen = os.fstat(stream.fileno())
    return f"{seen.st_dev}:{seen.st_ino}"


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2), (logging.ERROR + 1, 3)],
)
def test_the_journal_is_told_each_lines_priority(stream: TextIO, level: int, priority: int) -> None:
    make_logger(terminal=False, journal_stream=journal_of(stream), stream=stream).log(level, "two\nlines")
    (line,) = written(stream).splitlines()  # of two the second would have none
    assert line.startswith(f'<{priority}>{{"time": ')
    assert json.loads(line[3:])["event"] == "two\nlines"


@pytest.mark.parametrize("told", [None, "", "8:1", "nonsense"])
def test_another_stderr_gets_no_priorities(stream: TextIO, told: str | None) -> None:
    """systemd's variable is there also for a command whose stderr was sent elsewhere."""
    make_logger(terminal=False, journal_stream=told, stream=stream).info("ready")
    assert written(stream).startswith("{")


def test_a_stderr_that_is_no_file_gets_no_priorities() -> None:
    text = io.StringIO()
    make_logger(terminal=False, journal_stream="8:1", stream=text).info("ready")
    assert text.getvalue().startswith("{")


def test_what_repeats_is_held_back_and_then_counted(stream: TextIO) -> None:
    now_s = [0.0]
    logger = make_logger(terminal=False, stream=stream, clock=lambda: now_s[0])
    for number in range(100):
        logger.warning(f"{number} files wait", extra={FIELDS: {"of": number}})
        logger.info(RADIOGRAPH, extra={FIELDS: {"case_id": f"{number:016x}"}})
    now_s[0] = 60.0
    logger.info("stopped")
    told = [json.loads(line) for line in written(stream).splitlines()]
    assert sum(line["event"] == RADIOGRAPH for line in told) == 100
    warnings = [line for line in told if line["level"] == "warning"]
    assert len(warnings) == 21
    assert (warnings[-1]["event"], warnings[-1]["of"], warnings[-1]["more"]) == ("99 files wait", 99, 80)
    assert told[-1]["event"] == "stopped"


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closing it fails too
    make_logger(terminal=False, stream=full).error("nobody hears it")
    with contextlib.suppress(OSError):
        full.close()


def logged_events() -> set[str]:
    """Every event that is logged at level info under a fixed name."""
    events = set()
    for path in (ROOT / "edge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "info":
                (first, *_) = node.args
                if isinstance(first, ast.Constant):
                    events.add(first.value)
    return events | {RADIOGRAPH}


def test_every_event_is_documented_and_is_logged() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "logs.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(logged_events())
