"""What can be wrong with a manifest's rows: each fault with the line it stands on and what to do about it.

Messages hold no patient identifier: of age, dates and free cells they name the column, never the value.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edge.manifest_lines import Fault
from training.row import SEXES, YES_OR_NO, Row
from training.splits import Cluster, clusters_of

OLDEST_YEARS = 130


def of_files(rows: Sequence[Row]) -> Iterator[Fault]:
    for row in rows:
        if not row.columns["path"]:
            yield row.line, "path is empty; name the radiograph's file"
            continue
        for path in (row.path, row.mask_path):
            if path is not None and not path.is_file():
                yield row.line, f"no such file {path.name}; paths are relative to the manifest's folder"


def of_repetition(rows: Sequence[Row]) -> Iterator[Fault]:
    first: dict[tuple[Path, str], int] = {}
    for row in rows:
        earlier = first.setdefault((row.path, row.annotator), row.line)
        if earlier != row.line and row.columns["path"]:
            yield row.line, f"{row.path.name} stands already on line {earlier}; keep one"


def of_cells(rows: Sequence[Row]) -> Iterator[Fault]:
    """Cells that what follows could not read; empty ones are unknown, but for the patient of a row that counts."""
    for row in rows:
        if row.counted and not row.patient_id:
            yield row.line, "patient_id is empty; write a pseudonym, the same on all lines of the patient"
        age, days = _number(row, "age"), _number(row, "days_since_admission")
        if age is not None and not 0 <= age <= OLDEST_YEARS:
            yield row.line, f"age is no number from 0 to {OLDEST_YEARS}; write years, as 63, or leave it empty"
        if days is not None and not math.isfinite(days):
            yield row.line, "days_since_admission is no number; write days, as 4 or -1, or leave it empty"
        if row.columns.get("sex", "").lower() not in SEXES:
            yield row.line, "sex is neither M nor F; write one of them, or leave it empty where unknown"
        for name in ("hard", "abnormal"):
            if row.columns.get(name, "").lower() not in YES_OR_NO | {""}:
                yield row.line, f"{name} is neither yes nor no; write one of them, or leave it empty where unknown"


def of_labels(rows: Sequence[Row], labels: Sequence[str], *, both: bool) -> Iterator[Fault]:
    """Unknown labels; and where there are none, and both labels are needed, rows to train on that hold one only."""
    unknown = [row for row in rows if row.label not in labels and (row.label or row.counted)]
    for row in unknown:
        what = f"label {row.label!r} is neither {labels[0]} nor {labels[1]}"
        yield row.line, f"{what}; correct it or name the two labels with --labels"
    if both and not unknown:
        yield from _one_label(rows, labels)


def _one_label(rows: Sequence[Row], labels: Sequence[str]) -> Iterator[Fault]:
    """Of train, and of val where there is any, with the rows still to be divided; tests may hold one label only."""
    for split in ("train", "val"):
        fixed = [row for row in rows if row.split == split]
        part = [row for row in rows if row.split in (split, "")]
        missing = [label for label in labels if label not in {row.label for row in part}]
        if missing and (fixed or (part and split == "train")):
            which = f"{split} row" if fixed else "row to train on"
            what = f"every {which} is labelled {part[0].label}, as this one, and none {missing[0]}"
            yield part[0].line, f"{what}; list radiographs labelled {missing[0]} too, or correct the column label"


def of_leaks(rows: Sequence[Row]) -> Iterator[Fault]:
    """A cluster belongs to one of train, val and test, and so do equal files; the several test splits may share one."""
    counted = [row for row in rows if row.counted]
    clusters = clusters_of(counted)
    first = _first_with_split(counted, clusters)
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


def _first_with_split(counted: Sequence[Row], clusters: Mapping[str, Cluster]) -> dict[Cluster, Row]:
    first: dict[Cluster, Row] = {}
    for row in counted:
        if row.split:
            first.setdefault(clusters[row.patient_id], row)
    return first


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


def _number(row: Row, column: str) -> float | None:
    """None where the cell is empty, not a number (math.nan) where it holds none."""
    text = row.columns.get(column, "")
    try:
        return float(text) if text else None
    except ValueError:
        return math.nan
