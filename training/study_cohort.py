"""The radiographs of a study: who takes part, and where their standardised arrays lie."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.imaging.preprocess import Preprocessing
from training import options
from training.arrays import readable, standardise
from training.cohort import gather
from training.devices import Place
from training.manifest import read_manifest
from training.outcome import Excluded
from training.row import Row
from training.splits import hold_out
from training.wishes import Wishes


@dataclass(frozen=True)
class StudyCohort:
    """rows: of train, val, the tests, or without a split yet; paths: their arrays, in the same order. listed: every
    row of the manifest, whether it takes part or not.
    """

    rows: tuple[Row, ...]
    paths: tuple[Path, ...]
    excluded: tuple[Excluded, ...]
    listed: tuple[Row, ...]

    @property
    def digest(self) -> str:
        """Of the arrays, in their order: whoever answered for them answered for these."""
        return hashlib.sha256("\n".join(f"{path.parent.name}/{path.name}" for path in self.paths).encode()).hexdigest()

    def held_out(self, seed: int) -> tuple[Row, ...]:
        """The rows with the splits that every command draws by this seed: over all that is listed, so that `evaluate`
        finds the same whoever is excluded here.
        """
        drawn = {row.line: row.split for row in hold_out(self.listed, shares=options.HELD_OUT, seed=seed)}
        return tuple(replace(row, split=drawn[row.line]) for row in self.rows)

    def standardised_as(self, preprocessing: Preprocessing, cache: Path, place: Place) -> tuple[Path, ...]:
        """The same radiographs' arrays of another preprocessing."""
        _, paths = readable(standardise(self.rows, preprocessing, cache, place=place))
        return paths


def study_cohort(
    wishes: Wishes, preprocessing: Preprocessing, place: Place, *, splits: Sequence[str] = ()
) -> StudyCohort:
    """Raises UsageError naming every faulty line, or, unless such rows are left out, a radiograph that the box
    refuses.
    """
    rows = read_manifest(wishes.manifest, labels=wishes.labels, permitted_only=wishes.permitted_only, both=True)
    if splits:
        rows = tuple(row for row in rows if row.split in splits)
    kept = standardise(rows, preprocessing, wishes.cache, place=place)
    if not wishes.leave_out_refused:
        readable([item for item in kept if item.row.counted])
    return StudyCohort(*gather(kept), listed=rows)
