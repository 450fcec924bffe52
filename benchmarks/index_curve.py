"""Curve: cases in the index of earlier cases, as the box searches, opens and rebuilds it (index_cost.py).

A million takes an hour to rebuild and is taken from result files, named in each point. `search alone` is the index
without the ledger, on embeddings fitted to real radiographs' (retrieval.py): all of it from result files.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.child import call_apart
from benchmarks.curve import Curve, Room
from benchmarks.growth import Point, Told
from benchmarks.index_cost import measure

SIZES = (1000, 10_000, 100_000)
MILLION = 1_000_000
WHOLE, ALONE = "search and ledger", "search alone"
_QUERIES = 500
_RESULTS = Path(__file__).parent / "results"
_LIMIT_S = 3600.0
_WHOLE_NAMES = {
    "retrieve_cpu_p50_s": "search_cpu_p50_s", "retrieve_cpu_p99_s": "search_cpu_p99_s",
    "retrieve_p50_s": "search_p50_s", "retrieve_p99_s": "search_p99_s", "start_s": "open_s",
    "start_cpu_s": "open_cpu_s", "rebuild_cpu_s": "rebuild_cpu_s", "memory_bytes": "memory_bytes",
    "peak_bytes": "peak_bytes", "file_bytes": "file_bytes",
}  # fmt: skip
_ALONE_NAMES = {
    "cpu_p50_s": "search_cpu_p50_s", "cpu_p99_s": "search_cpu_p99_s", "p50_s": "search_p50_s", "p99_s": "search_p99_s",
    "build_cpu_s": "rebuild_cpu_s", "memory_bytes": "memory_bytes", "file_bytes": "file_bytes",
}  # fmt: skip


def points(room: Room) -> Iterator[Point]:
    for cases in room.within(SIZES):
        with tempfile.TemporaryDirectory(prefix="edge-cxr-curve-", dir=room.scratch) as folder:
            cost = call_apart(measure, (Path(folder), cases, _QUERIES), limit_s=_LIMIT_S)
        yield Point(cases, WHOLE, _costs(asdict(cost), _WHOLE_NAMES))
    if room.most is None or room.most >= MILLION:
        yield from taken(_RESULTS)


def taken(results: Path) -> Iterator[Point]:
    """A million of the first series, and the whole of the second, as the result files hold them."""
    for row in _read(results / "index-cost.json")["costs"]:
        if row["cases"] == MILLION:
            yield Point(MILLION, WHOLE, _costs(row, _WHOLE_NAMES), "results/index-cost.json")
    for name in ("retrieval.json", "retrieval-million.json"):
        for row in _read(results / name)["rows"]:
            is_million = row["cases"] >= MILLION
            if (row["distribution"], row["dtype"]) == ("fitted", "f16") and is_million == ("million" in name):
                yield Point(row["cases"], ALONE, _costs(row, _ALONE_NAMES), f"results/{name}")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _costs(row: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, float]:
    return {ours: float(row[theirs]) for theirs, ours in names.items()}


CURVE = Curve(
    "cases",
    (
        Told("search_cpu_p50_s", "a search (CPU, median)"),
        Told("search_cpu_p99_s", "a search (CPU, 99th percentile)"),
        Told("open_cpu_s", "opening the saved index (CPU)"),
        Told("rebuild_cpu_s", "rebuilding it (CPU)"),
        Told("memory_bytes", "its memory", straight=True),
    ),
    points,
)
