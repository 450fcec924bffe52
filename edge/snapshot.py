"""A file's bytes, frozen: hashing, decoding and quarantine all see the same ones, whatever happens to the file."""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.errors import Unopenable
from edge.imaging.formats import HEAD_BYTES, sniff_format
from edge.values import Look

MAX_FILE_BYTES = 512 * 1024 * 1024
# From linux/fcntl.h, Linux 5.1. F_SEAL_WRITE fails with EBUSY while the kernel happens to hold one of the pages.
F_SEAL_FUTURE_WRITE = 0x10
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Snapshot:
    """descriptor: a sealed memory file at offset 0, open while the snapshot is. sha256: of the whole file.
    format: dicom, png, jpeg or tiff, None when it is none of them. look: of the file once it
    was read, None where none was.

    Of a file over MAX_FILE_BYTES only the digest is kept: it is not decoded, but has a case id.
    """

    descriptor: int
    sha256: str
    size_bytes: int
    format: str | None
    look: Look | None = None


@contextmanager
def snapshot(path: Path) -> Iterator[Snapshot]:
    """Copy a regular file into sealed memory and hash it on the way.

    Raises FileNotFoundError when it is gone, Unopenable when it is not a regular file or cannot be opened or read.
    """
    try:
        # O_NONBLOCK: a FIFO without writer must not hang the box. O_NOFOLLOW: a link may point anywhere.
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as fault:
        raise _unopenable(fault) from None
    frozen = os.memfd_create("radiograph", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        yield _freeze(opened, frozen)
    finally:
        os.close(opened)
        os.close(frozen)


def _freeze(opened: int, frozen: int) -> Snapshot:
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        raise Unopenable("a link, pipe or device lies in the folder and is not read; remove it")
    digest, size_bytes = hashlib.sha256(), 0
    while chunk := _read(opened):
        size_bytes += len(chunk)
        digest.update(chunk)
        if size_bytes <= MAX_FILE_BYTES:
            _write_all(frozen, chunk)
    os.lseek(frozen, 0, os.SEEK_SET)
    seals = F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(frozen, fcntl.F_ADD_SEALS, seals)
    seen = os.fstat(opened)
    look = Look(seen.st_size, seen.st_mtime_ns, seen.st_ino)
    return Snapshot(frozen, digest.hexdigest(), size_bytes, sniff_format(os.pread(frozen, HEAD_BYTES, 0)), look)


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
    return Unopenable(f"a file cannot be read ({fault.strerror}); check its permissions and the disk")
