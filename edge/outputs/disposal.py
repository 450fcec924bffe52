"""What happens to an input once its result is safe: kept, archived, deleted, or put into quarantine.

An input is first set aside, under a hidden name beside it, and looked at once more: a file that its sender put in its
place after it was scored is another radiograph, and must not go with it.
"""

import contextlib
import json
import os
from pathlib import Path

from edge.errors import StateError
from edge.looks import look
from edge.outputs.durable import move_durably, sync_folder, write_durably
from edge.state import StateFolder
from edge.values import QUARANTINED, FinishedCase, Sighting

ASIDE = ".edge-cxr-"  # begins the name of what is set aside
_SUFFIXES = {"dicom": "dcm", "png": "png", "jpeg": "jpg", "tiff": "tif"}


def dispose(sighting: Sighting, case: FinishedCase, state: StateFolder, *, after: str) -> None:
    """Carry out `after`. A file that changed since it was read is left: it is another radiograph by now.

    A requeued input goes back to the archive where inputs are kept: nobody else has it.
    Raises StateError when it cannot be moved or removed; its message names no input.
    """
    if after == "keep" and sighting.path.is_relative_to(state.requeued):
        after = "archive"
    if after == "keep" or look(sighting.path) != sighting:
        return
    aside = sighting.path.with_name(f"{ASIDE}{case.case_id}")
    if not _set_aside(sighting, aside):
        return
    try:
        _put_away(aside, case, state, after=after)
    except StateError:
        _put_back(aside, sighting.path)  # seen by its sender, and tried again at the next start
        raise


def recover_set_aside(root: Path) -> int:
    """Give back what a crash left set aside below a folder, so that it is found again; how many there were."""
    count = 0
    for folder, _, names in os.walk(root):
        for name in (name for name in names if name.startswith(ASIDE)):
            with contextlib.suppress(OSError):
                _put_back(Path(folder, name), Path(folder, name.removeprefix(".")))
                count += 1
    return count


def _set_aside(sighting: Sighting, aside: Path) -> bool:
    """False when the file is gone, or is another one by now."""
    if aside.exists():  # a copy that a crash left; the names below one folder are ours alone
        _put_back(aside, aside.with_name(aside.name.removeprefix(".")))
    try:
        sighting.path.rename(aside)
    except FileNotFoundError:
        return False
    except OSError as fault:
        raise StateError(f"an input cannot be moved or deleted ({fault.strerror}); let the box write in the incoming "
                         "folder") from None  # fmt: skip
    seen = look(aside)
    if seen is not None and (seen.size_bytes, seen.mtime_ns, seen.inode) == (
        sighting.size_bytes,
        sighting.mtime_ns,
        sighting.inode,
    ):
        return True
    _put_back(aside, sighting.path)
    return False


def _put_back(aside: Path, path: Path) -> None:
    """Under its own name, or beside the one that has taken it. Never over another file."""
    number = 0
    while True:
        free = path if number == 0 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            free.hardlink_to(aside)
        except FileExistsError:
            number += 1
            continue
        except FileNotFoundError:
            return
        except OSError:  # no hard links here
            if free.exists():
                number += 1
                continue
            aside.rename(free)
            return
        aside.unlink()
        return


def _put_away(aside: Path, case: FinishedCase, state: StateFolder, *, after: str) -> None:
    name = f"{case.case_id}.{_SUFFIXES.get(case.format or '', 'bin')}"
    if case.reason in QUARANTINED:
        reason = {"case_id": case.case_id, "reason": case.reason, "detail": case.detail}
        write_durably(state.quarantine / f"{case.case_id}.reason.json", (json.dumps(reason) + "\n").encode())
        _move(aside, state.quarantine / name)
    elif after == "archive":
        _move(aside, state.archive / name)
    else:
        _remove(aside)


def _move(path: Path, target: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # its sender took it back
        move_durably(path, target)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as fault:
        raise StateError(f"an input cannot be deleted ({fault.strerror}); let the box write in the folder") from None
