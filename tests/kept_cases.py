"""A state folder as a daemon leaves it: rows, result files, and inputs put away."""

import json
from pathlib import Path

from reports import sighting_of

from edge.outputs.durable import write_durably
from edge.outputs.report_json import encode, write_result
from edge.state import StateFolder
from edge.store import Ledger
from edge.values import QUARANTINED, Report


def finish(
    report: Report, state: StateFolder, ledger: Ledger, incoming: Path, *, after: str = "archive", content: bytes = b""
) -> Path:
    """What the daemon's last stage does with one radiograph. Returns where its file was in the incoming folder.

    By hand, because the digest of the bytes may be another than the report's, and `dispose` would leave such a file.
    """
    path = incoming / f"{after}-{report.sha256[:8]}.dcm"
    path.write_bytes(content or report.sha256.encode())
    sighting = sighting_of(path)
    document = encode(report)
    write_result(state.results(report.bundle_id), report.case_id, document)
    ledger.record(report, document, sighting)
    case = report.finished
    if after != "keep" and case.reason in QUARANTINED:
        reason = {"case_id": case.case_id, "reason": case.reason, "detail": case.detail}
        write_durably(state.quarantine / f"{case.case_id}.reason.json", (json.dumps(reason) + "\n").encode())
        write_durably(state.quarantine / f"{case.case_id}.dcm", path.read_bytes())
    elif after == "archive":
        write_durably(state.archive / f"{case.case_id}.dcm", path.read_bytes())
    if after != "keep":
        path.unlink()
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Every visible file below a folder but the ledger's, by its path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(("ledger.sqlite", ".lock"))
    }
