"""What happens to an input once its result is safe: kept, archived, deleted, or put into quarantine.

An input is first set aside, under a hidden name beside it, and looked at once more: a file that its sender put in its
place after it was scored is another radiograph, and must not go with it. All of it happens in a folder that is held
open, and the box keeps a copy: the file itself stays its sender's, who may have it open, or linked under other names.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edge.beneath import LED_ASTRAY, PLAIN, held_folder, reopen
from edge.errors import EdgeError, StateError
from edge.folders import files_beginning
from edge.looks import is_temporary, look
from edge.outputs.durable import chunks, rename_to_free, sync_senders_folder, write_durably
from edge.state import StateFolder
from edge.values import CASE_ID_DIGITS, QUARANTINED, FinishedCase, Look, Sighting, case_id_of

ASIDE = ".edge-cxr-"  # begins the name of what is set aside
_SUFFIXES = {"dicom": "dcm", "png": "png", "jpeg": "jpg", "tiff": "tif"}
_RANDOM_BYTES = 8


class _Changed(EdgeError):
    """What was set aside is no longer what was scored."""


def dispose(
    sighting: Sighting, case: FinishedCase, state: StateFolder, *, after: str, root: Path | None = None
) -> bool:
    """Carry out `after`. True when the input was put into quarantine.

    A file that changed since it was read is left: it is another radiograph by now.
    root: the folder below which it was found; only the one that it lies in by default. A requeued input goes back to
    the archive where inputs are kept: nobody else has it.
    Raises StateError when it cannot be moved or removed; its message names no input.
    """
    if sighting.path.is_relative_to(state.requeued):
        after, root = "archive" if after == "keep" else after, state.requeued
    if after == "keep":
        return False
    with contextlib.ExitStack() as opened:
        try:
            folder = opened.enter_context(held_folder(root or sighting.path.parent, sighting.path.parent))
        except OSError as fault:
            if fault.errno in (errno.ENOENT, *LED_ASTRAY):  # gone, or a link took its place
                return False
            raise StateError(f"the folder of an input cannot be opened ({fault.strerror}), and the input stays; check "
                             "the folder's permissions and how many files the box may open") from None  # fmt: skip
        return _dispose_in(folder, replace(sighting, path=folder / sighting.path.name), case, state, after=after)


def recover_set_aside(root: Path) -> tuple[int, int]:
    """Give back what a crash left set aside below a folder, so that it is found again.

    Returns how many there were, and how many stay hidden because they cannot be renamed.
    """
    recovered, hidden = 0, 0
    for folder, names in files_beginning(root, ASIDE):
        named = _named_already(folder, names)
        for name in names:
            try:
                if name in named:
                    _remove(folder / name)
                else:
                    _put_back(folder / name, folder / name.removeprefix("."))
                recovered += 1
            except StateError:
                hidden += 1
    return recovered, hidden


def _named_already(folder: Path, names: Sequence[str]) -> set[str]:
    """Those of what was set aside that have a name in the folder again: where nothing is renamed without the danger of
    writing over another file, such as on NFS, a file has two names for a moment, and with two it would not be read.
    """
    inodes: dict[int, str] = {}
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            seen = (folder / name).lstat()
            if seen.st_nlink > 1:
                inodes[seen.st_ino] = name
    if not inodes:
        return set()
    with os.scandir(folder) as entries:
        return {inodes[entry.inode()] for entry in entries if entry.inode() in inodes and not is_temporary(entry.name)}


def _dispose_in(folder: Path, sighting: Sighting, case: FinishedCase, state: StateFolder, *, after: str) -> bool:
    # Nobody can have put anything there: the name is not to be foreseen.
    aside = folder / f"{ASIDE}{case.case_id}-{secrets.token_hex(_RANDOM_BYTES)}"
    if look(sighting.path) != sighting or not _set_aside(sighting, aside):
        return False
    try:
        return _put_away(aside, sighting.look, case, state, after=after)
    except _Changed:
        _put_back(aside, sighting.path)
        return False
    except StateError:
        with contextlib.suppress(StateError):  # the first fault is the one that counts: a failed sync ends the process
            _put_back(aside, sighting.path)  # seen by its sender, and tried again at the next start
        raise


def _set_aside(sighting: Sighting, aside: Path) -> bool:
    """False when the file is gone, or is another one by now."""
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
    free = path
    while True:
        try:
            rename_to_free(aside, free)
            return
        except FileExistsError:  # with the case id still, and of a length that every folder takes
            begun = aside.name.removeprefix(".")[: len(ASIDE) - 1 + CASE_ID_DIGITS]
            free = path.with_name(f"{begun}-{secrets.token_hex(_RANDOM_BYTES)}")
        except FileNotFoundError:
            return
        except OSError as fault:
            raise StateError(f"an input cannot be given its name back ({fault.strerror}); let the box write in the "
                             "incoming folder") from None  # fmt: skip


def _put_away(aside: Path, scored: Look, case: FinishedCase, state: StateFolder, *, after: str) -> bool:
    name = f"{case.case_id}.{_SUFFIXES.get(case.format or '', 'bin')}"
    quarantined = case.reason in QUARANTINED
    try:
        if quarantined:
            reason = {"case_id": case.case_id, "reason": case.reason, "detail": case.detail}
            write_durably(state.quarantine / f"{case.case_id}.reason.json", (json.dumps(reason) + "\n").encode())
            _copy(aside, scored, case.case_id, state.quarantine / name)
        elif after == "archive":
            _copy(aside, scored, case.case_id, state.archive / name)
        _remove(aside)
    except FileNotFoundError:  # its sender took it back
        return False
    return quarantined


def _copy(aside: Path, scored: Look, case_id: str, target: Path) -> None:
    """Raises FileNotFoundError when it is gone, _Changed when it is another file, or was written in meanwhile,
    StateError when it has other bytes and looks the same.
    """
    with _opened(aside, scored) as opened:
        write_durably(target, _as_scored(opened, scored, case_id))


@contextlib.contextmanager
def _opened(aside: Path, scored: Look) -> Iterator[int]:
    try:
        found = os.open(aside, PLAIN)
        try:
            if _look_at(found) != scored:  # before it is opened to be read: a pipe may have taken its name
                raise _Changed
            opened = reopen(found, os.O_RDONLY)
        finally:
            os.close(found)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise StateError(f"an input cannot be read again ({fault.strerror}); check its permissions") from None
    try:
        yield opened
    finally:
        os.close(opened)


def _as_scored(opened: int, scored: Look, case_id: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in chunks(opened):
        digest.update(chunk)
        yield chunk
    if _look_at(opened) != scored:
        raise _Changed
    if case_id_of(digest.hexdigest()) != case_id:  # it looks the same, so that nobody would look at it again
        raise StateError("an input was written in after it was read, and was given back its time of change; it is left "
                         "where it is and not judged. Send it again under another name")  # fmt: skip


def _look_at(opened: int) -> Look | None:
    seen = os.fstat(opened)
    if not stat.S_ISREG(seen.st_mode):
        return None
    return Look(seen.st_size, seen.st_mtime_ns, seen.st_ino)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as fault:
        raise StateError(f"an input cannot be deleted ({fault.strerror}); let the box write in the folder") from None
    sync_senders_folder(path.parent)
