"""The training manifest: a CSV of radiographs, read to frozen rows and checked before any training starts.

Columns are listed in the design ("Contract"): path, patient_id, label and optional ones; further columns are kept.
Reading pixels is in arrays.py.
"""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from types import MappingProxyType

from edge.errors import UsageError
from training.licence import permits_sharing

LABELS = ("other", "covid")
TRAINING_SPLITS = frozenset({"train", "val"})
FAULTS_SHOWN = 20
_Cluster = tuple[str, str]  # kind and name: a group, or a patient who is in none
_Fault = tuple[int, str]  # line, and what is wrong there


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
    def group_id(self) -> str:
        """Patients of one case or household; "" where none is known."""
        return self.columns.get("group_id", "")

    @property
    def licence(self) -> str:
        """The radiograph's own licence; a lung manifest also names the mask's, which stands in `licence` there."""
        return self.columns.get("image_licence", self.columns.get("licence", ""))

    @property
    def checked(self) -> bool:
        """Whether the row is trained on or measured by: only those need a label and one split per patient."""
        return self.split in TRAINING_SPLITS or self.split.startswith("test")

    @property
    def counted(self) -> bool:
        """Whether it is checked, or will be once a split is drawn for it."""
        return self.checked or not self.split


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


def hold_out(rows: Sequence[Row], *, shares: Mapping[str, float], seed: int) -> tuple[Row, ...]:
    """Rows without a split get one, cluster by cluster: `shares` as {"val": 0.1, "test": 0.15}, the rest is train.

    A cluster is a patient, or all who share a group; one that has a split already keeps it. Clusters are drawn within
    each label (of their first row), so that every split has both.
    """
    counted = [row for row in rows if row.counted]
    clusters = _clusters(counted)
    labels: dict[_Cluster, str] = {}
    for row in counted:
        labels.setdefault(clusters[row.patient_id], row.label)
    chosen = {cluster: row.split for cluster, row in _first_with_split(counted, clusters).items()}
    undrawn = labels.keys() - chosen.keys()
    for label in sorted({labels[cluster] for cluster in undrawn}):
        drawn = sorted(cluster for cluster in undrawn if labels[cluster] == label)
        Random(f"{seed}:{label}").shuffle(drawn)
        start = 0.0
        for split, share in shares.items():
            for cluster in drawn[round(start * len(drawn)) : round((start + share) * len(drawn))]:
                chosen[cluster] = split
            start += share
    return tuple(
        row if row.split else replace(row, split=chosen.get(clusters[row.patient_id], "train")) for row in rows
    )


def _clusters(rows: Sequence[Row]) -> dict[str, _Cluster]:
    """patient_id -> its cluster: all who share a group with it, also by way of others."""
    least: dict[_Cluster, _Cluster] = {}

    def root(name: _Cluster) -> _Cluster:
        while least.setdefault(name, name) != name:
            name = least[name]
        return name

    for row in rows:
        patient = root(("patient", row.patient_id))
        if row.group_id:
            group = root(("group", row.group_id))
            least[max(patient, group)] = min(patient, group)  # the least, so that the order of rows does not matter
    return {row.patient_id: root(("patient", row.patient_id)) for row in rows}


def _first_with_split(counted: Sequence[Row], clusters: Mapping[str, _Cluster]) -> dict[_Cluster, Row]:
    first: dict[_Cluster, Row] = {}
    for row in counted:
        if row.split:
            first.setdefault(clusters[row.patient_id], row)
    return first


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
    clusters = _clusters(counted)
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
