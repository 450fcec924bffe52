"""How OpenVINO is asked: hints, streams, threads, batches and a model cache, side by side on the box's int8 graph.

A call answers WAITING radiographs, however many of them at once: what the box does when so many wait. Opening is timed
apart: compiled anew, and taken from a model cache.
"""

import io
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.comparison import INPUTS
from benchmarks.race import Race
from benchmarks.resident import Opened, Peer
from benchmarks.subject import Subject
from edge.engines.base import INPUT_SIDE
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from edge.engines.silent_openvino import openvino

WAITING = 8  # radiographs
OURS = "as the box asks: LATENCY, one at a time"
Options = Mapping[str, object]
_NONE: Options = MappingProxyType({})
BF16 = "other answers: benchmarks.bf16_parts tells what they cost"


def options_race(subject: Subject, calls: int) -> Race:
    def asked(name: str, options: Options = _NONE, *, batch: int = 1, requests: int = 1, note: str = "") -> Peer:
        opener = partial(open_asked, subject, dict(COMPILE_OPTIONS) | dict(options), batch, requests)
        return Peer(name, opener, note, comparable=not note)

    peers = (
        asked(OURS),
        asked("THROUGHPUT, two requests", {"PERFORMANCE_HINT": "THROUGHPUT"}, requests=2),
        asked("LATENCY, two streams and requests", {"NUM_STREAMS": 2}, requests=2),
        asked("batches of 2", batch=2),
        asked("batches of 4", batch=4),
        asked("batches of 8", batch=8),
        asked("one thread", {"INFERENCE_NUM_THREADS": 1}),
        asked("threads not pinned", {"ENABLE_CPU_PINNING": False}),
        asked("computed in bf16 where it is not int8", {"INFERENCE_PRECISION_HINT": "bf16"}, note=BF16),
    )
    return Race(f"{subject.name}: how OpenVINO is asked, {WAITING} radiographs a call", peers, 1, calls)


def start_race(subject: Subject, calls: int) -> Race:
    peers = (
        Peer("compiled anew, as the box does", partial(open_starts, subject, cached=False)),
        Peer("from a model cache", partial(open_starts, subject, cached=True)),
    )
    return Race(f"{subject.name}: from graph to compiled network", peers, 1, calls)


def open_asked(subject: Subject, options: Options, batch: int, requests: int) -> Opened:
    compiled = _compiled(subject, options, batch)
    radiographs = np.resize(np.load(subject.folder / INPUTS), (WAITING, 1, INPUT_SIDE, INPUT_SIDE))
    batches = [radiographs[first : first + batch] for first in range(0, WAITING, batch)]
    score = compiled.output("score")
    answers = np.empty((len(batches), batch), np.float32)
    line = openvino.AsyncInferQueue(compiled, requests)

    def keep(request: Any, place: int) -> None:
        answers[place] = request.get_tensor(score).data

    line.set_callback(keep)

    def call(number: int) -> NDArray[np.float32]:
        for place, those in enumerate(batches):
            line.start_async([those], place)
        line.wait_all()
        return answers.ravel().copy()

    return Opened(call, told=lambda scores: scores)


def open_starts(subject: Subject, *, cached: bool) -> Opened:
    kept = _compiled(subject, COMPILE_OPTIONS, 1).export_model() if cached else None
    blob = kept.getvalue() if isinstance(kept, io.BytesIO) else kept

    def call(number: int) -> object:
        if blob is None:
            return _compiled(subject, COMPILE_OPTIONS, 1)
        return openvino.Core().import_model(io.BytesIO(blob), "CPU")

    return Opened(call)


def _compiled(subject: Subject, options: Options, batch: int) -> Any:
    core = openvino.Core()
    model = core.read_model(model=subject.graph("int8").read_bytes(), weights=b"")
    model.reshape([batch, 1, INPUT_SIDE, INPUT_SIDE])
    return core.compile_model(model, "CPU", dict(options))
