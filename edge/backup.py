"""A box's memory elsewhere: the ledger and the site key, copied while the daemon runs, and a state folder made of them.

Radiographs in archive and quarantine are not part of it: they are plain files, which other programs copy better.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.audit import Event, operator
from edge.errors import UsageError
from edge.ledger_copy import check_copy, copy_ledger, documents, note_restored, replacing
from edge.outputs.durable import disk_error, make_folder, sync_folder, write_durably
from edge.shelf import FOLDER as BUNDLES
from edge.shelf import MARK
from edge.site_calibration import FOLDER as CALIBRATION
from edge.state import LEDGER, RESULTS, SITE_KEY, SITE_KEY_BYTES, StateFolder, check_owner, lock_state, open_state
from edge.upkeep import Upkeep


@dataclass(frozen=True)
class BackedUp:
    """reports: how many the copy of the ledger holds."""

    folder: str
    reports: int
    size_bytes: int


@dataclass(frozen=True)
class Restored:
    """results: how many result files were written."""

    state: str
    results: int


def backup(state: StateFolder, folder: Path) -> BackedUp:
    """Copy ledger and site key into a folder (0700); an earlier backup of this box there is replaced. The ledger's
    audit log tells of it before it begins: also of one that fails.

    Raises UsageError when the folder is not for a backup of this box, or another backup into it is running;
    StateError when the ledger or the disk fails.
    """
    if folder.resolve().is_relative_to(state.root):
        raise UsageError(f"{folder} lies in the state folder {state.root}; name a folder on another disk")
    with _held(folder):
        if _others(folder, {LEDGER, SITE_KEY, CALIBRATION, BUNDLES}):
            raise UsageError(f"{folder} holds other files than a backup; name an empty folder")
        key = folder / SITE_KEY
        if key.exists() and key.read_bytes() != state.site_key:
            raise UsageError(f"{folder} holds the backup of another box; name another folder")
        folder.chmod(0o700)
        with Upkeep(state.ledger, site_key=state.site_key) as ledger:  # before anything leaves the box, and part of it
            ledger.note(Event.BACKED_UP, {"by": operator(), "folder": str(folder.resolve())})
        write_durably(key, state.site_key)  # first: a ledger without it is worth nothing
        _copy_calibrations(state.root, folder)
        _copy_mark(state.root, folder)
        reports = copy_ledger(state.ledger, folder / LEDGER)
        return BackedUp(str(folder), reports, (folder / LEDGER).stat().st_size)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Make the folder of a backup, and let no other backup in: two at once would write into one file."""
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        raise disk_error(folder, fault) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"another backup into {folder} is running; wait for it") from None
        yield
    finally:
        os.close(descriptor)


def restore(folder: Path, root: Path) -> Restored:
    """Make a state folder of a backup: key, result files, and the ledger last, so that it means complete.

    Cut short at any point, the same call finishes it, and until then no daemon starts on it. Raises UsageError when the
    folder is no backup, or the state folder is in use, another box's or another user's; StateError when the backup is
    damaged or the disk fails.
    """
    for name in (LEDGER, SITE_KEY):
        if not (folder / name).is_file():
            raise UsageError(f"{folder} is no backup: {name} is missing; name a folder that edge-cxr backup wrote")
    if any(root.glob(f"{LEDGER}*")):  # a log that was left behind would be applied to another ledger
        raise UsageError(f"state folder {root} has a ledger already, or its log; name a new folder with --state")
    key = (folder / SITE_KEY).read_bytes()
    if len(key) != SITE_KEY_BYTES:
        raise UsageError(f"{folder / SITE_KEY} is damaged ({len(key)} bytes); use an earlier backup")
    if root.exists():
        check_owner(root, root)
    state = open_state(root, restoring=True)
    lock = lock_state(state)
    try:
        _take_key(key, state)
        _copy_calibrations(folder, state.root)
        _copy_mark(folder, state.root)
        with replacing(state.ledger) as fresh:
            shutil.copyfile(folder / LEDGER, fresh)
            check_copy(fresh)
            note_restored(fresh, key)
            return Restored(str(state.root), _write_results(fresh, state))
    finally:
        os.close(lock)


def _copy_calibrations(source: Path, target: Path) -> None:
    """What the site found on its own radiographs: without it a restored box would decide by the bundle's values."""
    names = {path.name for path in (source / CALIBRATION).glob("*.json")}
    for gone in {path.name for path in (target / CALIBRATION).glob("*.json")} - names:
        (target / CALIBRATION / gone).unlink()
    for name in sorted(names):
        write_durably(target / CALIBRATION / name, (source / CALIBRATION / name).read_bytes())


def _copy_mark(source: Path, target: Path) -> None:
    """Which bundle is active, not the bundle itself: without it a restored box would score with `research`."""
    mark = Path(BUNDLES, MARK)
    if (source / mark).is_file():
        write_durably(target / mark, (source / mark).read_bytes())
    else:
        (target / mark).unlink(missing_ok=True)


def _take_key(key: bytes, state: StateFolder) -> None:
    """A key of its own that has not been used for anything gives way."""
    results, given = state.root / RESULTS, key != state.site_key
    empty = {RESULTS} if results.is_dir() and not any(results.iterdir()) else set()
    if given and _others(state.root, {SITE_KEY, "lock"} | empty):
        raise UsageError(f"state folder {state.root} is another box's; name a new folder with --state")
    make_folder(results)  # before all else: by it and no ledger, `open_state` knows a restore that was cut short
    if given:
        write_durably(state.root / SITE_KEY, key)


def _write_results(ledger: Path, state: StateFolder) -> int:
    """Every report of the ledger as its file, safe from a power cut when it returns. Returns how many."""
    folders, results = set(), 0
    for bundle_id, case_id, report in documents(ledger):
        folder = state.results(bundle_id)
        _write_visible(folder / f"{case_id}.json", report.encode())
        folders.add(folder)
        results += 1
    for folder in folders:
        sync_folder(folder)
    return results


def _others(folder: Path, names: set[str]) -> bool:
    """Whether a folder holds anything else; what is being written does not count."""
    if not folder.is_dir():
        return False
    return any(path.name not in names and not path.name.startswith(".") for path in folder.iterdir())


def _write_visible(path: Path, content: bytes) -> None:
    """Complete the moment it is visible; its name is not yet safe from a power cut: one sync keeps a folder's all."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.part")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.rename(path)
