"""Whom the accuracy gate asks about: val rows and patients set aside; and the cases among which it retrieves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.answers import ask_graph
from calib.gate import Asked, Labels
from calib.selection import MOST, CalibrationSet, choose, sha256_of, sha256_of_set
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training import options
from training.arrays import readable, standardise
from training.manifest import of_split, read_manifest
from training.row import GATE, Row
from training.splits import hold_out


@dataclass(frozen=True)
class GateSet:
    """radiographs, cases: cached arrays. sha256: of the judged radiographs' files, in the order of their digests."""

    radiographs: tuple[Path, ...]
    cases: tuple[Path, ...]
    labels: Labels
    sha256: str

    def ask(self, graph: Path) -> Asked:
        return Asked(ask_graph(graph, self.radiographs, f"gate {graph.name}"), ask_graph(graph, self.cases))


def rows_of(manifests: Sequence[Path], *, permitted_only: bool, seed: int) -> list[tuple[Row, ...]]:
    """The rows of each manifest, splits drawn where it has none."""
    read = [read_manifest(path, labels=None, permitted_only=permitted_only) for path in manifests]
    return [hold_out(rows, shares=options.HELD_OUT, seed=seed) for rows in read]


def gate_set(
    manifests: Sequence[Sequence[Row]], calibration: CalibrationSet, preprocessing: Preprocessing, cache: Path,
    *, positive: str,
) -> GateSet:  # fmt: skip
    """manifests: the rows of each, splits drawn. Val rows of the first set the operating point, for its labels are the
    task's; the cases are its train rows.

    Raises UsageError where a radiograph is among the judged and the calibrated, or where there is nothing to judge by.
    """
    rows = [row for part in manifests for split in ("val", GATE) for row in of_split(part, split)]
    if not rows:
        raise UsageError("the manifests hold no val row, so that the gate has nothing to judge by; write val into the "
                         "column split, or set patients aside: python -m training.reserve")  # fmt: skip
    digests = [sha256_of(row.path) for row in rows]
    both = {*digests} & {*calibration.digests}
    if both:
        twice = rows[digests.index(min(both))]
        raise UsageError(f"{twice.path.name} is judged and calibrated with; give it one split")
    own = {*map(id, of_split(manifests[0], "val"))}
    _, radiographs = readable(standardise(rows, preprocessing, cache))
    _, cases = readable(standardise(choose(manifests[0], MOST).rows, preprocessing, cache))
    labels = Labels(
        positive=np.array([row.label == positive for row in rows]),
        validation=np.array([id(row) in own for row in rows]),
    )
    return GateSet(radiographs, cases, labels, sha256_of_set(digests))
