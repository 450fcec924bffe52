"""The lines of a manifest, a CSV of radiographs with a header. What its cells may hold is known elsewhere."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UsageError

Fault = tuple[int, str]  # line, and what is wrong there
FAULTS_SHOWN = 20


@dataclass(frozen=True)
class Line:
    """number: in the file, 1 is the header. columns: every cell, blanks around it taken off."""

    number: int
    columns: dict[str, str]


def read_lines(manifest: Path, content: bytes, required: Sequence[str]) -> tuple[tuple[Line, ...], list[Fault]]:
    """Its lines in order, blank ones passed, and the faults of those that hold more cells than the header.

    content: the file's bytes. Raises UsageError for a file that is no UTF-8 or no CSV, and for a column that is missing
    or named twice.
    """
    reader = csv.DictReader(io.StringIO(_text(manifest, content), newline=""), restkey="", strict=True)
    lines: list[Line] = []
    found: list[Fault] = []
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        _require_columns(manifest, reader.fieldnames, required)
        for columns in reader:
            spare = columns.pop("", None)
            if isinstance(spare, list) and any(cell.strip() for cell in spare):
                found.append((reader.line_num, "more cells than the header has; quote a cell that holds a comma"))
            elif any(value and value.strip() for value in columns.values()):
                cells = {name: (value or "").strip() for name, value in columns.items()}
                lines.append(Line(reader.line_num, cells))
    except csv.Error as fault:
        raise UsageError(
            f"{manifest.name} cannot be read as CSV after line {reader.line_num} ({fault}); look there for a quotation "
            "mark that is not closed"
        ) from fault
    return tuple(lines), found


def told(manifest: Path, found: Sequence[Fault]) -> str:
    """Every fault by its line, or the first of many."""
    shown = "".join(f"\n  line {line}: {what}" for line, what in found[:FAULTS_SHOWN])
    more = f"\n  and {len(found) - FAULTS_SHOWN} more" if len(found) > FAULTS_SHOWN else ""
    return f"{manifest.name} is not used before this is mended ({len(found)}):{shown}{more}"


def _text(manifest: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content.count(b"\n", 0, fault.start) + 1
        raise UsageError(
            f"{manifest.name} is not UTF-8 (line {line}); save it as UTF-8, in a spreadsheet as 'CSV UTF-8'"
        ) from fault


def _require_columns(manifest: Path, present: Sequence[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in present]
    if missing:
        raise UsageError(
            f"{manifest.name} has no column {', '.join(missing)}; its header must name {', '.join(required)}, "
            "with commas between them"
        )
    twice = sorted(name for name, count in Counter(present).items() if name and count > 1)
    if twice:
        raise UsageError(f"{manifest.name} names column {', '.join(twice)} twice; keep one, or rename the other")
