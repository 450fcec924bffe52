"""What `edge-cxr bench` measures of one bundle: stages, start-up, memory, the engine alone, and reaction on request.

Reaction comes last, when this process has let its own engine go.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.backlog import Backlog, measure_backlog
from benchmarks.daemon_process import running
from benchmarks.latency import PHANTOM_SIDE, Latency, measure_stages, scored_phantoms
from benchmarks.machine import describe_machine
from benchmarks.process_tree import Usage, usage_of
from benchmarks.reaction import Arrivals, Reaction, lay_aside, lay_known, measure_reaction
from benchmarks.throughput import EngineRow, calls_for, engines_in_flight, measure_engine
from edge.config import Config
from edge.engines.base import MAX_BATCH
from edge.errors import EdgeError, RadiographError
from edge.pipeline import Pipeline
from edge.reading_room import open_pipeline
from edge.snapshot import snapshot
from edge.values import EngineIdentity

SCHEMA = "edge-cxr/bench/1"
PHANTOMS_TOLD = f"phantoms, uncompressed 16 bit DICOM, longest side {PHANTOM_SIDE}"


@dataclass(frozen=True)
class Effort:
    """runs, warm_up: radiographs for each figure. batches, requests: of the engine alone; requests in flight."""

    runs: int
    warm_up: int
    batches: tuple[int, ...]
    requests: int = 1

    @property
    def steps(self) -> int:
        """How often a measurement tells that it goes on."""
        return self.runs + self.warm_up + sum(calls_for(self.runs, batch) for batch in self.batches)


@dataclass(frozen=True)
class Measured:
    """radiographs: what was scored, in words. files_sha256: of the files' own digests, so that two can be compared.

    load_before: of the machine over the last minute, before anything was measured: on a quiet one, near 0.
    start_s: from nothing to a pipeline that can answer, its engine compiled. memory: after all stages; further engines
    of requests in flight are gone by then.
    """

    radiographs: str
    files_sha256: str
    load_before: float
    effort: Effort
    engine: EngineIdentity
    start_s: float
    memory: Usage
    engine_rows: tuple[EngineRow, ...]
    latencies: tuple[Latency, ...]
    reaction: Reaction | None = None
    backlog: Backlog | None = None


def measure(
    config: Config, files: Sequence[Path], effort: Effort, scratch: Path, on_step: Callable[[], None] = lambda: None
) -> tuple[Measured, Sequence[Path]]:
    """All but the daemon, and what was scored: the files, or without any phantoms in `scratch`.

    Raises EdgeError when one is not scored.
    """
    load_before = os.getloadavg()[0]
    started = time.perf_counter()
    with open_pipeline(config) as pipeline:
        pipeline.decoder.start()
        start_s = time.perf_counter() - started
        told = "given files" if files else PHANTOMS_TOLD
        files = files or scored_phantoms(pipeline, scratch)
        latencies = measure_stages(pipeline, files, runs=effort.runs, warm_up=effort.warm_up, on_run=on_step)
        memory = usage_of(os.getpid())
        rows = _engine_rows(pipeline, config, _model_inputs(pipeline, files[:MAX_BATCH]), effort, on_step)
        identity = pipeline.engine.identity
    return Measured(told, _digest(files), load_before, effort, identity, start_s, memory, rows, latencies), files


def with_reaction(
    measured: Measured,
    config: Config,
    files: Sequence[Path],
    arrivals: Arrivals,
    environment: Mapping[str, str],
    *,
    backlog: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> Measured:
    """The same with the daemon's reaction time, and its throughput when so many wait. TMPDIR names the disk on which it
    works.
    """
    with tempfile.TemporaryDirectory(prefix="edge-cxr-bench-") as folder:
        scratch = Path(folder)
        incoming, aside = scratch / "incoming", scratch / "aside"
        incoming.mkdir()
        aside.mkdir()
        lay_known(incoming, arrivals.known)
        contents = [path.read_bytes() for path in files[: arrivals.count]]
        with running(config, measured.engine.bundle_id, incoming, scratch, environment) as daemon:
            reaction = measure_reaction(daemon, contents, arrivals, aside, on_result=on_step)
            waiting = None
            if backlog:
                on_cpu = measured.engine.backend == "openvino"
                rows = [row for row in measured.engine_rows if row.batch == 1 or not on_cpu]
                alone = max(rows, key=lambda row: row.radiographs_per_s)
                first = arrivals.count
                files = [lay_aside(contents[n % len(contents)], first + n, aside) for n in range(backlog)]
                waiting = measure_backlog(daemon, files, alone, shares_cores=on_cpu, on_result=on_step)
    return replace(measured, reaction=reaction, backlog=waiting)


def document(measured: Measured, bundle: str, *, unnamed: Collection[Path] = ()) -> dict[str, Any]:
    """As JSON: machine, versions, command without `unnamed` files, bundle, and every figure in seconds or bytes."""
    return {"schema": SCHEMA, "machine": describe_machine(unnamed=unnamed), "bundle": bundle, **asdict(measured)}


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()


def _engine_rows(
    pipeline: Pipeline, config: Config, inputs: NDArray[np.float32], effort: Effort, on_step: Callable[[], None]
) -> tuple[EngineRow, ...]:
    if not effort.batches:
        return ()
    with engines_in_flight(pipeline, config, effort.requests) as engines:
        return tuple(
            measure_engine(engines, inputs, batch, runs=effort.runs, warm_up=effort.warm_up, on_call=on_step)
            for batch in effort.batches
        )


def _model_inputs(pipeline: Pipeline, files: Sequence[Path]) -> NDArray[np.float32]:
    """What the engine reads of the files: float32 [n, 1, 1024, 1024]."""
    return np.stack([_pixels(pipeline, path) for path in files])


def _pixels(pipeline: Pipeline, path: Path) -> NDArray[np.float32]:
    with snapshot(path) as frozen:
        try:
            return pipeline.decode(frozen).model_input.pixels
        except RadiographError as refusal:
            raise EdgeError(f"a file is not scored ({refusal.reason}: {refusal}); name radiographs that are") from None
