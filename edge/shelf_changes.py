"""Bundles are installed, activated, rolled back to and removed, beside the daemon. One command at a time.

A bundle is on the shelf whole or not at all, and active.json names the former one or the next: whatever a crash leaves
is cleared away by the next install. Each change has its entry in the audit log before it is made.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.audit import Event, operator
from edge.bundle import PACKAGED_IDS, Bundle, open_bundle
from edge.config import Config
from edge.disk_space import Reserve
from edge.errors import BundleError, StateError, UsageError
from edge.outputs.durable import TEMPORARY_SUFFIX, disk_error, make_folder, sync_folder, write_durably
from edge.seal import MANIFEST, SIGNATURE, read_unsigned
from edge.shelf import FOLDER, MARK, SHORT, Mark, installed_keys, place, read_mark
from edge.state import StateFolder
from edge.upkeep import Upkeep

_MOST_BEFORE = 20  # so far one can roll back
_UNKNOWN = "unknown"  # what was active before, where active.json was damaged
Proves = Callable[[str], str]  # name or folder -> what answered rightly; raises an EdgeError


@dataclass(frozen=True)
class Installed:
    """is_new: it was not there before."""

    bundle: Bundle
    folder: Path
    is_new: bool


@dataclass(frozen=True)
class Activated:
    """proof: on what its known answers came. before: what was active until then."""

    key: str
    bundle: Bundle
    before: str
    proof: str


def install(source: Path, state: StateFolder, config: Config) -> Installed:
    """Copy a bundle that the box would open. A damaged copy of an earlier install is replaced.

    Raises BundleError when the box would not open it, StateError when the disk has no room or fails.
    """
    with _shelf_held(state) as shelf, _disk_told(shelf):
        _clear_leftovers(shelf)
        if str(source) in PACKAGED_IDS:
            raise UsageError(f"{source} comes with the program; run: edge-cxr bundle activate {source}")
        bundle = open_bundle(str(source), trusted_keys=config.trusted_keys)
        target = shelf / bundle.id[:SHORT]
        if target.exists() and _opens(target, bundle.id, config):
            return Installed(bundle, target, is_new=False)
        _check_room(bundle, state, config)
        if not (shelf / MARK).exists() and not installed_keys(state.root):  # so that its loss can be told from none yet
            _write_mark(shelf, Mark())
        copied = _copied(source, bundle, shelf / _temporary(target.name), config)
        _note(state, Event.BUNDLE_INSTALLED, {"id": bundle.id, "name": bundle.manifest.name})
        if target.exists():
            _put_aside(target)
        copied.rename(target)
        sync_folder(shelf)
        return Installed(bundle, target, is_new=True)


def activate(key: str, state: StateFolder, config: Config, prove: Proves) -> Activated:
    """Make a bundle on the shelf the active one, once it has opened and given its known answers.

    Of what is active already, the daemon is asked to try again. Raises BundleError, and what `prove` raises.
    """
    with _shelf_held(state) as shelf, _disk_told(shelf):
        mark = _mark_or_none(state)
        if mark is None:
            return _turn_to(key, Mark(key), _UNKNOWN, state, config, prove)
        before = mark.before if key == mark.active else (mark.active, *(one for one in mark.before if one != key))
        return _turn_to(key, Mark(key, before[:_MOST_BEFORE]), mark.active, state, config, prove)


def roll_back(state: StateFolder, config: Config, prove: Proves) -> Activated:
    """Make the one before the active one, as `activate`; the next time the one before that.

    Raises UsageError when there was none.
    """
    with _shelf_held(state) as shelf, _disk_told(shelf):
        mark = read_mark(state.root)
        if not mark.before:
            raise UsageError(f"no bundle was active before {mark.active}; run: edge-cxr bundle activate ID")
        return _turn_to(mark.before[0], Mark(mark.before[0], mark.before[1:]), mark.active, state, config, prove)


def remove(key: str, state: StateFolder) -> None:
    """Take a bundle off the shelf. What it judged stays.

    Raises UsageError for the active one, the one before it, and one of the program's own.
    """
    if key in PACKAGED_IDS:
        raise UsageError(f"{key} comes with the program and takes no room of its own; nothing was removed")
    with _shelf_held(state) as shelf, _disk_told(shelf):
        mark = read_mark(state.root)
        if key == mark.active:
            raise UsageError(f"{key} is active; activate another one first")
        if key in mark.before[:1]:
            raise UsageError(f"{key} is what a rollback leads to; it can go once two others were activated")
        _note(state, Event.BUNDLE_REMOVED, {"id": key})
        if key in mark.before:
            _write_mark(shelf, Mark(mark.active, tuple(one for one in mark.before if one != key)))
        _put_aside(shelf / key)
        _clear_leftovers(shelf)


def _turn_to(key: str, wanted: Mark, before: str, state: StateFolder, config: Config, prove: Proves) -> Activated:
    where = place(state.root, key)
    bundle = open_bundle(where, trusted_keys=config.trusted_keys)
    proof = prove(where)
    told = {"from": before, "to": key, "id": bundle.id, "name": bundle.manifest.name}
    _note(state, Event.BUNDLE_ACTIVATED, told)
    _write_mark(state.root / FOLDER, wanted)
    return Activated(key, bundle, before, proof)


def _mark_or_none(state: StateFolder) -> Mark | None:
    """A mark that is damaged is what `activate` mends; what was active before is lost with it, and not made up."""
    try:
        return read_mark(state.root)
    except BundleError:
        return None


def _write_mark(shelf: Path, mark: Mark) -> None:
    told = {"active": mark.active, "before": list(mark.before)}
    write_durably(shelf / MARK, (json.dumps(told, indent=1) + "\n").encode())


@contextlib.contextmanager
def _shelf_held(state: StateFolder) -> Iterator[Path]:
    """Make the folder, and let no other command change it. The daemon takes no lock here: it waits for nobody.

    Raises UsageError when another command is at work.
    """
    shelf = state.root / FOLDER
    make_folder(shelf)
    descriptor = os.open(shelf, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError("another edge-cxr bundle command is at work on this state folder; wait for it") from None
        yield shelf
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_told(shelf: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise disk_error(shelf, fault) from None


def _copied(source: Path, bundle: Bundle, temporary: Path, config: Config) -> Path:
    """The verified bytes, written and read again. Raises BundleError when they are not what was verified."""
    manifest = read_unsigned(source).content
    signature = {} if bundle.signed_by is None else {SIGNATURE: (source / SIGNATURE).read_bytes()}
    try:
        for name, content in {**bundle.files, MANIFEST: manifest, **signature}.items():
            write_durably(temporary / name, content)
        if not _opens(temporary, bundle.id, config):
            raise BundleError(f"bundle {source} was changed while it was copied; nothing was installed, run it again")
    except (StateError, BundleError):
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return temporary


def _opens(folder: Path, bundle_id: str, config: Config) -> bool:
    try:
        return open_bundle(str(folder), trusted_keys=config.trusted_keys).id == bundle_id
    except BundleError:
        return False


def _check_room(bundle: Bundle, state: StateFolder, config: Config) -> None:
    reserve = Reserve(state.root, percent=config.reserve_percent, at_most_bytes=config.reserve_bytes)
    shortage = reserve.shortage(further_bytes=sum(map(len, bundle.files.values())))
    if shortage is not None:
        raise StateError(f"{shortage}; free some and run it again: nothing was installed")


def _note(state: StateFolder, event: Event, told: dict[str, str]) -> None:
    with Upkeep(state.ledger, site_key=state.site_key) as ledger:
        ledger.note(event, {"by": operator(), **told})


def _temporary(name: str) -> str:
    return f".{name}{TEMPORARY_SUFFIX}"


def _put_aside(folder: Path) -> None:
    """Out of the way in one step; the rest is cleared away later."""
    aside = folder.with_name(_temporary(f"{folder.name}.old"))
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    sync_folder(folder.parent)


def _clear_leftovers(shelf: Path) -> None:
    for left in shelf.glob(f".*{TEMPORARY_SUFFIX}"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()
