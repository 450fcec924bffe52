"""Structured logs on stderr: JSON lines for machines, short ones on a terminal. Never a name, path or UID."""

import json
import logging
import sys
import time
from typing import TextIO

FIELDS = "fields"
RADIOGRAPH = "radiograph"  # the event of a result


def make_logger(*, terminal: bool) -> logging.Logger:
    """A logger of its own, to be handed in; `logger.info("scored", extra={"fields": {...}})`."""
    logger = logging.Logger("edge-cxr", logging.INFO)
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Terminal() if terminal else _Json())
    if terminal:  # there the command prints each report itself
        handler.addFilter(lambda record: record.getMessage() != RADIOGRAPH)
    logger.addHandler(handler)
    return logger


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A line that cannot be written, as on a full disk, is lost: there is nowhere left to say so."""


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        fields = getattr(record, FIELDS, {})
        return json.dumps({"time": stamp, "level": record.levelname.lower(), "event": record.getMessage(), **fields})


class _Terminal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, FIELDS, {})
        shown = "  ".join(f"{key}={value}" for key, value in fields.items())
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        return f"{level}{record.getMessage()}  {shown}".rstrip()
