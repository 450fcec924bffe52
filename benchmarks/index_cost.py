"""What the index of earlier cases costs: a made ledger of each size, and the index built, saved, opened and searched.

    python -m benchmarks.index_cost --cases 10000 --cases 100000 --out benchmarks/results/index-cost.json

Embeddings are made: 16 independent normal numbers through two random layers with ReLU, 128 numbers each. A network's
own embeddings lie about as close to a surface of few dimensions; independent numbers in all 128 do not, and no graph
finds their neighbours as well. Each size runs in a process of its own, so that its memory is its own.
"""

import itertools
import json
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.child import call_apart
from benchmarks.machine import describe_machine
from edge.case_index import EarlierCases
from edge.index_file import path_of
from edge.ledger_reader import LedgerReader
from edge.store import Ledger

BUNDLE, SIZE, K = "b" * 64, 128, 4
_CHUNK = 10_000
_REPORT = json.dumps({"case_id": "0" * 16, "of": "about the length of a report", "filler": "x" * 1000})
_LIMIT_S = 3600.0


@dataclass(frozen=True)
class IndexCost:
    """One size. Times in seconds by the clock; *_cpu_*: the processor time in them, whoever else used the cores.

    pause_s: the longest time for which another Python thread stood still while the index was saved. catch_up_s: one new
    case taken in. recall: share of the true four nearest among the four found, over all queries.
    memory_bytes: what the process holds more with the index open than before; peak_bytes: the most it ever held, while
    building and saving. start_s: file and ledger to an index that is whole. retrieve_*: search, and ranking by
    the ledger's rows.
    """

    cases: int
    ledger_bytes: int
    rebuild_s: float
    rebuild_cpu_s: float
    file_bytes: int
    save_s: float
    pause_s: float
    start_s: float
    start_cpu_s: float
    memory_bytes: int
    peak_bytes: int
    catch_up_s: float
    retrieve_p50_s: float
    retrieve_p99_s: float
    retrieve_cpu_p50_s: float
    retrieve_cpu_p99_s: float
    recall: float
    queries: int


def embeddings(seed: int, count: int) -> NDArray[np.float32]:
    """float32 [count, 128]."""
    layers = np.random.default_rng(1)
    first, second = layers.normal(size=(16, 64)) / 4, layers.normal(size=(64, SIZE)) / 8
    latent = np.random.default_rng((2, seed)).normal(size=(count, 16))
    made: NDArray[np.float32] = np.maximum(np.maximum(latent @ first, 0) @ second, 0).astype(np.float32)
    return made


def chunks(cases: int) -> Iterator[NDArray[np.float32]]:
    for seed, start in enumerate(range(0, cases, _CHUNK)):
        yield embeddings(seed, min(_CHUNK, cases - start))


def fill(path: Path, cases: int) -> None:
    """A ledger of as many scored cases, each with a report of its usual length."""
    with Ledger(path, site_key=bytes(32)) as ledger:
        numbers = itertools.count(1)
        for chunk in chunks(cases):
            rows = [(f"{number:064x}"[::-1], BUNDLE, f"{number:016x}"[::-1], row.astype("<f4").tobytes(), _REPORT)
                    for row, number in zip(chunk, numbers, strict=False)]  # fmt: skip
            with ledger._transaction() as connection:
                connection.executemany(
                    "INSERT INTO cases (sha256, bundle_id, case_id, status, score, embedding, report, finished_s) "
                    "VALUES (?, ?, ?, 'scored', 0.5, ?, ?, 1.0)",
                    rows,
                )


def measure(job: tuple[Path, int, int]) -> IndexCost:
    """job: a folder, how many cases, how many queries."""
    folder, cases, queries = job
    ledger_path = folder / "ledger.sqlite"
    fill(ledger_path, cases)
    with LedgerReader(ledger_path) as ledger:
        earlier = EarlierCases(folder, ledger, BUNDLE, size=SIZE)
        rebuild_cpu_s = -time.thread_time()
        rebuild_s = _timed(partial(earlier.complete, threading.Event()))
        rebuild_cpu_s += time.thread_time()
        with _Standstill() as standstill:
            save_s = _timed(earlier.save)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return call_apart(
        _reopened,
        (folder, cases, queries, (rebuild_s, rebuild_cpu_s), save_s, standstill.longest_s, peak_bytes),
        limit_s=_LIMIT_S,
    )


