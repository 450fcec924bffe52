"""A curve that measures nothing, for benchmarks/cost_curves.py: costs follow from the size by known laws."""

from collections.abc import Iterator

from benchmarks.curve import Curve, Room
from benchmarks.growth import Point, Told


def points(room: Room) -> Iterator[Point]:
    for size in room.within((10, 100, 1000)):
        yield Point(size, "made", {"wall_s": 0.5 + 0.002 * size, "held_bytes": 1e3 * size**2, "untold_s": 1.0})
    yield from (Point(size, "earlier", {"wall_s": 1.0}, "results/other.json") for size in room.within((100, 1000)))


CURVE = Curve("things", (Told("wall_s", "the time", straight=True), Told("held_bytes", "memory")), points)
