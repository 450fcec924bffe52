"""What happens to an input once its result is safe: kept, archived, deleted, or put into quarantine."""

import contextlib
import json
from pathlib import Path

from edge.errors import StateError
from edge.inbox import look
from edge.outputs.durable import move_durably, sync_folder, write_durably
from edge.state import StateFolder
from edge.values import QUARANTINED, FinishedCase, Sighting

_SUFFIXES = {"dicom": "dcm", "png": "png", "jpeg": "jpg", "tiff": "tif"}


def dispose(sighting: Sighting, case: FinishedCase, state: StateFolder, *, after: str) -> None:
    """Carry out `after`. A file that changed since it was read is left: it is another radiograph by now.

    Raises StateError when it cannot be moved or removed; its message names no input.
    """
    if after == "keep" or look(sighting.path) != sighting:
        return
    name = f"{case.case_id}.{_SUFFIXES.get(case.format or '', 'bin')}"
    if case.reason in QUARANTINED:
        reason = {"case_id": case.case_id, "reason": case.reason, "detail": case.detail}
        write_durably(state.quarantine / f"{case.case_id}.reason.json", (json.dumps(reason) + "\n").encode())
        _move(sighting.path, state.quarantine / name)
    elif after == "archive":
        _move(sighting.path, state.archive / name)
    else:
        _remove(sighting.path)


def _move(path: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # its sender took it back
        move_durably(path, target)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as fault:
        raise StateError(f"an input cannot be deleted ({fault.strerror}); let the box write in the folder") from None
