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


_Drawn = tuple[str, Row]  # digest of the file, and its row


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

    Each label keeps its share to one radiograph and has at least one; within it each source and hospital keeps its own.
    Raises UsageError without train rows or over MOST.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count} calibration radiographs were asked for; choose 1 to {MOST}")
    labels: dict[str, list[_Drawn]] = defaultdict(list)
    for row in of_split(rows, "train"):
        labels[row.label].append((sha256_of(row.path), row))
    if not labels:
        raise UsageError("the manifest holds no train row to calibrate with; write train into the column split")
    of_labels = [labels[name] for name in sorted(labels)]
    chosen: list[_Drawn] = []
    for drawn, share in zip(of_labels, _shares([len(part) for part in of_labels], count, least=1), strict=True):
        chosen += _proportionally(drawn, share)
    chosen.sort(key=lambda drawn: drawn[0])
    return CalibrationSet(tuple(row for _, row in chosen), tuple(digest for digest, _ in chosen))


def _proportionally(drawn: Sequence[_Drawn], count: int) -> list[_Drawn]:
    strata: dict[tuple[str, str], list[_Drawn]] = defaultdict(list)
    for one in sorted(drawn, key=lambda one: one[0]):
        strata[one[1].source, one[1].hospital].append(one)
    parts = [strata[name] for name in sorted(strata)]
    shares = _shares([len(part) for part in parts], count)
    return [one for part, share in zip(parts, shares, strict=True) for one in part[:share]]


def _shares(sizes: Sequence[int], count: int, *, least: int = 0) -> list[int]:
    """Whole parts of `sizes` that sum to `count`, by the largest remainder; no more than there are."""
    total = sum(sizes)
    count = min(count, total)
    exact = [size * count / total for size in sizes]
    parts = [max(int(share), least) for share in exact]
    while sum(parts) > count and max(parts) > least:  # `least` gave more than there is
        parts[parts.index(max(parts))] -= 1
    by_remainder = sorted(range(len(sizes)), key=lambda place: parts[place] - exact[place])
    for place in by_remainder[: count - sum(parts)]:
        parts[place] += 1
    return parts
