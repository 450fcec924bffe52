"""Whom calibration and gate ask about: the radiographs that training would take and the box would score, by split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.selection import MOST, CalibrationSet, choose, sha256_of
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training import options
from training.arrays import readable, standardise
from training.cohort import gather
from training.manifest import of_split, read_manifest
from training.row import GATE, Row
from training.splits import hold_out

_USED = ("train", "val", GATE)


@dataclass(frozen=True)
class Part:
    """One manifest. rows, paths: who takes part, and their arrays; listed: every row, splits drawn."""

    rows: tuple[Row, ...]
    paths: tuple[Path, ...]
    listed: tuple[Row, ...]


@dataclass(frozen=True)
class Cohort:
    """The first manifest is the task's: its labels count, its val rows set the point, its train rows are the cases."""

    parts: tuple[Part, ...]

    def calibration(self, count: int) -> CalibrationSet:
        return choose([row for part in self.parts for row in part.rows], count)

    @property
    def cases(self) -> tuple[Row, ...]:
        return choose(self.parts[0].rows, MOST).rows

    @property
    def judged(self) -> tuple[Row, ...]:
        """Val and gate rows. Raises UsageError where there are none, or where one of them is used elsewhere too."""
        judged = [row for part in self.parts for split in ("val", GATE) for row in of_split(part.rows, split)]
        if not judged:
            raise UsageError("the manifests hold no val row, so that the gate has nothing to judge by; write val into "
                             "the column split, or set patients aside: python -m training.reserve")  # fmt: skip
        seen: dict[str, Row] = {}
        for row in judged:
            twice = seen.setdefault(sha256_of(row.path), row)
            if twice is not row:
                raise UsageError(f"{row.path.name} is {twice.path.name} again, and would be judged twice; list it once")
        for row in (row for part in self.parts for row in part.listed):
            if row.split not in ("val", GATE) and row.checked and sha256_of(row.path) in seen:
                raise UsageError(f"{row.path.name} is of {row.split} and would be judged too; give it one split")
        return tuple(judged)

    def paths_of(self, rows: Sequence[Row]) -> tuple[Path, ...]:
        """Their arrays, in the same order."""
        known = {id(row): path for part in self.parts for row, path in zip(part.rows, part.paths, strict=True)}
        return tuple(known[id(row)] for row in rows)


def read_cohort(
    manifests: Sequence[Path], preprocessing: Preprocessing, cache: Path, *, labels: tuple[str, str],
    permitted_only: bool = False, leave_out_refused: bool = False, seed: int = 0,
) -> Cohort:  # fmt: skip
    """Laterals, minors and radiographs with an opaque rectangle take no part, as in training.

    labels: of the first manifest; those of the others are of another task. Raises UsageError naming every faulty line,
    or, unless such rows are left out, a radiograph that the box refuses.
    """
    parts = []
    for place, manifest in enumerate(manifests):
        rows = read_manifest(manifest, labels=None if place else labels, permitted_only=permitted_only)
        rows = hold_out(rows, shares=options.HELD_OUT, seed=seed)
        kept = standardise([row for row in rows if row.split in _USED], preprocessing, cache)
        if not leave_out_refused:
            readable(kept)
        taken, paths, _ = gather(kept)
        parts.append(Part(taken, paths, tuple(rows)))
    return Cohort(tuple(parts))
