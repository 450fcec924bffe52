"""The training manifest: a CSV of radiographs, read to frozen rows and checked before any training starts.

Columns are listed in the design ("Contract"): path, patient_id, label and optional ones; further columns are kept.
What can be wrong with a row is in faults.py, reading pixels is in arrays.py.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import MappingProxyType

from edge.errors import UsageError
from edge.manifest_lines import Fault, read_lines, told
from training import faults
from training.licence import permits_sharing
from training.row import Row

LABELS = ("other", "covid")


def read_manifest(
    manifest: Path,
    *,
    labels: Sequence[str] | None = LABELS,
    permitted_only: bool = False,
    apart: bool = True,
    both: bool = False,
) -> tuple[Row, ...]:
    """The rows in file order, checked. labels: (negative, positive), or None where labels do not matter.

    permitted_only: leave out rows whose licence forbids sharing the weights, before the checks.
    apart: check that train, val and test share no patient, group or file; where nothing is trained it may be waived.
    both: check that the rows to train on hold both labels, and the val rows too; for whatever trains a classifier.

    Raises UsageError for a file that is no UTF-8 or no CSV, a column missing or named twice, no rows, or naming every
    line with a missing file, a cell that cannot be read, an unknown label, a duplicate row, one label only, or a
    patient, group or file that could end in two of train, val and test.
    """
    rows, found = _read(manifest, labels)
    if not rows and not found:
        raise UsageError(f"{manifest.name} has no rows; write one line per radiograph below the header")
    if permitted_only:
        rows = tuple(row for row in rows if permitted(row))
    if not rows and not found:
        raise UsageError(f"{manifest.name} has no row whose licence permits sharing the weights; see column licence")
    found += [*faults.of_files(rows), *faults.of_repetition(rows), *faults.of_cells(rows)]
    if labels is not None:
        found += faults.of_labels(rows, labels, both=both)
    if apart:
        found += faults.of_leaks(rows)
    if found:
        raise UsageError(told(manifest, sorted(found)))
    return rows


def permitted(row: Row) -> bool:
    """Whether weights trained on this row may be shared: by the radiograph's licence, and by its mask's if it has one.

    A manifest without a licence column holds radiographs that its owner may use.
    """
    if not {"licence", "image_licence"} & row.columns.keys():
        return True
    of_mask = row.columns.get("licence", row.licence) if row.mask_path is not None else row.licence
    return permits_sharing(row.licence) and permits_sharing(of_mask)


def of_split(rows: Iterable[Row], split: str) -> tuple[Row, ...]:
    return tuple(row for row in rows if row.split == split)


def require_split(manifest: Path, rows: Sequence[Row], split: str) -> tuple[Row, ...]:
    """The rows of a split. Raises UsageError naming the splits that there are when it has none."""
    found = of_split(rows, split)
    if not found:
        there = ", ".join(f"{count} {name}" for name, count in sorted(Counter(row.split for row in rows).items()))
        raise UsageError(
            f"{manifest.name} has no {split} row, but {there}; write train, val, test or test_NAME into its column "
            "split, or leave that empty and list more patients, so that some can be held out"
        )
    return found


def _read(manifest: Path, labels: Sequence[str] | None) -> tuple[tuple[Row, ...], list[Fault]]:
    """The rows, and the faults of lines that are none."""
    required = ("path", "patient_id") if labels is None else ("path", "patient_id", "label")
    lines, found = read_lines(manifest, manifest.read_bytes(), required)
    return tuple(_row(manifest, line.number, line.columns) for line in lines), found


def _row(manifest: Path, line: int, values: dict[str, str]) -> Row:
    mask_path = values.get("mask_path")
    return Row(
        line=line,
        path=manifest.parent / values["path"],
        patient_id=values["patient_id"],
        label=values.get("label", ""),
        split=values.get("split", ""),
        view=values.get("view", ""),
        annotator=values.get("annotator", ""),
        mask_path=manifest.parent / mask_path if mask_path else None,
        columns=MappingProxyType(values),
    )
