"""Curves of the engine alone: members of an ensemble at 256 pixels, and pixels of one member's input.

Each member is a ResNet50 with the paper's decision head, untrained; the U-Net of the lungs is in every network. Graphs
are made once by the steps that make a bundle's (subject.py), and asked batch 1, array to array, with OpenVINO's own
choice of threads. This module is imported by the process that is measured: torch only where graphs are made.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.curve import Curve, Room
from benchmarks.growth import Point, Told
from benchmarks.resident import Opened, Peer, Resident

if TYPE_CHECKING:
    from benchmarks.subject import Subject
    from export.fused import Fused

MEMBERS, MEMBER_SIDE = (1, 2, 4, 8), 256
SIDES = (256, 512, 768, 1024)
PRECISIONS = ("fp32", "int8")
_BACKBONE = "resnet50"
_INPUTS, _RADIOGRAPHS = "curve-inputs.npy", 2
_TURNS, _CALLS = 5, 4
_LIMIT_S = 900.0


def points_by_members(room: Room) -> Iterator[Point]:
    for count in room.within(MEMBERS):
        yield from _points(count, subject_of(count, MEMBER_SIDE, room.graphs))


def points_by_side(room: Room) -> Iterator[Point]:
    for side in room.within(SIDES):
        yield from _points(side, subject_of(1, side, room.graphs))


def subject_of(members: int, side: int, graphs: Path) -> "Subject":
    """With both graphs and its inputs, made where they are not there."""
    from benchmarks.networks import with_fp32  # noqa: PLC0415
    from benchmarks.subject import planned  # noqa: PLC0415
    from training.model import ClassifierArchitecture, LungArchitecture  # noqa: PLC0415

    folder = graphs / f"{members}x{side}"
    folder.mkdir(parents=True, exist_ok=True)
    architectures = tuple(ClassifierArchitecture(f"{_BACKBONE}-{number}", _BACKBONE, side=side)
                          for number in range(1, members + 1))  # fmt: skip
    plan = planned(architectures, LungArchitecture(), f"{members} x {_BACKBONE} at {side} pixels", folder)
    with_fp32(replace(plan, precisions=()), write=partial(_write_both, plan))
    np.save(folder / _INPUTS, plan.inputs(_RADIOGRAPHS))
    return plan


def _write_both(subject: "Subject", module: "Fused", path: Path) -> None:
    from benchmarks.subject import write_int8  # noqa: PLC0415
    from export.graph import write_graph  # noqa: PLC0415

    write_graph(module, path)
    write_int8(subject)


def _points(size: int, subject: "Subject") -> Iterator[Point]:
    for precision in PRECISIONS:
        yield Point(size, precision, measure(subject.folder, precision, subject.names))


def measure(folder: Path, precision: str, members: tuple[str, ...]) -> dict[str, float]:
    """wall_s, cpu_s: of a call, the least of some turns' medians, whoever else used the cores. open_s: to the first
    answer, compiled. peak_bytes: the most that its process held, which is while it compiles.
    """
    peer = Peer("engine", partial(open_graph, folder, precision, members))
    with Resident(peer, inputs=_RADIOGRAPHS, cores=None, limit_s=_LIMIT_S) as engine:
        turns = [engine.turn(number * _CALLS, _CALLS) for number in range(_TURNS)]
        memory_bytes = engine.memory_bytes()
    return {"wall_s": min(turn.wall_s for turn in turns), "cpu_s": min(turn.cpu_s for turn in turns),
            "open_s": engine.open_s, "peak_bytes": memory_bytes}  # fmt: skip


def open_graph(folder: Path, precision: str, members: tuple[str, ...]) -> Opened:
    from edge.engines.opening import open_openvino  # noqa: PLC0415 - the parent needs none of it
    from export.loose_graphs import bundle_of  # noqa: PLC0415

    engine = open_openvino(bundle_of(folder, (precision,), name="curve", members=members), precision)
    radiographs = np.load(folder / _INPUTS)
    return Opened(lambda number: engine.infer(radiographs[number % len(radiographs)][None]), close=engine.close)


_TOLD = (
    Told("wall_s", "a radiograph by the clock", straight=True),
    Told("cpu_s", "CPU time of a radiograph"),
    Told("open_s", "opening the engine"),
    Told("peak_bytes", "peak memory"),
)
BY_MEMBERS = Curve("members", _TOLD, points_by_members)
BY_SIDE = Curve("pixels of the input's side", tuple(replace(one, straight=False) for one in _TOLD), points_by_side)
