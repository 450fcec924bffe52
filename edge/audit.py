"""The audit log's entries: what was done with which case, each chained to the one before it by a keyed hash.

They are only ever added, in the transaction of what they tell of. No case id is in them, only a keyed reference to one.
How they are read and verified is in audit_log.py, what each event tells in docs/audit.md.
"""

import hashlib
import hmac
import json
import os
import pwd
import re
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import apsw

from edge.errors import StateError, UsageError
from edge.schema import RARE

ORIGIN = hashlib.sha256(b"edge-cxr/audit/1").digest()  # what the first entry is chained to
_FIXED = struct.Struct(">qdhhl")
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")
_LOGIN_UID = Path("/proc/self/loginuid")
_NO_LOGIN = 2**32 - 1


class Event(StrEnum):
    """What the log tells of: a closed set."""

    SCORED = "scored"
    NOT_SCORED = "not_scored"
    LOOKED_UP = "looked_up"
    LABELLED = "labelled"
    LINKED = "linked"
    REQUEUED = "requeued"
    FORGOTTEN = "forgotten"
    RETAINED = "retained"
    BACKED_UP = "backed_up"
    RESTORED = "restored"
    CONFIGURED = "configured"
    BUNDLE_INSTALLED = "bundle_installed"
    BUNDLE_ACTIVATED = "bundle_activated"
    BUNDLE_REMOVED = "bundle_removed"
    BUNDLE_CHANGED = "bundle_changed"
    CALIBRATED = "calibrated"
    STARTED = "started"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Head:
    """The last entry's number and hash, or the origin's: noted elsewhere, it tells whether the log was cut since."""

    number: int = 0
    hash: bytes = ORIGIN

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"


def parse_head(text: str) -> Head:
    """Raises UsageError when this is no head."""
    found = _HEAD.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text!r} is no head; one is NUMBER:HASH, as edge-cxr audit verify and the daemon's log have it"
        )
    return Head(int(found[1]), bytes.fromhex(found[2]))


def reference(site_key: bytes, case_id: str) -> bytes:
    """What stands for a case in the log: 32 bytes that lead to no case without the site key."""
    return hmac.digest(site_key, f"audit:{case_id}".encode(), "sha256")


def chain_key(site_key: bytes) -> bytes:
    return hmac.digest(site_key, b"audit chain", "sha256")


def seal(
    key: bytes, previous: bytes, number: int, at_s: float, event: bytes, subject: bytes | None, detail: bytes
) -> bytes:
    """An entry's hash: HMAC-SHA256 over the hash before it, its numbers and lengths, and its texts.

    key: of `chain_key`. The lengths come before the texts, so that no two entries have the same bytes.
    """
    fixed = _FIXED.pack(number, at_s, len(event), -1 if subject is None else len(subject), len(detail))
    return hmac.digest(key, b"".join((previous, fixed, event, subject or b"", detail)), "sha256")


def head_of(connection: apsw.Connection) -> Head:
    row = connection.execute("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    return Head() if row is None else Head(*row)


def append(
    connection: apsw.Connection,
    site_key: bytes,
    event: Event,
    detail: Mapping[str, object],
    *,
    case_id: str | None = None,
) -> None:
    """Add an entry. The connection must be in a transaction that writes, or two entries could follow the same one.

    detail: what JSON can hold; no case id, file name, path of an input or UID may be in it. Raises StateError when the
    log is not as the box left it, so that no entry can follow.
    """
    append_each(connection, site_key, event, detail, [case_id])


def append_each(
    connection: apsw.Connection,
    site_key: bytes,
    event: Event,
    detail: Mapping[str, object],
    case_ids: Iterable[str | None],
) -> None:
    """As `append`, the same entry of each of these cases."""
    # A number is never given twice: where the end was cut off, the gap stays.
    given = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'audit'").fetchone()
    last, key, at_s = head_of(connection), chain_key(site_key), time.time()
    text, rows = json.dumps(detail, sort_keys=True, separators=(",", ":")), []
    try:
        first, hashed = max(last.number, given[0] if given else 0) + 1, last.hash
        for number, case_id in enumerate(case_ids, first):
            subject = None if case_id is None else reference(site_key, case_id)
            hashed = seal(key, hashed, number, at_s, event.encode(), subject, text.encode())
            rows.append((number, at_s, str(event), subject, text, hashed))
    except (TypeError, struct.error):  # by hand, anything can be written in the place of a number or a hash
        raise changed_by_another() from None
    connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)", rows)


def details(connection: apsw.Connection, event: Event) -> list[dict[str, Any]]:
    """Of every entry of an event that is rare, oldest first. Raises StateError at one that is no JSON."""
    rows = connection.execute(f"SELECT detail FROM audit WHERE {RARE} AND event = ? ORDER BY number", (str(event),))
    try:
        return [json.loads(str(row[0])) for row in rows.fetchall()]
    except ValueError:
        raise changed_by_another() from None


def changed_by_another() -> StateError:
    """An error for a log that another program has written in."""
    return StateError(
        "another program has changed the audit log, and nothing is added to it; run edge-cxr audit verify"
    )


def operator(login_uid: Path = _LOGIN_UID) -> str:
    """Who runs this command: the login name of who logged in, also where sudo has made another user of them since.

    Where nobody logged in, as in a container, the user of the process. The uid where it has no name.
    """
    try:
        uid = int(login_uid.read_text(encoding="ascii"))
    except (OSError, ValueError):
        uid = _NO_LOGIN
    if uid == _NO_LOGIN:
        uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
