"""The ledger as it is read, by any number of connections beside the one that writes. What is written is in store.py."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import apsw
import numpy as np

from edge.audit import Head, head_of
from edge.errors import StateError
from edge.schema import check_version
from edge.shadow_pairs import ShadowPair, Verdict
from edge.similarity import Extent, NumberedCase
from edge.values import FinishedCase

# A case that is judged again, by another bundle or on request, is no younger for it.
_FIRST_S = (
    "min(finished_s, (SELECT min(finished_s) FROM cases AS same WHERE same.sha256 = cases.sha256), "
    "coalesce((SELECT min(finished_s) FROM superseded WHERE superseded.sha256 = cases.sha256), finished_s))"
)
_NUMBERED = f"number, case_id, embedding, label, score, patient_key, report ->> '$.source.view', {_FIRST_S}"
BUSY_MS = 10_000  # another connection may hold the database for a moment, at a checkpoint or a start


@dataclass(frozen=True)
class EarlierInstance:
    """A finished case with the same SOPInstanceUID."""

    case_id: str
    pixels_sha256: str


class LedgerReader:
    """A connection that only reads, beside the daemon's. Safe to use from several threads: a lock serialises them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = self._connect()
            self._connection.set_busy_timeout(BUSY_MS)
            self._prepare()
        except apsw.Error as fault:
            raise ledger_error(path, fault) from None
        except OSError as fault:
            raise StateError(f"the ledger {path} cannot be opened ({fault.strerror}); check its owner") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def finished(self, sha256: str) -> FinishedCase | None:
        """The case of these bytes, as it was judged last. None when it never was, and when it was asked for again."""
        unasked = "NOT EXISTS (SELECT 1 FROM requeued WHERE sha256 = ?1)"
        row = self._one(f"SELECT report FROM cases WHERE sha256 = ?1 AND {unasked} ORDER BY number DESC", sha256)
        if row is None:
            return None
        report = json.loads(row[0])
        return FinishedCase(report["case_id"], report["source"]["format"], report["reason"], report["detail"])

    def earlier_instance(self, instance_key: str, *, without: str) -> EarlierInstance | None:
        """The first finished case of another file with the same SOPInstanceUID, whichever bundle judged it."""
        row = self._one(
            "SELECT case_id, pixels_sha256 FROM cases WHERE instance_key = ? AND sha256 <> ? "
            "AND coalesce(reason, '') NOT IN ('duplicate', 'conflict') ORDER BY number",
            instance_key,
            without,
        )
        return None if row is None else EarlierInstance(*row)

    def reports(self, case_id: str) -> list[dict[str, Any]]:
        """Every report of a case, oldest first, one for each bundle that judged it."""
        rows = self._all("SELECT report FROM cases WHERE case_id = ? ORDER BY finished_s", case_id)
        return [json.loads(row[0]) for row in rows]

    def earlier_cases(
        self, bundle_id: str, *, after: int = 0, up_to: int | None = None, case_id: str | None = None
    ) -> list[NumberedCase]:
        """The scored cases of a bundle in the order of their numbers: those above `after`, not above `up_to`, or the
        one with this id. The reading takes as long as there are numbers, whichever bundle's they are.
        """
        rows = self._all(
            f"SELECT {_NUMBERED} FROM cases WHERE number > ?2 AND number <= coalesce(?3, 1 << 62) "
            f"AND bundle_id = ?1 AND status = 'scored' {'AND case_id = ?4' if case_id else ''} ORDER BY number",
            *((bundle_id, after, up_to, case_id) if case_id else (bundle_id, after, up_to)),
        )
        return [_numbered(row) for row in rows]

    def cases_numbered(self, numbers: Sequence[int]) -> dict[int, NumberedCase]:
        """The scored cases with these numbers, by number; without those that are no longer there."""
        rows = self._all(
            f"SELECT {_NUMBERED} FROM cases WHERE number IN (SELECT value FROM json_each(?)) AND status = 'scored'",
            json.dumps(list(numbers)),
        )
        return {row[0]: _numbered(row) for row in rows}

    def notes(self, case_ids: Sequence[str]) -> dict[str, str]:
        """What was noted of these cases, by case id; without those of which nothing was."""
        rows = self._all(
            "SELECT DISTINCT case_id, note FROM cases JOIN notes USING (sha256) "
            "WHERE case_id IN (SELECT value FROM json_each(?))",
            json.dumps(list(case_ids)),
        )
        return dict(rows)

    def extent(self) -> Extent:
        """How far the ledger goes, for who keeps a copy of its cases."""
        last_number, *forgotten = self._one(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'cases'), 0), "
            "count(*), total(forgotten_s) FROM forgotten"
        )
        return Extent(last_number, "{}:{}".format(*forgotten))

    def newest_s(self, *, scored: bool = False) -> float:
        """When the case judged last was, or the one scored last (seconds of the epoch); 0 when there is none."""
        only = "WHERE status = 'scored'" if scored else ""
        row = self._one(f"SELECT finished_s FROM cases {only} ORDER BY number DESC LIMIT 1")
        return 0.0 if row is None else float(row[0])

    def last_superseded(self) -> int:
        """Changes whenever a case gives way to its new report: its row is gone, and the new one has another number."""
        row = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'superseded'")
        return 0 if row is None else int(row[0])

    def count_cases(self, *, up_to: int, after: int = 0) -> int:
        """Of every status and bundle, with numbers above `after` and not above `up_to`."""
        if after:
            return int(self._one("SELECT count(*) FROM cases WHERE number > ? AND number <= ?", after, up_to)[0])
        # All are counted by an index, of a hundredth of the table's size; those above are few.
        all_but = "SELECT (SELECT count(*) FROM cases) - (SELECT count(*) FROM cases WHERE number > ?)"
        return int(self._one(all_but, up_to)[0])

    def concerns_others(self, bundle_id: str, *, after: int, up_to: int) -> bool:
        """Whether a case with such a number was judged by another bundle, now or before."""
        return bool(
            self._one(
                "SELECT EXISTS (SELECT 1 FROM cases AS this WHERE number > ?2 AND number <= ?3 "
                "AND EXISTS (SELECT 1 FROM cases WHERE sha256 = this.sha256 AND bundle_id <> ?1))",
                bundle_id,
                after,
                up_to,
            )[0]
        )

    def count_of_others(self, bundle_id: str, *, after: int, up_to: int) -> int:
        """Cases with such numbers whose last report is a score, and which this bundle has not judged."""
        return int(
            self._one(
                "SELECT count(*) FROM cases AS this WHERE number > ?2 AND number <= ?3 AND status = 'scored' "
                "AND bundle_id <> ?1 AND number = (SELECT max(number) FROM cases WHERE sha256 = this.sha256) "
                "AND NOT EXISTS (SELECT 1 FROM cases WHERE sha256 = this.sha256 AND bundle_id = ?1)",
                bundle_id,
                after,
                up_to,
            )[0]
        )

    def shadow_pairs(self, candidate: str) -> list[ShadowPair]:
        """What was recorded of candidates whose ids begin so, in the order in which it came."""
        rows = self._all(
            "SELECT sha256, active_id, candidate_id, active_score, active_positive, active_reason, active_s, "
            "candidate_score, candidate_positive, candidate_reason, candidate_s FROM shadow "
            "WHERE substr(candidate_id, 1, ?2) = ?1 ORDER BY at_s",
            candidate,
            len(candidate),
        )
        return [ShadowPair(row[0], row[1], row[2], _verdict(*row[3:7]), _verdict(*row[7:])) for row in rows]

    def audit_head(self) -> Head:
        """Where the audit log ends now; to be noted elsewhere, as in the daemon's log."""
        try:
            with self._lock:
                return head_of(self._connection)
        except apsw.Error as fault:
            raise ledger_error(self._path, fault) from None

    def is_sound(self, *, within_s: float) -> bool | None:
        """Whether SQLite's quick check finds every page in order; None when there was no time to look at all of them.

        It writes nothing and keeps no writer waiting; the write-ahead log grows meanwhile.
        """
        end_s = time.monotonic() + within_s
        try:
            with self._lock:
                self._connection.set_progress_handler(lambda: time.monotonic() >= end_s, 100)
                try:
                    return bool(self._connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)])
                finally:
                    self._connection.set_progress_handler(None)
        except apsw.InterruptError:
            return None
        except apsw.Error as fault:
            raise ledger_error(self._path, fault) from None

    def _connect(self) -> apsw.Connection:
        return apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)

    def _prepare(self) -> None:
        check_version(self._connection, str(self._path))

    def _all(self, query: str, *values: Any) -> list[Any]:
        try:
            with self._lock:
                return self._connection.execute(query, values).fetchall()
        except apsw.Error as fault:
            raise ledger_error(self._path, fault) from None

    def _one(self, query: str, *values: Any) -> Any:
        return next(iter(self._all(query, *values)), None)


def _numbered(row: tuple[int, str, bytes, str | None, float | None, str | None, str | None, float]) -> NumberedCase:
    number, case_id, embedding, label, score, patient_key, view, judged_s = row
    return NumberedCase(
        case_id,
        np.frombuffer(embedding, "<f4"),
        label,
        score,
        number,
        patient_key=patient_key,
        view=view,
        judged_s=judged_s,
    )


def _verdict(score: float | None, positive: int | None, reason: str | None, engine_s: float | None) -> Verdict:
    return Verdict(score, None if positive is None else bool(positive), reason, engine_s)


def ledger_error(path: Path, fault: apsw.Error) -> StateError:
    if isinstance(fault, apsw.FullError):
        return StateError(f"the disk of {path.parent} is full; free space and start again: nothing was lost")
    if isinstance(fault, apsw.NotADBError | apsw.CorruptError):
        return StateError(f"{path} is damaged; restore it from a backup")
    if isinstance(fault, apsw.BusyError):
        return StateError(f"another program holds the ledger {path}; close it and start again")
    if isinstance(fault, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError):
        return StateError(f"the ledger {path} cannot be opened; check its owner and that its folder is there")
    return StateError(f"the ledger {path} failed ({type(fault).__name__}); check the disk and start again")
