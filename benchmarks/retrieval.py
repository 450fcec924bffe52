"""Recall, speed and memory of the index of earlier cases against brute force, for f32, f16 and i8 storage.

    python -m benchmarks.retrieval --bundle research --images ../shared/data/nih --keep nih-embeddings.npz \
        --cases 10000 --cases 100000 --cases 1000000 --out benchmarks/results/retrieval.json

A million radiographs are not at hand. Embeddings are drawn from a distribution that was fitted to a network's own
answers (made_embeddings.py), and for comparison from independent normal numbers, the hardest case there is. Each row
runs in a process of its own, so that its memory is its own. What the ledger adds is in index_cost.py.
"""

import contextlib
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from benchmarks.child import call_apart
from benchmarks.machine import describe_machine
from benchmarks.made_embeddings import SIZE, Fitted, answers_of, chunks, fitted, likeness
from edge.bundle import open_bundle
from edge.case_index import search

K, CANDIDATES, EXPANSION = 4, 17, 256  # as edge/case_index.py asks
DTYPES = ("f32", "f16", "i8")
_SLICE, _BATCH = 10_000, 25
_FIRST = -15  # niceness while queries are timed
_LIMIT_S = 4 * 3600.0


@dataclass(frozen=True)
class Job:
    """made: what the embeddings are drawn from; None for independent normal numbers."""

    made: Fitted | None
    dtype: str
    cases: int
    queries: int


@dataclass(frozen=True)
class Retrieval:
    """One storage at one size. recall: share of the true four nearest among the four found.

    recall_of_index: as the index itself ranks them. recall: among its 17 candidates, ranked again by their whole
    embeddings, as the box does. exact: the box searches an index of this size one by one, not by its graph. p50_s,
    p99_s: one search with its ranking; cpu_*: the processor time in it, whoever else used the cores. brute_p50_s: numpy
    over all. memory_bytes: what the process held more once it was built; file_bytes: as saved.
    """

    distribution: str
    dtype: str
    cases: int
    queries: int
    exact: bool
    recall: float
    recall_of_index: float
    p50_s: float
    p99_s: float
    cpu_p50_s: float
    cpu_p99_s: float
    niceness: int
    brute_p50_s: float
    build_s: float
    build_cpu_s: float
    memory_bytes: int
    file_bytes: int


def measure(job: Job) -> Retrieval:
    asked, held = _drawn(job.made, -1, job.queries), np.empty((job.cases, SIZE), np.float32)
    for number, chunk in enumerate(chunks(job.made, job.cases)):
        held[number * _SLICE :][: len(chunk)] = chunk
    before_bytes, started_s, started_cpu_s = _resident_bytes(), time.perf_counter(), time.process_time()
    index = Index(ndim=SIZE, metric="l2sq", dtype=job.dtype, expansion_search=EXPANSION)
    for start in range(0, job.cases, _SLICE):
        rows = held[start : start + _SLICE]
        index.add(np.arange(start, start + len(rows), dtype=np.uint64), rows, threads=1)
    build_s, build_cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    memory_bytes = _resident_bytes() - before_bytes
    truth, brute_p50_s = _true_nearest(held, asked), _brute_s(held, asked[:_BATCH])
    found, by_index, spent_s = 0, 0, []
    niceness = _put_first()
    for query, nearest in zip(asked, truth, strict=True):
        started_s, started_cpu_s = time.perf_counter(), time.thread_time()
        candidates = np.array(search(index, query, CANDIDATES))
        apart = np.linalg.norm(held[candidates].astype(np.float64) - query, axis=1)
        best = candidates[np.argsort(apart)[:K]]
        spent_s.append((time.perf_counter() - started_s, time.thread_time() - started_cpu_s))
        found += len(nearest & set(best.tolist()))
        by_index += len(nearest & set(candidates[:K].tolist()))
    (p50_s, cpu_p50_s), (p99_s, cpu_p99_s) = np.percentile(spent_s, [50, 99], axis=0).tolist()
    return Retrieval(
        distribution="normal" if job.made is None else "fitted",
        dtype=job.dtype,
        cases=job.cases,
        queries=job.queries,
        exact=_is_exact(job.cases),
        recall=found / (K * job.queries),
        recall_of_index=by_index / (K * job.queries),
        p50_s=p50_s,
        p99_s=p99_s,
        cpu_p50_s=cpu_p50_s,
        cpu_p99_s=cpu_p99_s,
        niceness=niceness,
        brute_p50_s=brute_p50_s,
        build_s=build_s,
        build_cpu_s=build_cpu_s,
        memory_bytes=memory_bytes,
        file_bytes=len(index.save()),
    )


