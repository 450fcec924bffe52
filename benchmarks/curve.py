"""What one curve of benchmarks/cost_curves.py is: how its points are measured, and which costs are told in words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.growth import Point, Told


@dataclass(frozen=True)
class Room:
    """most: sizes above it are left out. graphs: where networks are made once. scratch: on the disk to be measured."""

    graphs: Path
    most: int | None = None
    scratch: Path | None = None

    def within(self, sizes: Sequence[int]) -> list[int]:
        return [size for size in sizes if self.most is None or size <= self.most]


@dataclass(frozen=True)
class Curve:
    """unit: what is counted, in words."""

    unit: str
    told: tuple[Told, ...]
    points: Callable[[Room], Iterator[Point]]
