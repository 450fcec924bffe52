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
from edge.outputs.durable import NO_HARD_LINKS, move_durably, sync_senders_folder, write_durably
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
        with contextlib.suppress(StateError):  # the first fault is the one that counts: a failed sync ends the process
            _put_back(aside, sighting.path)  # seen by its sender, and tried again at the next start
        raise


def recover_set_aside(root: Path) -> tuple[int, int]:
    """Give back what a crash left set aside below a folder, so that it is found again.

    Returns how many there were, and how many stay hidden because they cannot be renamed.
    """
    recovered, hidden = 0, 0
    for folder, _, names in os.walk(root):
        for name in (name for name in names if name.startswith(ASIDE)):
            try:
                _put_back(Path(folder, name), Path(folder, name.removeprefix(".")))
                recovered += 1
            except StateError:
                hidden += 1
    return recovered, hidden


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
    if seen is not None and seen.look == sighting.look:
        return True
    _put_back(aside, sighting.path)
    return False


def _put_back(aside: Path, path: Path) -> None:
    """Under its own name, or beside the one that has taken it. Never over another file. Raises StateError."""
    number = 0
    while True:
        free = path if number == 0 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            _rename_to_free(aside, free)
            return
        except FileExistsError:
            number += 1
        except FileNotFoundError:
            return
        except OSError as fault:
            raise StateError(f"an input cannot be given its name back ({fault.strerror}); let the box write in the "
                             "incoming folder") from None  # fmt: skip


def _rename_to_free(aside: Path, free: Path) -> None:
    """Raises FileExistsError when the name is taken."""
    try:
        free.hardlink_to(aside)
    except OSError as fault:
        if fault.errno not in NO_HARD_LINKS:
            raise
        aside.lstat()  # or FileNotFoundError
        os.close(os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))  # the name is ours from here on
        aside.rename(free)
    else:
        aside.unlink()


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
    except OSError as fault:
        raise StateError(f"an input cannot be deleted ({fault.strerror}); let the box write in the folder") from None
    sync_senders_folder(path.parent)
