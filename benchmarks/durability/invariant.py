"""What must hold: each radiograph that was delivered has one result and one row that agree, and its bytes are safe."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from benchmarks.durability.radiographs import Sent
from edge.errors import StateError
from edge.ledger_reader import LedgerReader
from edge.outputs.report_json import SCHEMA
from edge.values import QUARANTINED


@dataclass
class Findings:
    """Counts of what must be zero, and a line for each. strays: unused site keys that a crash left; they do no harm."""

    lost: int = 0
    duplicated: int = 0
    partial: int = 0
    strays: int = 0
    lines: list[str] = field(default_factory=list)

    def __iadd__(self, other: "Findings") -> "Findings":
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.partial += other.partial
        self.strays += other.strays
        self.lines += other.lines
        return self

    def __bool__(self) -> bool:
        return bool(self.lost or self.duplicated or self.partial)

    def note(self, kind: str, line: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        self.lines.append(f"{kind}: {line}")

    def counts(self) -> dict[str, int]:
        return {"lost": self.lost, "duplicated": self.duplicated, "partial": self.partial, "strays": self.strays}


def is_whole(path: Path, content: bytes) -> bool:
    """True when a visible result is complete and is that of its name."""
    try:
        report = json.loads(content)
    except ValueError:
        return False
    return bool(report.get("schema") == SCHEMA and report["case_id"] == path.stem and content.endswith(b"}\n"))


def check(incoming: Path, state: Path, sent: Sequence[Sent], *, after: str) -> Findings:
    """The state of things once the box has run to its end."""
    found = Findings()
    rows = ledger_rows(state, found)
    results = visible_results(state, found)
    for sha256, file in {file.sha256: file for file in sent}.items():
        documents, files = rows.get(sha256, []), results.get(file.case_id, [])
        for what, count in (("row", len(documents)), ("result", len(files))):
            if count == 0:
                found.note("lost", f"{file.name} has no {what}")
            elif count > 1:
                found.note("duplicated", f"{file.name} has {count} {what}s")
        if documents and files and documents[0].encode() != files[0]:
            found.note("partial", f"{file.name}: the result is not the ledger's")
        if documents and json.loads(documents[0])["reason"] not in file.allowed:
            found.note("lost", f"{file.name} ended as {json.loads(documents[0])['reason']}")
    if len(rows) > len({file.sha256 for file in sent}):
        found.note("duplicated", "the ledger holds radiographs that nobody sent")
    for path in state.rglob("*.part"):
        found.note("partial", f"{path.relative_to(state)} was left behind")
    found.strays += len(list(state.glob(".site.key.*")))
    _check_bytes(incoming, state, sent, rows, after, found)
    return found


def check_at_once(incoming: Path, state: Path, sent: Sequence[Sent], *, after: str) -> Findings:
    """What must hold at the moment of a crash: results are whole, and no input is gone before its result is safe."""
    found = Findings()
    results = visible_results(state, found)
    rows = ledger_rows(state, found, may_be_missing=True)
    waiting = set(contents(incoming).values())
    for file in sent:
        if file.content not in waiting and not (file.sha256 in rows and file.case_id in results):
            found.note("lost", f"{file.name} is gone and has no result that is safe")
    _check_bytes(incoming, state, sent, rows, after, found, finished=False)
    return found


def ledger_rows(state: Path, found: Findings, *, may_be_missing: bool = False) -> dict[str, list[str]]:
    """The reports of each digest."""
    rows: dict[str, list[str]] = {}
    try:
        with LedgerReader(state / "ledger.sqlite") as reader:
            for (broken,) in reader._all("PRAGMA integrity_check"):
                if broken != "ok":
                    found.note("partial", f"the ledger is damaged: {broken}")
            for sha256, report in reader._all("SELECT sha256, report FROM cases"):
                rows.setdefault(sha256, []).append(report)
    except (StateError, apsw.Error) as fault:
        if not may_be_missing:
            found.note("lost", f"the ledger cannot be read: {fault}")
    return rows


def visible_results(state: Path, found: Findings) -> dict[str, list[bytes]]:
    results: dict[str, list[bytes]] = {}
    for path in state.glob("results/*/*.json"):
        if path.name.startswith("."):
            continue
        content = path.read_bytes()
        if not is_whole(path, content):
            found.note("partial", f"{path.relative_to(state)} is not whole")
        results.setdefault(path.stem, []).append(content)
    return results


def _check_bytes(
    incoming: Path, state: Path, sent: Sequence[Sent], rows: dict[str, list[str]], after: str, found: Findings,
    *, finished: bool = True,
) -> None:  # fmt: skip
    """Every input lies where `after` says, whole; unless finished it may still lie in the incoming folder."""
    waiting, moved = contents(incoming), {name: _by_case(state / name) for name in ("archive", "quarantine")}
    if finished and after != "keep":
        for name in waiting:
            found.note("duplicated", f"{name} still lies in the incoming folder")
    held = set(waiting.values())
    for file in sent:
        if waiting.get(file.name) == file.content or (not finished and file.content in held):
            continue
        documents = rows.get(file.sha256, [])
        reason = json.loads(documents[0])["reason"] if documents else None
        if after == "delete" and documents and reason not in QUARANTINED:
            continue
        folder = "quarantine" if reason in QUARANTINED else "archive"
        here = moved[folder].get(file.case_id, [])
        if after == "keep" or not any(path.read_bytes() == file.content for path in here):
            found.note("lost", f"the bytes of {file.name} are gone")
        elif folder == "quarantine" and not any(path.name.endswith(".reason.json") for path in here):
            found.note("lost", f"{file.name} lies in quarantine without its reason")


def _by_case(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        found.setdefault(path.name.partition(".")[0], []).append(path)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too: an input may be set aside for a moment."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
