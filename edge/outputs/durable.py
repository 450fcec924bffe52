"""Files that are complete the moment they are visible, and still there after a power cut."""

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from edge.errors import DiskFailed, EdgeError, StateError

TEMPORARY_SUFFIX = ".part"
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_CHUNK_BYTES = 1024 * 1024
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # of fcntl.h and linux/fs.h


def write_durably(path: Path, content: bytes | Iterable[bytes | bytearray], *, mode: int = 0o600) -> None:
    """Write beside, fsync, rename, fsync the folder; two processes must not write the same path at once.

    content: whole, or in parts, which are not copied together. Raises StateError when the disk is full or fails, and
    what the parts raise; half a file is not left to fill the disk.
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
    except (OSError, EdgeError) as fault:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(fault, OSError):
            raise disk_error(path.parent, fault) from None
        raise


def _create(temporary: Path, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(temporary, flags, mode)
    except FileExistsError:  # a crash left it behind, or it is a link whose target is not ours to write
        temporary.unlink()
        return os.open(temporary, flags, mode)


def move_durably(source: Path, target: Path) -> None:
    """Move a file of the box's own, across filesystems too; it is private wherever it goes, and has one name there.

    Raises FileNotFoundError when the source is gone, StateError when the disk fails.
    """
    try:
        make_folder(target.parent)
        opened = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise disk_error(target.parent, fault) from None
    try:
        if not _renamed(opened, source, target):
            write_durably(target, chunks(opened))
            source.unlink(missing_ok=True)
        sync_folder(target.parent)
        sync_senders_folder(source.parent)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise disk_error(target.parent, fault) from None
    finally:
        os.close(opened)


def _renamed(opened: int, source: Path, target: Path) -> bool:
    """False on another filesystem, when the file has other names, or is another user's, as of an earlier version.

    A rename is there for both folders or for neither, also after a power cut. A second name in between would not be: a
    crash would leave two, and a file with two is not read.
    """
    try:
        if os.fstat(opened).st_nlink > 1:  # a backup of links (cp -al): it keeps its file, and its file's mode
            return False
        os.fchmod(opened, 0o600)
        source.rename(target)
    except OSError as fault:
        if fault.errno not in (errno.EXDEV, errno.EPERM):
            raise
        return False
    return True


def rename_to_free(source: Path, free: Path) -> None:
    """Rename, and never over another file. Raises FileExistsError when the name is taken, OSError as rename does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(free), _RENAME_NOREPLACE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(number, os.strerror(number))
    _link_to_free(source, free)


def _link_to_free(source: Path, free: Path) -> None:
    """Where a filesystem renames over what is there or not at all, such as NFS."""
    try:
        os.link(source, free, follow_symlinks=False)
    except OSError as fault:
        if fault.errno not in NO_HARD_LINKS:
            raise
        source.lstat()  # or FileNotFoundError
        os.close(os.open(free, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # ours from here on
        try:
            source.rename(free)
        except OSError:
            free.unlink(missing_ok=True)  # an empty file is an input too
            raise
    else:
        source.unlink()


def chunks(opened: int) -> Iterator[bytes]:
    """All bytes of an open file, from where it stands. Raises StateError when they cannot be read."""
    try:
        while chunk := os.read(opened, _CHUNK_BYTES):
            yield chunk
    except OSError as fault:
        raise StateError(f"an input cannot be read again ({fault.strerror}); check its disk") from None


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
