"""The calibration set: training radiographs alone, each label, source and hospital in proportion; known by a digest."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import UsageError
from training.manifest import of_split
from training.row import Row

MOST, USUAL = 512, 256  # radiographs


@dataclass(frozen=True)
class CalibrationSet:
    """rows: in the order of their digests. digests: SHA-256 of each file."""

    rows: tuple[Row, ...]
    digests: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Of the whole set: the same files give the same digest, however they were listed."""
        return sha256_of_set(self.digests)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sha256_of_set(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def choose(rows: Sequence[Row], count: int) -> CalibrationSet:
    """At most `count` of the train rows, drawn alike by everyone: by the digest of each file.

    A label, source and hospital keeps its share to one radiograph. Raises UsageError without train rows or over MOST.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count} calibration radiographs were asked for; choose 1 to {MOST}")
    strata: dict[tuple[str, str, str], list[tuple[str, Row]]] = defaultdict(list)
    for row in of_split(rows, "train"):
        strata[row.label, row.source, row.hospital].append((sha256_of(row.path), row))
    if not strata:
        raise UsageError("the manifest holds no train row to calibrate with; write train into the column split")
    ordered = [sorted(strata[name], key=lambda drawn: drawn[0]) for name in sorted(strata)]
    chosen = sorted(
        (drawn for part, share in zip(ordered, _shares([len(part) for part in ordered], count), strict=True)
         for drawn in part[:share]),
        key=lambda drawn: drawn[0],
    )  # fmt: skip
    return CalibrationSet(tuple(row for _, row in chosen), tuple(digest for digest, _ in chosen))


def _shares(sizes: Sequence[int], count: int) -> list[int]:
    """Whole parts of `sizes` that sum to `count`, by the largest remainder; no more than there are."""
    total = sum(sizes)
    count = min(count, total)
    exact = [size * count / total for size in sizes]
    parts = [int(share) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda place: parts[place] - exact[place])
    for place in by_remainder[: count - sum(parts)]:
        parts[place] += 1
    return parts