def _reopened(job: tuple[Path, int, int, tuple[float, float], float, float, int]) -> IndexCost:
    folder, cases, queries, rebuild_s, save_s, pause_s, peak_bytes = job
    asked = embeddings(10**6, queries)
    truth = _true_nearest(asked, cases)
    ledger_path = folder / "ledger.sqlite"
    with Ledger(ledger_path, site_key=bytes(32)) as ledger:
        before_bytes, started, started_cpu = _resident_bytes(), time.perf_counter(), time.thread_time()
        earlier = EarlierCases.open(folder, ledger, BUNDLE, size=SIZE, warn=_refuse)
        start_s = time.perf_counter() - started, time.thread_time() - started_cpu
        assert not earlier.pending
        memory_bytes = _resident_bytes() - before_bytes
        found, spent_s = 0, []
        for query, nearest in zip(asked, truth, strict=True):
            started, started_cpu = time.perf_counter(), time.thread_time()
            near = earlier.nearest(query, K, without=())
            spent_s.append((time.perf_counter() - started, time.thread_time() - started_cpu))
            found += len(nearest & {int(case.case_id[::-1], 16) for _, case in near})
        file_bytes, ledger_bytes = path_of(folder, BUNDLE).stat().st_size, ledger_path.stat().st_size
        with ledger._transaction() as connection:
            connection.execute(
                "INSERT INTO cases (sha256, bundle_id, case_id, status, embedding, report, finished_s) "
                "SELECT 'new', bundle_id, 'new', status, embedding, report, 1.0 FROM cases WHERE number = 1"
            )
        catch_up_s = _timed(earlier.catch_up)
    (p50, cpu_p50), (p99, cpu_p99) = np.percentile(spent_s, [50, 99], axis=0).tolist()
    return IndexCost(cases, ledger_bytes, *rebuild_s, file_bytes, save_s, pause_s, *start_s, memory_bytes, peak_bytes,
                     catch_up_s, p50, p99, cpu_p50, cpu_p99, found / (K * queries), queries)  # fmt: skip


def _true_nearest(asked: NDArray[np.float32], cases: int) -> list[set[int]]:
    """Numbers of the four nearest of each query, by comparing it with every case."""
    best: list[list[tuple[float, int]]] = [[] for _ in asked]
    numbers = itertools.count(1)
    for chunk in chunks(cases):
        those = np.array(list(itertools.islice(numbers, len(chunk))))
        squares = (asked**2).sum(1)[:, None] + (chunk**2).sum(1) - 2 * asked @ chunk.T
        for row, (near, apart) in enumerate(zip(best, squares, strict=True)):
            nearest = np.argpartition(apart, K)[: 2 * K]
            exact = ((chunk[nearest].astype(float) - asked[row]) ** 2).sum(1).tolist()
            best[row] = sorted(near + list(zip(exact, those[nearest].tolist(), strict=True)))[:K]
    return [{number for _, number in near} for near in best]


class _Standstill:
    """How long a second thread that wants to run each millisecond could not."""

    longest_s = 0.0

    def __enter__(self) -> "_Standstill":
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        before = time.perf_counter()
        while not self._stop.wait(0.001):
            now = time.perf_counter()
            self.longest_s, before = max(self.longest_s, now - before), now


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _refuse(message: str) -> None:
    raise AssertionError(message)


@click.command()
@click.option("--cases", multiple=True, type=click.IntRange(16), default=(10_000, 100_000), show_default=True)
@click.option("--queries", type=click.IntRange(1), default=500, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON to a file too.")
@click.option("--scratch", type=click.Path(path_type=Path), help="Folder on the disk to be measured  [the system's].")
def main(cases: tuple[int, ...], queries: int, out: Path | None, scratch: Path | None) -> None:
    """Measure the index for each number of --cases; a million needs 3 GB of disk and some minutes."""
    measured = []
    for count in cases:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            measured.append(call_apart(measure, (Path(folder), count, queries), limit_s=_LIMIT_S))
        record = {"machine": describe_machine("python -m benchmarks.index_cost"), "size": SIZE, "k": K,
                  "costs": [asdict(cost) for cost in measured]}  # fmt: skip
        text = json.dumps(record, indent=1)
        if out is not None:
            out.write_text(text + "\n", encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
