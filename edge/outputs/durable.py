"""Files that are complete the moment they are visible, and still there after a power cut."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from edge.errors import DiskFailed, StateError

TEMPORARY_SUFFIX = ".part"
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def write_durably(path: Path, content: bytes | Iterable[bytes | bytearray], *, mode: int = 0o600) -> None:
    """Write beside, fsync, rename, fsync the folder; two processes must not write the same path at once.

    content: whole, or in parts, which are not copied together. Raises StateError when the disk is full or fails.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    try:
        make_folder(path.parent)
        with os.fdopen(_create(temporary, mode), "wb") as opened:
            opened.writelines((content,) if isinstance(content, bytes) else content)
            opened.flush()
            _sync(opened.fileno(), path.parent)
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as fault:
        raise disk_error(path.parent, fault) from None


def _create(temporary: Path, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(temporary, flags, mode)
    except FileExistsError:  # a crash left it behind, or it is a link whose target is not ours to write
        temporary.unlink()
        return os.open(temporary, flags, mode)


def move_durably(source: Path, target: Path) -> None:
    """Move a file, across filesystems too; the source goes only after the target is safe.

    Raises FileNotFoundError when the source is gone, StateError when the disk fails.
    """
    try:
        make_folder(target.parent)
        _appear(source, target)
        sync_folder(target.parent)
        source.unlink(missing_ok=True)  # it has gone already where it could only be renamed
        sync_senders_folder(source.parent)
    except FileNotFoundError:
        raise
    except PermissionError as fault:
        raise StateError(f"an input cannot be moved to {target.parent} ({fault.strerror}); let the box write there and "
                         "in the incoming folder") from None  # fmt: skip
    except OSError as fault:
        raise disk_error(target.parent, fault) from None


def _appear(source: Path, target: Path) -> None:
    """A second name for the file; where there are no hard links, a rename; on another filesystem, a copy."""
    temporary = target.with_name(f".{target.name}{TEMPORARY_SUFFIX}")
    temporary.unlink(missing_ok=True)  # a crash left it behind
    try:
        temporary.hardlink_to(source)
    except OSError as fault:
        if fault.errno not in (errno.EXDEV, *NO_HARD_LINKS):
            raise
        if fault.errno in NO_HARD_LINKS:
            source.rename(target)
            return
        shutil.copyfile(source, temporary, follow_symlinks=False)
        with temporary.open("rb") as opened:
            _sync(opened.fileno(), target.parent)
    temporary.rename(target)
    temporary.unlink(missing_ok=True)  # to rename one name of a file to another of it does nothing


def make_folder(folder: Path) -> None:
    """Create a private folder and its parents so that they survive a power cut: each one's name is synced too."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder survive a power cut, as far as its filesystem can.

    Raises OSError when it cannot be opened, DiskFailed when the sync fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor, folder)
    finally:
        os.close(descriptor)


def sync_senders_folder(folder: Path) -> None:
    """As far as it goes: an input that is back after a power cut is known, and put away again."""
    with contextlib.suppress(OSError, DiskFailed):
        sync_folder(folder)


def _sync(descriptor: int, folder: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as fault:
        if fault.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # some shares sync no folders
            return
        raise DiskFailed(f"syncing in {folder} failed ({fault.strerror}); check the disk and start again") from None


def disk_error(folder: Path, fault: OSError) -> StateError:
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return StateError(f"the disk of {folder} is full; free space and start again: nothing was lost")
    return StateError(f"writing in {folder} failed ({fault.strerror}); check the disk and start again")
