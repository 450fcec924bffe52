"""Many radiographs through one box: memory, descriptors and time; and what a ledger that has grown costs."""

import hashlib
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from benchmarks.durability.bench import Bench, bench
from benchmarks.durability.box import Order
from benchmarks.durability.invariant import check
from benchmarks.durability.radiographs import GARBAGE, GOOD, TRUNCATED, Sent, sent
from edge.bundle import open_bundle
from edge.inbox import Inbox
from edge.state import open_state
from edge.store import Ledger

SOAK_FILES = 100_000
LIMITS = {
    "memory_slope_bytes_per_10000": 1_000_000,
    "descriptors_grown": 1,
    "scan_cpu_s": 1.0,
    "start_s": 5.0,
    "start_with_earlier_cases_s": 5.0,
}
_BAD = 0.01  # of all files, half of them cut short
_WARM_UP = 0.2  # of all files; memory is watched after them
_EVERY_S = 0.25


@dataclass(frozen=True)
class Sample:
    """A look at the box while it works. done: results that its log has named by then."""

    done: int
    memory_bytes: int
    descriptors: int


class Gauge:
    """Looks at a process until it ends."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.samples: list[Sample] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, pid: int) -> None:
        self._thread = threading.Thread(target=self._look, args=(pid,), name="gauge")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, pid: int) -> None:
        place, done = 0, 0
        while not self._ended.wait(_EVERY_S):
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
                descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                with self._log.open("rb") as opened:
                    opened.seek(place)
                    fresh = opened.read()
            except (OSError, IndexError):
                continue
            place += len(fresh)
            done += fresh.count(b'"event": "radiograph"')
            self.samples.append(Sample(done, pages * 4096, descriptors))


def soak(count: int, *, after: str, seed: int = 1) -> dict[str, object]:
    """`count` radiographs that wait in the folder, one run of the box."""
    files = list(_files(count, seed))
    with bench(files, within=Path(tempfile.gettempdir())) as place:
        place.fresh()
        gauge = Gauge(place.root / "log")
        order = Order(str(place.incoming), str(place.state), str(place.root / "log"), after)
        started = time.monotonic()
        try:
            outcome = place.boxes.run(order, on_start=gauge.begin)
        finally:
            gauge.end()
        spent_s = time.monotonic() - started
        found = check(place.incoming, place.state, files, after=after)
        if outcome.exit_code != 0:
            found.note("lost", f"the box ended with {outcome.exit_code}: {outcome.log[-500:]}")
        answer: dict[str, Any] = {"files": count, "after": after, "seconds": round(spent_s, 1), **found.counts()}
        answer |= {"wrong": found.lines[:10], **_trends(gauge.samples, count)}
        if after == "keep":
            answer |= _known_again(place, order)
        return answer | {"within": _within(answer)}


def _within(answer: dict[str, Any]) -> dict[str, bool]:
    """Whether each figure keeps to its limit; for fewer files than a soak's, memory is still warming up."""
    within = {name: answer[name] < limit for name, limit in LIMITS.items() if answer.get(name) is not None}
    return within if answer.get("files", SOAK_FILES) >= SOAK_FILES else {}


def _files(count: int, seed: int) -> Iterator[Sent]:
    rng = random.Random(seed)
    for number in range(count):
        kind = rng.choice((TRUNCATED, GARBAGE)) if rng.random() < _BAD else GOOD
        yield sent(f"{number:07}.dcm", number, kind)


def _trends(samples: list[Sample], count: int) -> dict[str, object]:
    warm = [sample for sample in samples if sample.done >= _WARM_UP * count]
    if len({sample.done for sample in warm}) < 3:
        return {"memory_slope_bytes_per_10000": None, "samples": len(warm)}
    slope, _ = np.polyfit([sample.done for sample in warm], [sample.memory_bytes for sample in warm], 1)
    descriptors = [sample.descriptors for sample in warm]
    return {
        "memory_slope_bytes_per_10000": round(float(slope) * 10_000),
        "memory_bytes_at_most": max(sample.memory_bytes for sample in samples),
        "descriptors": [min(descriptors), max(descriptors)],
        # Each radiograph opens and closes some: the fewest seen are those that stay open.
        "descriptors_grown": min(descriptors[-(len(descriptors) // 4 + 1) :])
        - min(descriptors[: len(descriptors) // 4 + 1]),
        "samples": len(warm),
    }


def _known_again(place: Bench, order: Order) -> dict[str, object]:
    """A start when every file is known, and a scan that finds nothing new."""
    started = time.monotonic()
    place.boxes.run(replace(order, include_earlier_cases=False))
    start_s = time.monotonic() - started
    inbox, never = Inbox(place.incoming, lambda seen: True), threading.Event()
    list(inbox.settled(never))
    before_s = time.thread_time()
    assert list(inbox.settled(never)) == []
    return {"start_with_known_files_s": round(start_s, 2), "scan_cpu_s": round(time.thread_time() - before_s, 3)}


def start_with(cases: int) -> dict[str, object]:
    """How long a new interpreter takes from start to end on an empty folder, with so many cases in the ledger."""
    with tempfile.TemporaryDirectory(prefix="edge-cxr-") as root:
        incoming, state = Path(root, "incoming"), Path(root, "state")
        incoming.mkdir()
        fill_ledger(state, cases)
        command = [sys.executable, "-m", "benchmarks.durability.box", str(incoming), str(state)]
        spent = {}
        for name, more in (("start_s", []), ("start_with_earlier_cases_s", ["--include-earlier-cases"])):
            started = time.monotonic()
            subprocess.run([*command, *more], check=True, capture_output=True)
            spent[name] = round(time.monotonic() - started, 2)
        return {
            "cases": cases,
            "ledger_bytes": (state / "ledger.sqlite").stat().st_size,
            **spent,
            "within": _within(spent),
        }


def fill_ledger(root: Path, cases: int) -> None:
    """A ledger of made-up cases, as large as real ones, with a sighting each."""
    state = open_state(root)
    Ledger(state.ledger, site_key=state.site_key).close()
    bundle_id, rng = open_bundle("phantom").id, np.random.default_rng(1)
    report = '{"case_id": "%s", "source": {"format": "dicom"}, "reason": null, "detail": null, "filler": "' + "x" * 900
    report += '"}\n'
    connection = apsw.Connection(str(state.ledger))
    connection.pragma("synchronous", "off")
    columns = "sha256, bundle_id, case_id, status, score, embedding, report, finished_s"
    with connection:
        for number in range(cases):
            digest = hashlib.sha256(number.to_bytes(8, "big"))
            name, embedding = digest.hexdigest(), rng.random(128, np.float32).tobytes()
            connection.execute(
                f"INSERT INTO cases ({columns}) VALUES (?, ?, ?, 'scored', 0.5, ?, ?, ?)",
                (name, bundle_id, name[:16], embedding, report % name[:16], float(number)),
            )
            connection.execute("INSERT INTO sightings VALUES (?, ?, ?)", (digest.digest(), b"300:1:1", name))
    connection.close()
