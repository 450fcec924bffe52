"""A state folder as a daemon leaves it: rows, result files, and inputs put away."""

from pathlib import Path

from reports import sighting_of

from edge.outputs.disposal import dispose
from edge.outputs.report_json import encode, write_result
from edge.state import StateFolder
from edge.store import Ledger
from edge.values import Report


def finish(
    report: Report, state: StateFolder, ledger: Ledger, incoming: Path, *, after: str = "archive", content: bytes = b""
) -> Path:
    """What the daemon's last stage does with one radiograph. Returns where its file was in the incoming folder."""
    path = incoming / f"{after}-{report.sha256[:8]}.dcm"
    path.write_bytes(content or report.sha256.encode())
    sighting = sighting_of(path)
    document = encode(report)
    write_result(state.results(report.bundle_id), report.case_id, document)
    ledger.record(report, document, sighting)
    dispose(sighting, report.finished, state, after=after)
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Every visible file below a folder but the ledger's, by its path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(("ledger.sqlite", ".lock"))
    }
