"""Latency of every stage of one radiograph, and of the whole from path to report, on the box's own engine.

The whole is more than its stages: reading and hashing the file and handing it to the decode worker are in no stage.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.config import Config
from edge.errors import EdgeError
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.reading_room import open_pipeline
from edge.values import EngineIdentity

STAGES = ("decode", "preprocess", "infer", "retrieve")
TOTAL = "total"
PHANTOM_SIDE = 2048
PHANTOMS = 4
QUANTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}


@dataclass(frozen=True)
class Latency:
    """Seconds in one stage over `count` runs."""

    stage: str
    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True)
class Measured:
    """latencies: of each stage and in total. start_s: from nothing to a pipeline that can answer, engine compiled."""

    engine: EngineIdentity
    start_s: float
    latencies: tuple[Latency, ...]


def write_phantoms(folder: Path) -> list[Path]:
    """Uncompressed 16-bit DICOM phantoms of about the size that a portable detector delivers."""
    paths = [folder / f"{seed}.dcm" for seed in range(PHANTOMS)]
    for seed, path in enumerate(paths):
        write_dicom(render(seed, ("covid", "other")[seed % 2], longest_side=PHANTOM_SIDE), path)
    return paths


def measure(
    config: Config, files: Sequence[Path], *, runs: int, warm_up: int, on_run: Callable[[], None] = lambda: None
) -> Measured:
    """Score the files in turn, `warm_up` runs unmeasured and `runs` measured.

    Raises EdgeError when a file is not scored: a refusal would be measured as a fast answer.
    """
    started = time.perf_counter()
    with open_pipeline(config) as pipeline:
        pipeline.decoder.start()
        start_s = time.perf_counter() - started
        spent_s: dict[str, list[float]] = {stage: [] for stage in (*STAGES, TOTAL)}
        for run in range(warm_up + runs):
            path = files[run % len(files)]
            asked = time.perf_counter()
            report = pipeline.report(path)
            answered = time.perf_counter()
            if not report.scored:
                raise EdgeError(f"{path} is not scored ({report.reason}: {report.detail}); name radiographs that are")
            if run >= warm_up:
                for stage in STAGES:
                    spent_s[stage].append(report.timings_s[stage])
                spent_s[TOTAL].append(answered - asked)
            on_run()
        identity = pipeline.engine.identity
    return Measured(identity, start_s, tuple(summarise(stage, seconds) for stage, seconds in spent_s.items()))


def summarise(stage: str, seconds: Sequence[float]) -> Latency:
    quantiles = {name: float(np.percentile(seconds, share)) for name, share in QUANTILES.items()}
    return Latency(stage, len(seconds), float(np.mean(seconds)), **quantiles, max=float(max(seconds)))
