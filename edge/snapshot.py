"""A file's bytes, frozen: hashing, decoding and quarantine all see the same ones, whatever happens to the file."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edge.beneath import LED_ASTRAY, PLAIN, open_beneath, reopen
from edge.errors import StillLinked, Unopenable
from edge.imaging.formats import HEAD_BYTES, sniff_format
from edge.values import Look

# Several snapshots are in memory at once. A radiograph of 4096 x 4096 pixels has 32 MB.
MAX_FILE_BYTES = 256 * 1024 * 1024
# A sparse file of terabytes is made in no time and hashed in hours. Beyond this one there is no case id, and no result.
MAX_HASHED_BYTES = 4 * MAX_FILE_BYTES
# From linux/fcntl.h, Linux 5.1. F_SEAL_WRITE fails with EBUSY while the kernel happens to hold one of the pages.
F_SEAL_FUTURE_WRITE = 0x10
_CHUNK_BYTES = 256 * 1024  # still in the processor's cache when it is written


@dataclass(frozen=True)
class Snapshot:
    """descriptor: a sealed memory file at offset 0, open while the snapshot is. sha256: of the whole file.
    format: dicom, png, jpeg or tiff, None when it is none of them. look: of the file once it
    was read, None where none was.

    Of a file over MAX_FILE_BYTES only the digest is kept: it is not decoded, but has a case id. One over
    MAX_HASHED_BYTES has no snapshot.
    """

    descriptor: int
    sha256: str
    size_bytes: int
    format: str | None
    look: Look | None = None


@contextmanager
def snapshot(path: Path, *, root: Path | None = None) -> Iterator[Snapshot]:
    """Copy a regular file into sealed memory and hash it on the way.

    root: a folder that others write in. The file must lie below it, with no link on the way, and have this one name.
    Raises FileNotFoundError when it is gone, StillLinked when it has other names below a root, Unopenable when it is
    not a regular file, has more than MAX_HASHED_BYTES, or cannot be opened or read.
    """
    opened = _open(path, root)
    with ExitStack() as held:
        try:
            frozen = held.enter_context(_frozen(_chunks(opened)))
            seen = os.fstat(opened)
            if root is not None:
                _check_names(seen)
        finally:
            os.close(opened)  # before it waits to be decoded: an open file's name can be read in /proc
        yield replace(frozen, look=Look(seen.st_size, seen.st_mtime_ns, seen.st_ino))


@contextmanager
def frozen_bytes(content: bytes) -> Iterator[Snapshot]:
    """A snapshot of bytes that are in memory already."""
    with _frozen((content,)) as frozen:
        yield frozen


@contextmanager
def _frozen(chunks: Iterable[bytes]) -> Iterator[Snapshot]:
    # Always the same name: it can be read in /proc, and the file's own may be a patient's.
    frozen = os.memfd_create("radiograph", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        yield _freeze(chunks, frozen)
    finally:
        os.close(frozen)


def _freeze(chunks: Iterable[bytes], frozen: int) -> Snapshot:
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in chunks:
        size_bytes += len(chunk)
        _check_size(size_bytes)
        digest.update(chunk)
        if size_bytes <= MAX_FILE_BYTES:
            _write_all(frozen, chunk)
        elif size_bytes - len(chunk) <= MAX_FILE_BYTES:
            os.ftruncate(frozen, HEAD_BYTES)  # the rest is not needed any more: its memory is
    os.lseek(frozen, 0, os.SEEK_SET)
    seals = F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(frozen, fcntl.F_ADD_SEALS, seals)
    return Snapshot(frozen, digest.hexdigest(), size_bytes, sniff_format(os.pread(frozen, HEAD_BYTES, 0)))


def _open(path: Path, root: Path | None) -> int:
    try:
        found = os.open(path, PLAIN) if root is None else open_beneath(root, path)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise _unopenable(fault) from None
    try:
        seen = os.fstat(found)
        if not stat.S_ISREG(seen.st_mode):
            raise Unopenable("a link, pipe, device or folder lies where a file should and is not read; remove it")
        _check_size(seen.st_size)
        if root is not None:
            _check_names(seen)
        return reopen(found, os.O_RDONLY)
    except OSError as fault:  # even if nothing is there: it was opened already
        raise _unopenable(fault) from None
    finally:
        os.close(found)


def _check_names(seen: os.stat_result) -> None:
    """A link to another's file is a regular file; and to link and to unlink is a way to deliver."""
    if seen.st_nlink > 1:
        raise StillLinked(
            f"a file of the incoming folder has {seen.st_nlink} names (hard links) and is read once it has one; "
            "remove the others, or send a copy"
        )


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_HASHED_BYTES:
        raise Unopenable(
            f"a file has {size_bytes} bytes or more; of more than {MAX_HASHED_BYTES} no digest is made: remove it"
        )


def _chunks(opened: int) -> Iterator[bytes]:
    while chunk := _read(opened):
        yield chunk


def _read(opened: int) -> bytes:
    try:
        return os.read(opened, _CHUNK_BYTES)
    except OSError as fault:
        raise _unopenable(fault) from None


def _write_all(frozen: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(frozen, rest) :]


def _unopenable(fault: OSError) -> Unopenable:
    if fault.errno in LED_ASTRAY:
        return Unopenable("a link lies in the folder, or in the place of a folder, and is not followed; remove it")
    return Unopenable(f"a file cannot be read ({fault.strerror}); check its permissions and the disk")
