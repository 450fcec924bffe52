"""State and incoming folder: where they lie, who may use them, how much is free, and how new files are noticed."""

import os
import stat
from pathlib import Path

from edge.config import Config
from edge.disk_space import Reserve
from edge.doctor.check import Finding, failed, warning
from edge.doctor.machine import Machine, User
from edge.errors import StateError, Unopenable
from edge.inbox import mode
from edge.mounts import NETWORK, filesystem_of
from edge.notifications import Notifications
from edge.state import LEDGER, PLANS, RESULTS, SITE_KEY, SITE_KEY_BYTES

_SMALL = ("index", "calibration", "drift", "bundles", PLANS)  # folders of the state folder with few entries
_FEW_INODES = 1000
_MOST_FOLDERS = 100_000  # that are followed
_FEW_INSTANCES = 16


def exists(config: Config) -> bool:
    return Path(config.state, SITE_KEY).exists()


def state_folder(config: Config) -> Finding:
    """As the daemon would find it; nothing is made or mended."""
    root = Path(config.state)
    kind = filesystem_of(root)
    if kind in NETWORK:
        raise StateError(f"state folder {root} lies on a network disk ({kind}); choose --state on a local disk")
    if not exists(config):
        if root.is_dir() and any(root.iterdir()):
            raise StateError(f"{root} holds other files and no {SITE_KEY}; restore it, or choose an empty folder")
        return Finding(f"{root} on {kind} is no state folder yet; watch makes it one")
    if (root / SITE_KEY).stat().st_size != SITE_KEY_BYTES:
        raise StateError(f"{root / SITE_KEY} is damaged; restore it from a backup")
    if (root / RESULTS).is_dir() and not (root / LEDGER).exists():
        raise StateError(f"{root} holds results and no ledger; run edge-cxr restore, or choose an empty folder")
    return Finding(f"{root} on {kind}")


def permissions(config: Config, user: User, machine: Machine) -> Finding:
    """user: whoever runs the daemon."""
    root = Path(config.state)
    if not root.is_dir():
        return Finding("there is no state folder yet")
    if not machine.may(user, root, "rwx"):
        return failed(f"user {user.name} may not write in {root}; run: chown -R {user.name}: {root}")
    foreign = sum(entry.lstat().st_uid != user.uid for entry in _entries(root))
    if foreign:
        return failed(f"{foreign} entries of {root} are not user {user.name}'s, which stops the daemon; "
                      f"run: chown -R {user.name}: {root}")  # fmt: skip
    bits = stat.S_IMODE(root.stat().st_mode)
    if bits & 0o077:
        return warning(f"{root} has mode {bits:04o}, and patient data are in it; run: chmod 700 {root}")
    return Finding(f"{root} is user {user.name}'s alone (mode {bits:04o})")


def _entries(root: Path) -> list[Path]:
    """The folder, what lies in it, and in its small folders."""
    below = [path for name in _SMALL if (root / name).is_dir() for path in (root / name).iterdir()]
    return [root, *root.iterdir(), *below]


def disk(config: Config, machine: Machine) -> Finding:
    folder = Path(config.state).absolute()
    while not folder.is_dir():
        folder = folder.parent
    percent, most_bytes = config.reserve_percent, config.reserve_bytes
    shortage = Reserve(folder, percent=percent, at_most_bytes=most_bytes).shortage()
    if shortage is not None:
        return failed(f"{shortage}; nothing is taken until some are freed: see docs/operations.md")
    usage = machine.statvfs(folder)
    if usage.f_files and usage.f_favail < _FEW_INODES:
        return failed(f"the disk of {folder} has room for {usage.f_favail} more files only; remove small files")
    free = f"{usage.f_bavail * usage.f_frsize / 1e9:.1f} GB free"
    if Reserve(folder, percent=2 * percent, at_most_bytes=2 * most_bytes).shortage() is not None:
        return warning(f"{free}, less than twice the reserve, at which nothing more is taken; free some, or set the "
                       "keep_*_days and *_max_bytes of docs/configuration.md")  # fmt: skip
    return Finding(free)


def incoming_folder(incoming: Path, config: Config, user: User, machine: Machine) -> Finding:
    if not incoming.is_dir() or not machine.may(user, incoming, "rx"):
        raise Unopenable(f"{incoming} cannot be read by user {user.name}; check that it is a folder, is mounted, "
                         "and its permissions")  # fmt: skip
    seen = incoming.stat()
    bits, moves = stat.S_IMODE(seen.st_mode), config.after != "keep"
    if moves and not machine.may(user, incoming, "wx"):
        raise Unopenable(f"{incoming} cannot be written in by user {user.name}, so no input can be moved or deleted; "
                         "let the box write there")  # fmt: skip
    if moves and bits & stat.S_ISVTX and user.uid not in (0, seen.st_uid):
        return warning(f"{incoming} has the sticky bit (mode {bits:04o}), so the box cannot move or delete what others "
                       f"put there; run: chmod -t {incoming}")  # fmt: skip
    how = f"{incoming} on {mode(incoming, config.watching)}"
    if bits & 0o007:
        return warning(f"{how}; every user of this machine may look into it (mode {bits:04o}); "
                       f"run: chmod o-rwx {incoming}")  # fmt: skip
    return Finding(f"{how} (mode {bits:04o})")


def inotify(incoming: Path, config: Config, machine: Machine) -> Finding:
    """What the kernel may be asked to announce, against the folders that are there. Beyond it they are polled."""
    if mode(incoming, config.watching).endswith("polling"):
        return Finding("not needed: the folder is polled")
    limits = machine.proc / "sys/fs/inotify"
    watches, instances = (int((limits / f"max_user_{name}").read_text()) for name in ("watches", "instances"))
    try:
        with Notifications():
            pass
    except OSError as fault:
        return warning(f"the kernel gives no inotify ({fault.strerror}), so the folder is polled; run: sysctl "
                       f"fs.inotify.max_user_instances={2 * instances}")  # fmt: skip
    folders = _folders(incoming)
    seen = f"{folders} folders, of {watches} that may be watched by all programs of a user together"
    if 2 * folders > watches:
        return warning(f"{seen}: those beyond are polled; run: sysctl fs.inotify.max_user_watches={4 * folders}")
    if instances < _FEW_INSTANCES:
        return warning(f"only {instances} programs of a user may use inotify; run: sysctl "
                       f"fs.inotify.max_user_instances=128")  # fmt: skip
    return Finding(seen)


def _folders(root: Path) -> int:
    """How many, root included; counting ends where following does."""
    count = 0
    for _ in os.walk(root):
        count += 1
        if count >= _MOST_FOLDERS:
            break
    return count
