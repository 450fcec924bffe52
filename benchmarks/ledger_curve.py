"""Curve: cases in the ledger. The real daemon's start and scrape on it, look-ups, and a case more.

The ledgers are made: reports of the usual length, an embedding, a sighting and an audit entry for each case. Look-ups
and writes run in a process of their own, each case asked for once, at random places.
"""

import hashlib
import os
import random
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.audit_cost import report
from benchmarks.child import call_apart
from benchmarks.curve import Curve, Room
from benchmarks.daemon_process import DaemonProcess, running
from benchmarks.durability.soak import fill_ledger
from benchmarks.growth import Point, Told
from edge import audit
from edge.audit import Event
from edge.bundle import open_bundle
from edge.config import Config
from edge.ledger_reader import LedgerReader
from edge.outputs.report_json import encode
from edge.state import open_state
from edge.store import Ledger
from edge.values import Sighting

SIZES = (1000, 10_000, 100_000, 1_000_000)
_BUNDLE = "phantom"
_ASKED, _WRITTEN = 1000, 300
_COUNTING, _SCRAPES = 150, 100  # the first scrapes after a start count what a large ledger holds, a part at a time
_AT_ONCE = 10_000
_LIMIT_S = 3600.0
_DETAIL = {"bundle": "b" * 12, "backend": "openvino", "precision": "int8"}


def points(room: Room) -> Iterator[Point]:
    for cases in room.within(SIZES):
        yield Point(cases, "", measure(cases, room.scratch))


def measure(cases: int, scratch: Path | None) -> dict[str, float]:
    """ready_s, ready_cpu_s: of the daemon, from its command on. scrape_*: GET /metrics once all is counted: by the
    clock, and CPU time of the daemon; scrape_most_s: the slowest after the start. peak_bytes: of the daemon.

    known_cpu_s, new_cpu_s: what the ledger knows of a file's bytes, when they have a case and when not. reports_cpu_s,
    similar_cpu_s: a case's reports, and its embedding for `edge-cxr similar`, by case id. write_cpu_s: a scored case
    and its entry in the audit log. Medians; CPU times are of the thread that asks.
    """
    with tempfile.TemporaryDirectory(prefix="edge-cxr-curve-", dir=scratch) as folder:
        root = Path(folder)
        call_apart(fill, (root / "state", cases), limit_s=_LIMIT_S)
        file_bytes = (root / "state" / "ledger.sqlite").stat().st_size
        served = _served(root)
        asked = call_apart(_asked, (root / "state", cases), limit_s=_LIMIT_S)
    return {"file_bytes": file_bytes, **served, **asked}


def fill(order: tuple[Path, int]) -> None:
    """order: a state folder, and how many cases."""
    root, cases = order
    fill_ledger(root, cases)
    state = open_state(root)
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        for first in range(0, cases, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, cases))
            with ledger._transaction() as connection:
                case_ids = [digest_of(number)[:16] for number in numbers]
                audit.append_each(connection, state.site_key, Event.SCORED, _DETAIL, case_ids)


def digest_of(number: int) -> str:
    """Of a made case's file, as fill_ledger has it."""
    return hashlib.sha256(number.to_bytes(8, "big")).hexdigest()


def _served(root: Path) -> dict[str, float]:
    incoming = root / "incoming"
    incoming.mkdir()
    config = Config(state=str(root / "none"), bundle=_BUNDLE, backend="openvino")
    with running(config, open_bundle(_BUNDLE).id, incoming, root, os.environ) as daemon:
        ready_cpu_s = daemon.usage().cpu_s
        first_s = [_scrape_s(daemon) for _ in range(_COUNTING)]
        before_s = daemon.usage().cpu_s
        spent_s = [_scrape_s(daemon) for _ in range(_SCRAPES)]
        usage = daemon.usage()
    return {
        "ready_s": daemon.start_s, "ready_cpu_s": ready_cpu_s, "peak_bytes": usage.peak_bytes,
        "scrape_s": statistics.median(spent_s), "scrape_cpu_s": (usage.cpu_s - before_s) / _SCRAPES,
        "scrape_most_s": max(first_s),
    }  # fmt: skip


def _scrape_s(daemon: DaemonProcess) -> float:
    started_s = time.perf_counter()
    with urllib.request.urlopen(f"http://{daemon.listen}/metrics", timeout=60) as told:
        told.read()
    return time.perf_counter() - started_s


def _asked(order: tuple[Path, int]) -> dict[str, float]:
    root, cases = order
    state, bundle_id = open_state(root), open_bundle(_BUNDLE).id
    rng = random.Random(1)
    chosen = [digest_of(rng.randrange(cases)) for _ in range(_ASKED)]
    with LedgerReader(state.ledger) as reader:
        known = [partial(reader.finished, digest) for digest in chosen]
        new = [partial(reader.finished, digest_of(cases + number)) for number in range(_ASKED)]
        reports = [partial(reader.reports, digest[:16]) for digest in chosen]
        similar = [partial(reader.earlier_cases, bundle_id, case_id=digest[:16]) for digest in chosen]
        assert all(look() for look in (known[0], reports[0], similar[0])) and new[0]() is None
        costs = {"known_cpu_s": _cpu_s(known), "new_cpu_s": _cpu_s(new), "reports_cpu_s": _cpu_s(reports),
                 "similar_cpu_s": _cpu_s(similar)}  # fmt: skip
    with Ledger(state.ledger, site_key=state.site_key) as ledger:
        made = [report(number) for number in range(1, _WRITTEN + 1)]
        documents = [encode(one) for one in made]
        sightings = [Sighting(root / f"{number}.dcm", 1, 1, 1) for number in range(_WRITTEN)]
        writes = [partial(ledger.record, *case) for case in zip(made, documents, sightings, strict=True)]
        return costs | {"write_cpu_s": _cpu_s(writes)}


def _cpu_s(calls: Sequence[Callable[[], object]]) -> float:
    """The median call's."""
    spent_s = []
    for call in calls:
        before_s = time.thread_time()
        call()
        spent_s.append(time.thread_time() - before_s)
    return statistics.median(spent_s)


CURVE = Curve(
    "cases",
    (
        Told("ready_s", "the daemon's start until it is ready"),
        Told("known_cpu_s", "looking up known bytes (CPU)"),
        Told("new_cpu_s", "looking up new bytes (CPU)"),
        Told("reports_cpu_s", "the reports of a case by its id (CPU)"),
        Told("similar_cpu_s", "a case's embedding by its id (CPU)"),
        Told("write_cpu_s", "writing a case (CPU)"),
        Told("scrape_cpu_s", "a scrape (CPU of the daemon)"),
        Told("peak_bytes", "the daemon's peak memory"),
        Told("file_bytes", "the ledger's file", straight=True),
    ),
    points,
)
