"""Structured logs on stderr: JSON lines for machines, short ones on a terminal. Never a name, path or UID.

Each line is described in docs/logs.md. Lines that repeat are held back by repeats.py.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from edge.repeats import Repeats

FIELDS = "fields"
RADIOGRAPH = "radiograph"  # the event of a result
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # of syslog
_DEBUG = 7


def make_logger(
    *,
    terminal: bool,
    journal_stream: str | None = None,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> logging.Logger:
    """A logger of its own, to be handed in; `logger.info("scored", extra={"fields": {...}})`.

    journal_stream: what systemd tells in JOURNAL_STREAM; where `stream` is that one, lines begin with their priority.
    stream: stderr by default.
    """
    logger = logging.Logger("edge-cxr", logging.INFO)
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_formatter(terminal=terminal, journal=_is_journal(handler.stream, journal_stream)))
    if terminal:  # there the command prints each report itself
        handler.addFilter(lambda record: record.getMessage() != RADIOGRAPH)
    handler.addFilter(Repeats(handler.tell_more, never_held_back={RADIOGRAPH}, clock=clock))
    logger.addHandler(handler)
    return logger


def _formatter(*, terminal: bool, journal: bool) -> logging.Formatter:
    if terminal:
        return _Terminal()
    return _Journal() if journal else _Json()


def _is_journal(stream: TextIO, told: str | None) -> bool:
    """told: device and inode of the journal's stream. A program that was started with another stderr has the variable
    all the same.
    """
    try:
        seen = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return told == f"{seen.st_dev}:{seen.st_ino}"


class _Handler(logging.StreamHandler[TextIO]):
    def tell_more(self, last: logging.LogRecord, count: int) -> None:
        """One line for `count` that were held back, past the filters. last: the latest of them."""
        fields = {**getattr(last, FIELDS, {}), "more": count}
        self.acquire()
        try:
            self.emit(logging.makeLogRecord({**last.__dict__, FIELDS: fields}))
        finally:
            self.release()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A line that cannot be written, as on a full disk, is lost: there is nowhere left to say so."""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        fields = getattr(record, FIELDS, {})
        return json.dumps({"time": stamp, "level": record.levelname.lower(), "event": record.getMessage(), **fields})


class _Journal(_Json):
    """The priority goes before each line: journald takes it off again, and can be asked for warnings only."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_priority(record.levelno)}>{super().format(record)}"


class _Terminal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, FIELDS, {})
        shown = "  ".join(f"{key}={value}" for key, value in fields.items())
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        return f"{level}{record.getMessage()}  {shown}".rstrip()


def _priority(level: int) -> int:
    return next((priority for at_least, priority in _PRIORITIES if level >= at_least), _DEBUG)
