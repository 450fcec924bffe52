"""The state folder: where everything lies, one daemon at a time, on a disk of this machine, readable by no one else."""

import contextlib
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError, UsageError
from edge.mounts import NETWORK, filesystem_of
from edge.outputs.durable import make_folder, sync_folder

LEDGER, SITE_KEY, RESULTS, PLANS = "ledger.sqlite", "site.key", "results", "plans"
SITE_KEY_BYTES = 32
_FRESH_KEY = ".site.key."  # a key that is being made
_TURN_S = 0.002  # a lock is not fair: who waits for it needs this long to get it


@dataclass(frozen=True)
class StateFolder:
    """Paths inside a state folder, and the secret site key that hashes identifiers."""

    root: Path
    site_key: bytes

    @property
    def ledger(self) -> Path:
        return self.root / LEDGER

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def archive(self) -> Path:
        return self.root / "archive"

    @property
    def requeued(self) -> Path:
        """Files of cases that were asked for again: a second folder that the daemon takes from."""
        return self.root / "requeued"

    @property
    def index(self) -> Path:
        return self.root / "index"

    @property
    def plans(self) -> Path:
        return self.root / PLANS

    def results(self, bundle_id: str) -> Path:
        return self.root / RESULTS / bundle_id[:12]


def open_state(root: Path, *, restoring: bool = False) -> StateFolder:
    """Create or open a state folder (0700).

    restoring: its ledger is about to be put back. Raises StateError when it lies on a network disk (neither locks nor
    fsync can be trusted there), is not writable, or has lost its key or its ledger.
    """
    try:
        make_folder(root)
        kind = filesystem_of(root)
        if kind in NETWORK:
            raise StateError(f"state folder {root} lies on a network disk ({kind}); choose --state on a local disk")
        key = root / SITE_KEY
        foreign = [path for path in root.iterdir() if not path.name.startswith(_FRESH_KEY)]
        if (root / LEDGER).exists() and not key.exists():
            raise StateError(f"{key} is missing, without which the ledger beside it cannot be used; restore it")
        if foreign and not key.exists():
            raise StateError(f"{root} holds other files than the box's own; choose an empty folder with --state")
        # Results come after the ledger, but for a restore: to begin a new ledger would be to score everything again.
        if not restoring and (root / RESULTS).is_dir() and not (root / LEDGER).exists():
            raise StateError(
                f"state folder {root} holds results and no ledger; run edge-cxr restore, or choose an empty folder "
                "with --state"
            )
        root.chmod(0o700)
        # A crash may have come between a folder's making and its sync: what is found is synced, not only what is made.
        for folder in (*root.resolve().parents, root, *root.glob(RESULTS)):
            with contextlib.suppress(PermissionError):
                sync_folder(folder)
        return StateFolder(root.resolve(), _site_key(key))
    except OSError as fault:
        raise StateError(
            f"state folder {root} cannot be used ({fault.strerror}); choose another with --state"
        ) from None


def existing_state(root: Path) -> StateFolder:
    """Open a state folder for a command that writes there, beside the daemon or without it.

    Raises UsageError when there is none, or it is another user's; StateError as `open_state`.
    """
    check_owner(existing_ledger(root), root)
    return open_state(root)


def existing_ledger(root: Path) -> Path:
    """Raises UsageError when the folder holds no ledger."""
    if not (root / LEDGER).is_file():
        raise UsageError(f"state folder {root} holds no ledger; check --state")
    return root / LEDGER


def check_owner(path: Path, root: Path) -> None:
    """Raises UsageError when what lies there is not this user's: files of this user would stop its owner's daemon."""
    owner = path.stat().st_uid
    if owner != os.geteuid():
        raise UsageError(f"state folder {root} belongs to user {owner}, this is user {os.geteuid()}; run it as that "
                         "user, as with sudo -u")  # fmt: skip


@contextlib.contextmanager
def files_held(state: StateFolder, *, often: bool = False) -> Iterator[None]:
    """Alone with the files of cases and what the ledger says of them: the daemon's threads and an operator's commands
    exclude each other here, for a moment at a time. Take it before the ledger is locked, and never twice.

    often: it is taken again and again, and after each time others have their turn. The lock is on the folder itself and
    goes with the process, however it ends. Raises StateError when the folder is gone.
    """
    try:
        descriptor = os.open(state.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as fault:
        raise StateError(f"state folder {state.root} cannot be opened ({fault.strerror}); check its owner") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that is being started has the descriptor too, for a moment
        os.close(descriptor)
    if often:
        time.sleep(_TURN_S)


def lock_state(state: StateFolder) -> int:
    """Hold the folder for this process; the lock goes with the process, however it ends. Returns its descriptor.

    Raises StateError when another daemon holds it.
    """
    try:
        descriptor = os.open(state.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise StateError(f"{state.root / 'lock'} cannot be opened ({fault.strerror}); check its owner") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StateError(
            f"another edge-cxr watches with state folder {state.root}; stop it, or choose another with --state"
        ) from None
    for unfinished in state.root.glob(f"{_FRESH_KEY}*"):  # of a start that was killed; no other can be under way now
        unfinished.unlink(missing_ok=True)
    return descriptor


def _site_key(path: Path) -> bytes:
    if not path.exists():
        _create_site_key(path)
    key = path.read_bytes()
    if len(key) != SITE_KEY_BYTES:
        raise StateError(f"{path} is damaged; restore it from a backup")
    return key


def _create_site_key(path: Path) -> None:
    """Complete the moment it has its name, and never replaced: another process may have made it meanwhile."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_FRESH_KEY) as fresh:
        fresh.write(secrets.token_bytes(SITE_KEY_BYTES))
        fresh.flush()
        os.fsync(fresh.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh.name, path)
    sync_folder(path.parent)