def _is_exact(cases: int) -> bool:
    return cases <= 20_000  # edge/case_index.py


def _drawn(made: Fitted | None, seed: int, count: int) -> NDArray[np.float32]:
    return next(chunks(made, count, first_seed=10**6 - seed))


def _true_nearest(held: NDArray[np.float32], asked: NDArray[np.float32]) -> list[set[int]]:
    squares, nearest = np.einsum("ij,ij->i", held, held), list[set[int]]()
    for start in range(0, len(asked), _BATCH):
        queries = asked[start : start + _BATCH]
        for query, apart in zip(queries, squares - 2 * (queries @ held.T), strict=True):
            nearest.append(_nearest(held, query, apart))
    return nearest


def _nearest(held: NDArray[np.float32], query: NDArray[np.float32], apart: NDArray[np.float32]) -> set[int]:
    """The first few by float32, ranked again by float64."""
    near = np.argpartition(apart, 4 * K)[: 4 * K]
    exact = np.linalg.norm(held[near].astype(np.float64) - query, axis=1)
    return set(near[np.argsort(exact)[:K]].tolist())


def _brute_s(held: NDArray[np.float32], asked: NDArray[np.float32]) -> float:
    """How long one comparison with every case takes."""
    squares, spent_s = np.einsum("ij,ij->i", held, held), []
    for query in asked:
        started_s = time.perf_counter()
        _nearest(held, query, squares - 2 * (held @ query))
        spent_s.append(time.perf_counter() - started_s)
    return float(np.median(spent_s))


def _put_first() -> int:
    """What else runs here is not to count in the times, where this user may say so. Returns the niceness."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _FIRST)
    return os.getpriority(os.PRIO_PROCESS, 0)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _answers(bundle: str, images: Path | None, keep: Path | None, tell: Callable[[str], None]) -> NDArray[np.float32]:
    """The reference set's embeddings, and those of the radiographs in a folder; asked of the network once."""
    reference = open_bundle(bundle).reference().embeddings
    if keep is not None and keep.exists():
        return np.concatenate([reference, np.load(keep)["embeddings"]])
    if images is None:
        return reference
    answers = answers_of(bundle, images, tell)
    if keep is not None:
        np.savez(keep, embeddings=answers)
    return np.concatenate([reference, answers])


@click.command()
@click.option("--bundle", default="research", show_default=True, help="Whose embeddings.")
@click.option("--images", type=click.Path(exists=True, path_type=Path), help="Radiographs to fit the distribution to.")
@click.option("--keep", type=click.Path(path_type=Path), help="Their embeddings: read if it is there, else written.")
@click.option("--cases", multiple=True, type=click.IntRange(100), default=(10_000, 100_000), show_default=True)
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), default=DTYPES, show_default=True)
@click.option("--normal", "normal_up_to", type=int, default=100_000, show_default=True,
              help="Independent normal numbers too, up to so many cases.")  # fmt: skip
@click.option("--queries", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON to a file too, after each row.")
def main(
    bundle: str,
    images: Path | None,
    keep: Path | None,
    cases: tuple[int, ...],
    dtypes: tuple[str, ...],
    normal_up_to: int,
    queries: int,
    out: Path | None,
) -> None:
    """Measure each storage at each size; a million cases take a quarter of an hour and 2 GB each."""
    answers = _answers(bundle, images, keep, lambda text: click.echo(text, err=True))
    made = fitted(answers)
    record = {"machine": describe_machine("python -m benchmarks.retrieval"), "bundle": open_bundle(bundle).id,
              "size": SIZE, "k": K, "candidates": CANDIDATES, "fitted_to": len(answers),
              "likeness": asdict(likeness(answers, made))}  # fmt: skip
    jobs = [Job(made, dtype, count, queries) for count in cases for dtype in dtypes]
    jobs += [Job(None, dtype, count, queries) for count in cases if count <= normal_up_to for dtype in dtypes]
    rows = []
    for job in jobs:
        rows.append(asdict(call_apart(measure, job, limit_s=_LIMIT_S)))
        click.echo(json.dumps(rows[-1]), err=True)
        text = json.dumps(record | {"rows": rows}, indent=1)
        if out is not None:
            out.write_text(text + "\n", encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
