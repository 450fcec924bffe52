"""The training manifest: a CSV of radiographs, read to frozen rows and checked before any training starts.

Columns are listed in the design ("Contract"): path, patient_id, label and optional ones; further columns are kept.
Reading pixels is in arrays.py.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import MappingProxyType

from edge.errors import UsageError
from training.licence import permits_sharing
from training.row import Row
from training.splits import clusters_of, first_with_split

LABELS = ("other", "covid")
FAULTS_SHOWN = 20
_Fault = tuple[int, str]  # line, and what is wrong there


def read_manifest(
    manifest: Path, *, labels: Sequence[str] | None = LABELS, permitted_only: bool = False, apart: bool = True
) -> tuple[Row, ...]:
    """The rows in file order, checked. labels: (negative, positive), or None where labels do not matter.

    permitted_only: leave out rows whose licence forbids sharing the weights, before the checks.
    apart: check that train, val and test share no patient, group or file; where nothing is trained it may be waived.

    Raises UsageError for a missing column, or naming every line with a missing file, an unknown label, a duplicate row,
    or a patient, group or file that could end in two of train, val and test.
    """
    with manifest.open(newline="", encoding="utf-8-sig") as text:
        reader = csv.DictReader(text)
        _require_columns(manifest, reader.fieldnames or (), labels)
        rows = tuple(_row(manifest, reader.line_num, columns) for columns in reader)
    if not rows:
        raise UsageError(f"{manifest.name} has no rows; write one line per radiograph below the header")
    if permitted_only:
        rows = tuple(row for row in rows if permitted(row))
    if not rows:
        raise UsageError(f"{manifest.name} has no row whose licence permits sharing the weights; see column licence")
    faults = [*_file_faults(rows), *_repetitions(rows)]
    if labels is not None:
        faults += _label_faults(rows, labels)
    if apart:
        faults += _leaks(rows)
    if faults:
        raise UsageError(_told(manifest, sorted(faults)))
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


def _row(manifest: Path, line: int, columns: dict[str, str]) -> Row:
    values = {name: (value or "").strip() for name, value in columns.items() if name}
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


def _require_columns(manifest: Path, present: Sequence[str], labels: Sequence[str] | None) -> None:
    required = ("path", "patient_id") if labels is None else ("path", "patient_id", "label")
    missing = [name for name in required if name not in present]
    if missing:
        raise UsageError(
            f"{manifest.name} has no column {', '.join(missing)}; its header must name {', '.join(required)}"
        )


def _told(manifest: Path, faults: Sequence[_Fault]) -> str:
    shown = "".join(f"\n  line {line}: {what}" for line, what in faults[:FAULTS_SHOWN])
    more = f"\n  and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
    return f"{manifest.name} is not used before this is mended ({len(faults)}):{shown}{more}"


def _file_faults(rows: Sequence[Row]) -> Iterator[_Fault]:
    for row in rows:
        for path in (row.path, row.mask_path):
            if path is not None and not path.is_file():
                yield row.line, f"no such file {path.name}; paths are relative to the manifest's folder"


def _repetitions(rows: Sequence[Row]) -> Iterator[_Fault]:
    first: dict[tuple[Path, str], int] = {}
    for row in rows:
        earlier = first.setdefault((row.path, row.annotator), row.line)
        if earlier != row.line:
            yield row.line, f"{row.path.name} stands already on line {earlier}; keep one"


def _label_faults(rows: Sequence[Row], labels: Sequence[str]) -> Iterator[_Fault]:
    for row in rows:
        if row.label not in labels and (row.label or row.counted):
            what = f"label {row.label!r} is neither {labels[0]} nor {labels[1]}"
            yield row.line, f"{what}; correct it or name the two labels with --labels"


def _leaks(rows: Sequence[Row]) -> Iterator[_Fault]:
    """A cluster belongs to one of train, val and test, and so do equal files; the several test splits may share one."""
    counted = [row for row in rows if row.counted]
    clusters = clusters_of(counted)
    first = first_with_split(counted, clusters)
    for row in counted:
        earlier = first.get(clusters[row.patient_id], row)
        if row.split and earlier.split[:4] != row.split[:4]:
            who = "patient" if earlier.patient_id == row.patient_id else "group"
            told = f"this {who} is in {row.split} and, on line {earlier.line}, in {earlier.split}"
            yield row.line, f"{told}; put all radiographs of a {who} into one split"
    for row, earlier in _equal_files(counted):
        one, other = clusters[row.patient_id], clusters[earlier.patient_id]
        splits = {first[cluster].split[:4] if cluster in first else "" for cluster in (one, other)}
        if one != other and (len(splits) > 1 or "" in splits):
            yield row.line, (f"{row.path.name} has the bytes of {earlier.path.name} on line {earlier.line}, of another "
                             "patient; keep one, or put both into one split")  # fmt: skip


def _equal_files(rows: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """Rows whose file has the same bytes as an earlier row's, with that row. Only files of one size are read."""
    sizes = {row.path: row.path.stat().st_size for row in rows if row.path.is_file()}
    shared = Counter(sizes.values())
    first: dict[str, Row] = {}
    for row in rows:
        if shared[sizes.get(row.path, -1)] > 1:
            with row.path.open("rb") as file:
                earlier = first.setdefault(hashlib.file_digest(file, "sha256").hexdigest(), row)
            if earlier is not row:
                yield row, earlier
