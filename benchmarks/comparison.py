"""Peers measured one after the other on one subject, each in a process of its own, against CPU answers and roofline."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.child import CallFailed, call_apart, why
from benchmarks.machine import gpu_now
from benchmarks.peaks import SIZES, measure_peaks
from benchmarks.peers_gpu import CUDA_PEERS, REFERENCES, TORCH_EAGER, Peer
from benchmarks.roofline import Peaks, count_layers, time_bound_s
from benchmarks.subject import Subject
from benchmarks.timing import Timing, time_calls
from edge.engines.base import EMBEDDING_SIZE, EVIDENCE_SIDE, INPUT_SIDE, MASK_SIDE, Outputs
from edge.errors import EngineError
from export.parity import Parity, compare, joined

INPUTS = "inputs.npy"
PEER_LIMIT_S = 1800.0  # torch.compile tunes every convolution for every batch size


@dataclass(frozen=True)
class Effort:
    """phantoms: asked for parity, and timed in turn. warm_up_s: before each batch size."""

    batches: tuple[int, ...]
    runs: int
    warm_up_s: float
    phantoms: int


@dataclass(frozen=True)
class Job:
    """One peer at one precision; not timed where only its answers are wanted."""

    subject: Subject
    peer: Peer
    precision: str
    device: str
    effort: Effort
    timed: bool = True


@dataclass(frozen=True)
class Row:
    """What a peer did. failures: why it was not measured at all (batch 0) or not at a batch size.

    open_s: from nothing to the first answer: compiling, which some do only when asked, or building a plan. gpu: clocks
    right after the runs.
    """

    peer: str
    precision: str
    version: str = ""
    open_s: float | None = None
    timings: tuple[Timing, ...] = ()
    parity: Parity | None = None
    gpu: dict[str, str] = field(default_factory=dict)
    failures: tuple[tuple[int, str], ...] = ()

    def timing(self, batch: int) -> Timing | None:
        return next((timing for timing in self.timings if timing.batch == batch), None)


def measure_rows(subject: Subject, device: str, effort: Effort, say: Callable[[str], None]) -> Iterator[Row]:
    """CPU references first, then every peer of the device at every precision that it can run."""
    np.save(subject.folder / INPUTS, subject.inputs(effort.phantoms))
    references: dict[str, Outputs] = {}
    for precision in subject.precisions:
        for peer in REFERENCES:
            say(f"{subject.name}: {peer.name} {precision}, the reference")
            row, answers = attempt(Job(subject, peer, precision, device, effort, timed=device == "cpu"))
            yield row
            if answers is not None:
                references[precision] = answers
                break
    for peer in CUDA_PEERS if device == "cuda" else (TORCH_EAGER,):
        for precision in _precisions(peer, subject, device):
            say(f"{subject.name}: {peer.name} {precision}")
            row, answers = attempt(Job(subject, peer, precision, device, effort))
            comparable = subject.own_weights or not peer.of_torch
            if answers is not None and comparable and precision in references:
                row = replace(row, parity=compare(references[precision], answers))
            yield row


def _precisions(peer: Peer, subject: Subject, device: str) -> Sequence[str]:
    if device == "cpu":
        return ("fp32",)
    return [name for name in peer.precisions if peer.of_torch or name in subject.precisions]


def attempt(job: Job, *, limit_s: float = PEER_LIMIT_S) -> tuple[Row, Outputs | None]:
    """A row in any case; the answers unless the peer failed."""
    try:
        return call_apart(measure, job, limit_s=limit_s)
    except CallFailed as fault:
        return Row(job.peer.name, job.precision, failures=((0, str(fault)),)), None


def measure(job: Job) -> tuple[Row, Outputs]:
    """Open, ask every phantom alone, then time each batch size."""
    inputs = np.load(job.subject.folder / INPUTS)
    started = time.perf_counter()
    engine = job.peer.open(job.subject, job.precision, job.device)
    first = engine.infer(inputs[:1])
    open_s = time.perf_counter() - started
    answers = joined([first, *(engine.infer(inputs[number : number + 1]) for number in range(1, len(inputs)))])
    timings, failures = [], []
    for batch in job.effort.batches if job.timed else ():
        try:
            effort = job.effort
            timings.append(time_calls(engine.infer, inputs, batch, runs=effort.runs, warm_up_s=effort.warm_up_s))
        except (RuntimeError, EngineError) as fault:  # out of memory, mostly: smaller batches still count
            failures.append((batch, why(fault)))
    state = gpu_now() if job.device == "cuda" and job.timed else {}
    version = f"{engine.identity.backend} {engine.identity.version}"
    engine.close()
    return Row(job.peer.name, job.precision, version, open_s, tuple(timings), None, state, tuple(failures)), answers


def peaks_of(device: str) -> Peaks:
    """On a GPU in a process of its own, so that its memory is free again. Raises CallFailed."""
    return _peaks(device) if device == "cpu" else call_apart(_peaks, device, limit_s=PEER_LIMIT_S)


def _peaks(device: str) -> Peaks:
    return measure_peaks(device, SIZES[device])


@dataclass(frozen=True)
class Bound:
    """The roofline of one graph and batch. bound_s: None when a peak is missing."""

    precision: str
    batch: int
    multiply_adds: int
    bytes_moved: int
    bound_s: float | None


def bounds_of(subject: Subject, peaks: Peaks, device: str, batches: Sequence[int]) -> Iterator[Bound]:
    for precision in subject.precisions:
        for batch in batches:
            layers = count_layers(subject.graph(precision), batch)
            host_bytes = batch * bytes_per_radiograph(len(subject.names)) if device == "cuda" else 0
            yield Bound(
                precision,
                batch,
                sum(layer.multiply_adds for layer in layers),
                sum(layer.bytes_moved for layer in layers),
                time_bound_s(layers, peaks, host_bytes=host_bytes),
            )


def bytes_per_radiograph(members: int) -> int:
    """Input and outputs of one radiograph as they cross the bus, float32."""
    return 4 * (INPUT_SIDE**2 + 1 + members + EMBEDDING_SIZE + MASK_SIDE**2 + EVIDENCE_SIDE**2)
