"""The file of an index: complete the moment it is visible, and refused when a single bit of it has changed.

One line with the format and the SHA-256 of all that follows; one line of JSON, the stamp; then the index as usearch
writes it. usearch's own `save` has neither fsync nor checksum. What the index holds and when is in case_index.py.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from edge.errors import StateError
from edge.outputs.durable import TEMPORARY_SUFFIX, disk_error, make_folder, sync_folder, write_durably

FOLDER = "index"  # in the state folder
_FORMAT = b"edge-cxr index 1"
_LOCK = ".lock"
_FIX = "it is built anew from the ledger, by the daemon or by edge-cxr index rebuild"


class IndexDamaged(StateError):
    """The file of an index cannot be used. Nothing is lost: the ledger has every embedding."""


@dataclass(frozen=True)
class Stamp:
    """What an index file is of.

    last_number: every case of the ledger up to this number is in it. forgotten: of the ledger's Extent when it was
    read.
    """

    bundle_id: str
    size: int  # numbers in an embedding
    dtype: str  # f16
    count: int
    last_number: int
    forgotten: str


def path_of(folder: Path, bundle_id: str) -> Path:
    return folder / f"{bundle_id[:12]}.usearch"


def save(path: Path, stamp: Stamp, payload: bytes | bytearray) -> None:
    """Write an index; hold `locked`. Raises StateError when the disk is full or fails; the earlier file stays."""
    header = json.dumps(asdict(stamp), sort_keys=True).encode() + b"\n"
    digest = hashlib.sha256(header)
    digest.update(payload)
    try:
        write_durably(path, (b"%s %s\n" % (_FORMAT, digest.hexdigest().encode()), header, payload))
    except StateError:
        with contextlib.suppress(OSError):  # half a file must not fill the disk
            path.with_name(f".{path.name}{TEMPORARY_SUFFIX}").unlink(missing_ok=True)
        raise


def load(path: Path, bundle_id: str) -> tuple[Stamp, memoryview] | None:
    """The stamp and the index as it was saved; None when there is no file.

    Raises IndexDamaged when a byte of it has changed, or it is of another bundle.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise IndexDamaged(f"the index {path} cannot be read ({fault.strerror}); {_FIX}") from None
    start = content.find(b"\n") + 1
    body = memoryview(content)[start:]
    if content[:start] != b"%s %s\n" % (_FORMAT, hashlib.sha256(body).hexdigest().encode()):
        raise IndexDamaged(f"the index {path} is damaged ({len(content)} bytes); {_FIX}")
    end = content.find(b"\n", start) + 1
    try:
        stamp = Stamp(**json.loads(content[start:end]))
    except (TypeError, ValueError):
        raise IndexDamaged(f"the index {path} is of another version; {_FIX}") from None
    if stamp.bundle_id != bundle_id:
        raise IndexDamaged(f"the index {path} is of bundle {stamp.bundle_id[:12]}, wanted {bundle_id[:12]}; {_FIX}")
    return stamp, body[end - start :]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Nobody else saves or removes an index of this folder meanwhile. Raises StateError when the disk fails."""
    try:
        make_folder(folder)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as fault:
        raise disk_error(folder, fault) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def remove_all(folder: Path) -> None:
    """Remove every index, of every bundle, half-written ones too; hold `locked`, so that none comes back.

    Raises StateError when the disk fails.
    """
    try:
        for path in folder.iterdir():
            if path.name != _LOCK:  # whoever waits for the lock has it open
                path.unlink()
        sync_folder(folder)
    except OSError as fault:
        raise disk_error(folder, fault) from None
