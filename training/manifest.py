"""The training manifest: a CSV of radiographs, read to frozen rows and checked before any training starts.

Columns are listed in the design ("Contract"): path, patient_id, label and optional ones; further columns are kept.
Reading pixels is in arrays.py.
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import MappingProxyType

from edge.errors import UsageError

LABELS = ("other", "covid")
TRAINING_SPLITS = frozenset({"train", "val"})
# Licences that allow changed works with attribution; ND does not, and "none stated" or "all rights" neither.
_PERMITTED = re.compile(r"CC BY(-NC)?(-SA)?( \d\.\d)?\b(?!-)|NIH\b")


@dataclass(frozen=True)
class Row:
    """One radiograph of a manifest.

    line: line in the CSV, 1 is the header. columns: every column as it stood. annotator: of the lung mask, else "".
    """

    line: int
    path: Path
    patient_id: str
    label: str
    split: str
    view: str
    annotator: str
    mask_path: Path | None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def licence(self) -> str:
        """The radiograph's own licence; a lung manifest also names the mask's, which stands in `licence` there."""
        return self.columns.get("image_licence") or self.columns.get("licence", "")

    @property
    def checked(self) -> bool:
        """Whether the row is trained on or measured by: only those need a label and one split per patient."""
        return self.split in TRAINING_SPLITS or self.split.startswith("test")


def read_manifest(
    manifest: Path, *, labels: Sequence[str] | None = LABELS, permitted_only: bool = False, apart: bool = True
) -> tuple[Row, ...]:
    """The rows in file order, checked. labels: (negative, positive), or None where labels do not matter.

    permitted_only: leave out rows whose licence forbids sharing the weights, before the checks.
    apart: check that no patient is in two of train, val and test; where nothing is trained it may be waived.

    Raises UsageError naming the line for a missing column or file, an unknown label, a duplicate row, or a patient
    in two of train, val and test.
    """
    with manifest.open(newline="", encoding="utf-8") as text:
        reader = csv.DictReader(text)
        _require_columns(manifest, reader.fieldnames or (), labels)
        rows = tuple(_row(manifest, reader.line_num, columns) for columns in reader)
    if permitted_only:
        rows = tuple(row for row in rows if permitted(row))
    if not rows:
        raise UsageError(f"{manifest.name} has no rows; write one line per radiograph below the header")
    _check_files(manifest, rows)
    _check_unique(manifest, rows)
    if labels is not None:
        _check_labels(manifest, rows, labels)
    if apart:
        _check_patients(manifest, rows)
    return rows


def permitted(row: Row) -> bool:
    """Whether weights trained on this row may be shared: CC BY, BY-SA, BY-NC, BY-NC-SA of any version, or NIH.

    A manifest without a licence column holds radiographs that its owner may use.
    """
    if not {"licence", "image_licence"} & row.columns.keys():
        return True
    return _PERMITTED.match(row.licence) is not None


def of_split(rows: Iterable[Row], split: str) -> tuple[Row, ...]:
    return tuple(row for row in rows if row.split == split)


def hold_out(rows: Sequence[Row], *, shares: Mapping[str, float], seed: int) -> tuple[Row, ...]:
    """Rows without a split get one, patient by patient: `shares` as {"val": 0.1, "test": 0.15}, the rest is train.

    Patients are drawn within each label (of their first row), so that every split has both.
    """
    patients: dict[str, str] = {}
    for row in rows:
        patients.setdefault(row.patient_id, row.label)
    chosen: dict[str, str] = {}
    for label in sorted(set(patients.values())):
        drawn = sorted(patient for patient, first in patients.items() if first == label)
        Random(f"{seed}:{label}").shuffle(drawn)
        start = 0.0
        for split, share in shares.items():
            for patient in drawn[round(start * len(drawn)) : round((start + share) * len(drawn))]:
                chosen[patient] = split
            start += share
    return tuple(row if row.split else replace(row, split=chosen.get(row.patient_id, "train")) for row in rows)


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


def _check_files(manifest: Path, rows: Sequence[Row]) -> None:
    for row in rows:
        for path in (row.path, row.mask_path):
            if path is not None and not path.is_file():
                raise UsageError(
                    f"{manifest.name} line {row.line}: no such file {path.name}; "
                    "paths are relative to the manifest's folder"
                )


def _check_unique(manifest: Path, rows: Sequence[Row]) -> None:
    first: dict[tuple[Path, str], int] = {}
    for row in rows:
        earlier = first.setdefault((row.path, row.annotator), row.line)
        if earlier != row.line:
            raise UsageError(
                f"{manifest.name} line {row.line}: {row.path.name} stands already on line {earlier}; keep one"
            )


def _check_labels(manifest: Path, rows: Sequence[Row], labels: Sequence[str]) -> None:
    for row in rows:
        if row.label not in labels and (row.label or row.checked or not row.split):
            raise UsageError(
                f"{manifest.name} line {row.line}: label {row.label!r} is neither {labels[0]} nor {labels[1]}; "
                "correct it or name the two labels with --labels"
            )


def _check_patients(manifest: Path, rows: Sequence[Row]) -> None:
    """A patient belongs to one of train, val and test; the several test splits may share one."""
    first: dict[str, Row] = {}
    for row in rows:
        if not row.checked:
            continue
        earlier = first.setdefault(row.patient_id, row)
        if earlier.split[:4] != row.split[:4]:
            raise UsageError(
                f"{manifest.name} line {row.line}: this patient is in {row.split} and, on line {earlier.line}, "
                f"in {earlier.split}; put all radiographs of a patient into one split"
            )
