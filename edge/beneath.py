"""Opens what lies below a folder. No link and no ".." is followed on the way, whoever swaps names meanwhile.

A path is what a name led to a moment ago; a descriptor stays with what was opened. Nothing is opened for reading before
it is known what it is: to open a pipe or a device may wait, and may do something.
"""

import contextlib
import ctypes
import errno
import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_OPENAT2 = 437  # the same number on every machine, since Linux 5.6; glibc has no function for it
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08  # RESOLVE_ of linux/openat2.h
# An older kernel, a seccomp filter, a flag that is not known. EAGAIN: something was renamed meanwhile.
_NOT_HERE = (errno.ENOSYS, errno.EPERM, errno.EINVAL)
_TRIES = 4
# What lies there, were it a link, and nothing is set in motion.
PLAIN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# What is told where a link lies on the way, or where a path leads out.
LED_ASTRAY = (errno.ELOOP, errno.ENOTDIR, errno.EXDEV)


class _OpenHow(ctypes.Structure):
    """struct open_how of linux/openat2.h."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(root: Path, path: Path) -> int:
    """An O_PATH descriptor of what lies at `path`, below `root` or the root itself: never of a link.

    The root's own path may lead through links, its last name may not. Raises OSError: one of LED_ASTRAY where a link
    lies on the way or `path` does not lie below, ENOENT and others as open does.
    """
    names = _names(root, path)
    above = os.open(root, PLAIN | os.O_DIRECTORY)
    try:
        opened = open_below(above, names)
    finally:
        os.close(above)
    if stat.S_ISLNK(os.fstat(opened).st_mode):  # O_PATH and O_NOFOLLOW give the link itself
        os.close(opened)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return opened


def open_below(above: int, names: list[str], flags: int = PLAIN) -> int:
    """As `open_beneath`, from a folder that is open already; none of the names is "..". The last may be a link's own,
    unless the flags say what it must be: give those only that start nothing, such as O_DIRECTORY with O_RDONLY.
    """
    opened = _at_once(above, names, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    return _step_by_step(above, names, flags | os.O_NOFOLLOW | os.O_CLOEXEC) if opened is None else opened


def reopen(descriptor: int, flags: int) -> int:
    """Open what an O_PATH descriptor stands for, whatever its name leads to by now. Needs /proc.

    O_NONBLOCK is added: the owner of a file can take a lease on it, which an open would wait for.
    """
    return os.open(_held(descriptor), flags | os.O_NONBLOCK | os.O_CLOEXEC)


@contextlib.contextmanager
def held_folder(root: Path, folder: Path) -> Iterator[Path]:
    """A path of a folder below `root` that stays with it: names below it are never looked for elsewhere.

    Raises OSError as `open_beneath`.
    """
    opened = open_beneath(root, folder)
    try:
        if not stat.S_ISDIR(os.fstat(opened).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        yield _held(opened)
    finally:
        os.close(opened)


def _held(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def _names(root: Path, path: Path) -> list[str]:
    """The names that lead from the root to the path."""
    if not path.is_relative_to(root):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    names = list(path.parts[len(root.parts) :])
    if ".." in names or any("\0" in name for name in names):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return names


def _at_once(above: int, names: list[str], flags: int) -> int | None:
    """None where the kernel does not have it, or was disturbed again and again."""
    how = _OpenHow(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    path = os.fsencode("/".join(names) or ".")
    for _ in range(_TRIES):
        opened = _syscall()(_OPENAT2, above, path, ctypes.byref(how), ctypes.sizeof(how))
        if opened >= 0:
            return int(opened)
        number = ctypes.get_errno()
        if number in _NOT_HERE:
            return None
        if number != errno.EAGAIN:
            raise OSError(number, os.strerror(number))
    return None


def _step_by_step(above: int, names: list[str], flags: int) -> int:
    """Name by name: each folder is opened below the one that is open already, and no link is."""
    opened = os.dup(above)
    for place, name in enumerate(names or ["."]):
        last = place >= len(names) - 1
        try:
            below = os.open(name, flags if last else PLAIN | os.O_DIRECTORY, dir_fd=opened)
        finally:
            os.close(opened)
        opened = below
    return opened


@functools.cache
def _syscall() -> "ctypes._FuncPointer":
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)
    call.restype = ctypes.c_long
    return call
