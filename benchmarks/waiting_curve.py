"""Curve: radiographs that wait in the folder when the daemon, `edge-cxr watch` with the phantom bundle, is started.

Two series. `new`: all are to be scored. `known`: one is, and comes first; the others hold bytes whose case is in the
ledger, as after a folder was copied once more: each is opened, hashed, looked up and remembered.
"""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from pathlib import Path

from benchmarks.audit_cost import report
from benchmarks.copies import distinct
from benchmarks.curve import Curve, Room
from benchmarks.daemon_process import DaemonProcess, running
from benchmarks.growth import Point, Told
from benchmarks.latency import PHANTOMS, SEEDS
from edge.bundle import open_bundle
from edge.config import Config
from edge.errors import EdgeError
from edge.ledger_reader import LedgerReader
from edge.outputs.report_json import encode
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.state import open_state
from edge.store import Ledger

NEW, KNOWN = "new", "known"
SIZES = {NEW: (10, 100, 1000), KNOWN: (10, 100, 1000, 10_000, 100_000)}
_BUNDLE = "phantom"
_NEW_SIDE, _KNOWN_SIDE = 128, 64  # pixels; what each costs after decoding does not depend on them
_KNOWN_SEED = 1000
_LOOK_EACH_S, _ALL_WITHIN_S = 0.1, 3600.0
_FIRST_NS, _APART_NS = 1_700_000_000_000_000_000, 1_000_000  # times of writing: in order, and long ago


@dataclass(frozen=True)
class Waiting:
    """How many wait, and how many of them, the oldest, are new to the box."""

    count: int
    new: int


def measure(waiting: Waiting, scratch: Path | None) -> dict[str, float]:
    """first_result_s, ready_s, all_s: from the command on. cpu_s: until all were taken, start included, all processes
    together. peak_bytes: of the daemon's own process; workers_bytes: its workers then.

    Raises EdgeError when one that is new is not scored.
    """
    bundle_id = open_bundle(_BUNDLE).id
    with tempfile.TemporaryDirectory(prefix="edge-cxr-curve-", dir=scratch) as folder:
        root = Path(folder)
        incoming, state = root / "incoming", open_state(root / "state")
        incoming.mkdir()
        known = _phantom(_KNOWN_SEED, _KNOWN_SIDE, root)
        with Ledger(state.ledger, site_key=state.site_key) as ledger:
            _know(known, bundle_id, ledger)
        _lay(incoming, chain(_new(waiting.new, root), repeat(known, waiting.count - waiting.new)))
        config = Config(state=str(root / "none"), bundle=_BUNDLE, backend="openvino")
        with running(config, bundle_id, incoming, root, os.environ) as daemon:
            ready_s, started_s = daemon.start_s, time.monotonic() - daemon.start_s
            began_s = time.time() - daemon.start_s
            _wait_for_all(daemon, state.ledger, waiting.count)
            all_s, usage = time.monotonic() - started_s, daemon.usage()
        results = list(daemon.results.glob("*.json"))
        _require_scored(results, waiting.new)
        first_s = first_visible_s(results) - began_s
    return {
        "first_result_s": first_s, "ready_s": ready_s, "all_s": all_s, "cpu_s": usage.cpu_s,
        "peak_bytes": usage.peak_bytes, "workers_bytes": usage.workers_rss_bytes,
    }  # fmt: skip


def first_visible_s(results: Sequence[Path]) -> float:
    """When the first of them became visible (seconds of the epoch): its rename is the last change of a file's inode."""
    return min(path.stat().st_ctime for path in results)


def points(room: Room) -> Iterator[Point]:
    for series, sizes in SIZES.items():
        for count in room.within(sizes):
            new = count if series == NEW else 1
            yield Point(count, series, measure(Waiting(count, new), room.scratch))


def _phantom(seed: int, side: int, folder: Path) -> bytes:
    path = folder / "phantom.dcm"
    write_dicom(render(seed, ("covid", "other")[seed % 2], longest_side=side), path)
    content = path.read_bytes()
    path.unlink()
    return content


def _new(count: int, folder: Path) -> Iterator[bytes]:
    phantoms = [_phantom(seed, _NEW_SIDE, folder) for seed in SEEDS[:PHANTOMS]]
    return (distinct(phantoms[number % PHANTOMS], number) for number in range(count))


def _know(content: bytes, bundle_id: str, ledger: Ledger) -> None:
    made = replace(report(0), sha256=hashlib.sha256(content).hexdigest(), bundle_id=bundle_id)
    ledger.record(made, encode(made), None)


def _lay(incoming: Path, contents: Iterator[bytes]) -> None:
    for number, content in enumerate(contents):
        path = incoming / f"{number:06}.dcm"
        path.write_bytes(content)
        stamp_ns = _FIRST_NS + number * _APART_NS
        os.utime(path, ns=(stamp_ns, stamp_ns))


def _wait_for_all(daemon: DaemonProcess, ledger: Path, count: int) -> None:
    """Until the ledger knows each file by its look: it has then been taken, and its result is on the disk."""
    deadline = time.monotonic() + _ALL_WITHIN_S
    with LedgerReader(ledger) as reader:
        while time.monotonic() < deadline:
            if reader._one("SELECT count(*) FROM sightings")[0] >= count:
                return
            daemon.require_alive()
            time.sleep(_LOOK_EACH_S)
    raise EdgeError(f"not all of {count} files were taken within {_ALL_WITHIN_S:.0f} s; measure fewer with --most")


def _require_scored(results: Sequence[Path], new: int) -> None:
    scored = sum(json.loads(path.read_bytes())["status"] == "scored" for path in results)
    if scored != new or len(results) != new:
        raise EdgeError(f"{new} radiographs are new and {scored} of {len(results)} results are scored; "
                        "the phantoms do not fit the bundle, choose others in benchmarks/latency.py")  # fmt: skip


CURVE = Curve(
    "waiting files",
    (
        Told("first_result_s", "the time to the first result"),
        Told("all_s", "the time until all were taken", straight=True),
        Told("cpu_s", "CPU time", straight=True),
        Told("peak_bytes", "the daemon's peak memory"),
    ),
    points,
)
