"""The state folder: where everything lies, one daemon at a time, on a disk of this machine, readable by no one else."""

import contextlib
import fcntl
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge.errors import StateError
from edge.mounts import NETWORK, filesystem_of
from edge.outputs.durable import make_folder, sync_folder

LEDGER, SITE_KEY, PLANS = "ledger.sqlite", "site.key", "plans"
_KEY_BYTES = 32
_FRESH_KEY = ".site.key."  # a key that is being made


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
        return self.root / "results" / bundle_id[:12]


def open_state(root: Path) -> StateFolder:
    """Create or open a state folder (0700).

    Raises StateError when it lies on a network disk (neither locks nor fsync can be trusted there) or is not writable.
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
        root.chmod(0o700)
        # A crash may have come between a folder's making and its sync: what is found is synced, not only what is made.
        for folder in (*root.resolve().parents, root, *root.glob("results")):
            with contextlib.suppress(PermissionError):
                sync_folder(folder)
        return StateFolder(root.resolve(), _site_key(key))
    except OSError as fault:
        raise StateError(
            f"state folder {root} cannot be used ({fault.strerror}); choose another with --state"
        ) from None


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
    if len(key) != _KEY_BYTES:
        raise StateError(f"{path} is damaged; restore it from a backup")
    return key


def _create_site_key(path: Path) -> None:
    """Complete the moment it has its name, and never replaced: another process may have made it meanwhile."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=_FRESH_KEY) as fresh:
        fresh.write(secrets.token_bytes(_KEY_BYTES))
        fresh.flush()
        os.fsync(fresh.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh.name, path)
    sync_folder(path.parent)
