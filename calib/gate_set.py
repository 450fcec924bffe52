"""What the accuracy gate asks: the judged radiographs with their labels, and the cases among which it retrieves."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calib.answers import ask_graph
from calib.cohort import Cohort
from calib.gate import Asked, Labels
from calib.selection import sha256_of, sha256_of_set


@dataclass(frozen=True)
class GateSet:
    """radiographs, cases: cached arrays. sha256: of the judged radiographs' files, in the order of their digests."""

    radiographs: tuple[Path, ...]
    cases: tuple[Path, ...]
    labels: Labels
    sha256: str

    def ask(self, graph: Path, *, cases: bool = True) -> Asked:
        """cases: whether the reference cases are asked too; None stands for them otherwise."""
        judged = ask_graph(graph, self.radiographs, f"gate {graph.name}")
        return Asked(judged, ask_graph(graph, self.cases) if cases else None)


def gate_set(cohort: Cohort, *, positive: str) -> GateSet:
    """Val rows of the first manifest set the operating point, for its labels are the task's; the cases are its train
    rows. Raises UsageError where a radiograph is judged and used otherwise, or where there is nothing to judge by.
    """
    rows, first = cohort.judged, {*map(id, cohort.parts[0].rows)}
    labels = Labels(
        positive=np.array([row.label == positive for row in rows]),
        validation=np.array([row.split == "val" and id(row) in first for row in rows]),
    )
    digest = sha256_of_set([sha256_of(row.path) for row in rows])
    return GateSet(cohort.paths_of(rows), cohort.paths_of(cohort.cases), labels, digest)
