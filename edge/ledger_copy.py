"""A copy of the ledger in one plain file: made while the daemon writes, checked, and read for its reports."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from edge import audit
from edge.errors import StateError
from edge.ledger_reader import BUSY_MS, ledger_error
from edge.outputs.durable import TEMPORARY_SUFFIX, disk_error, sync_folder
from edge.schema import check_version, migrate

_CREATE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new private file beside the target, which takes its place at the end, and goes when something failed.

    Raises StateError when the disk fails.
    """
    fresh = target.with_name(f".{target.name}{TEMPORARY_SUFFIX}")
    beside = [fresh.with_name(f"{fresh.name}-{kind}") for kind in ("journal", "wal", "shm")]
    try:
        for left in (fresh, *beside):  # what a crash left there is worthless, and a journal would be applied
            left.unlink(missing_ok=True)
        fresh.touch(mode=0o600, exist_ok=False)
        yield fresh
        with fresh.open("rb") as opened:
            os.fsync(opened.fileno())
        fresh.rename(target)
        sync_folder(target.parent)
    except BaseException as fault:
        for left in (fresh, *beside):
            left.unlink(missing_ok=True)
        if isinstance(fault, OSError):
            raise disk_error(target.parent, fault) from None
        raise


def copy_ledger(source: Path, target: Path) -> int:
    """Copy a ledger as it was at one moment; the target is replaced when the copy is whole and sound.

    Returns how many reports it holds. Raises StateError when the ledger is damaged or the target's disk fails.
    """
    with replacing(target) as fresh:
        try:
            with _opened(source, apsw.SQLITE_OPEN_READONLY) as ledger, _opened(fresh, _CREATE) as copy:
                _copy(ledger, copy)
        except apsw.FullError:
            raise disk_error(target.parent, OSError(errno.ENOSPC, "")) from None
        except apsw.Error as fault:
            raise ledger_error(source, fault) from None
        return check_copy(fresh)


def _copy(ledger: apsw.Connection, copy: apsw.Connection) -> None:
    copy.pragma("locking_mode", "exclusive")  # so that it needs no shared memory, which network shares do not have
    copy.pragma("journal_mode", "off")
    # In one step: a read transaction that stops nobody. In several, each of the daemon's commits would begin it anew.
    with copy.backup("main", ledger, "main") as backup:
        backup.step(-1)
    copy.pragma("journal_mode", "delete")  # one plain file, which can be read where nothing can be written


def check_copy(path: Path) -> int:
    """Returns how many reports a copy holds; one of an earlier version becomes one of this.

    Raises StateError when it is damaged or of a later version.
    """
    try:
        with _opened(path, apsw.SQLITE_OPEN_READWRITE) as copy:
            if copy.execute("PRAGMA integrity_check(1)").get != "ok":
                raise StateError(f"{path} is damaged (its check fails); use an earlier backup")
            # To migrate is to write tables anew; what is forgotten later must not be left in the pages of the old ones.
            copy.pragma("secure_delete", True)
            migrate(copy)
            check_version(copy, str(path))
            return int(copy.execute("SELECT count(*) FROM cases").get)
    except (apsw.NotADBError, apsw.CorruptError):
        raise StateError(f"{path} is damaged (it is no database); use an earlier backup") from None
    except apsw.Error as fault:
        raise ledger_error(path, fault) from None


def note_restored(path: Path, site_key: bytes) -> None:
    """Add to a copy's audit log that a box goes on from here. Raises StateError when the disk fails."""
    try:
        by = audit.operator()
        with _opened(path, apsw.SQLITE_OPEN_READWRITE) as copy:
            copy.execute("BEGIN IMMEDIATE")
            audit.append(copy, site_key, audit.Event.RESTORED, {"by": by})
            copy.execute("COMMIT")
    except apsw.Error as fault:
        raise ledger_error(path, fault) from None


def documents(path: Path) -> Iterator[tuple[str, str, str]]:
    """(bundle id, case id, report) of every case in a copy; what was superseded is left out.

    Raises StateError when it cannot be read.
    """
    try:
        with _opened(path, apsw.SQLITE_OPEN_READONLY) as copy:
            yield from copy.execute("SELECT bundle_id, case_id, report FROM cases")
    except apsw.Error as fault:
        raise ledger_error(path, fault) from None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(BUSY_MS)
        yield connection
    finally:
        connection.close()
