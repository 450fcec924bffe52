"""Patients set aside for the accuracy gate: a copy of a manifest whose rows of them have the split `gate`.

Nobody trains on, calibrates with or tests on such rows. Only manifests without enough val rows need this.

    python -m training.reserve --manifest nih.csv --patients 200 --out work/nih.csv
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import click

from edge.errors import UsageError
from training import options
from training.manifest import read_manifest
from training.row import GATE, Row
from training.splits import clusters_of, hold_out


def reserve(rows: Sequence[Row], patients: int, *, seed: int) -> tuple[Row, ...]:
    """The rows, those of about `patients` patients (or groups of them) with the split gate; drawn as hold_out draws.

    Only patients whose rows have no split yet can be drawn. Raises UsageError when they are not more than `patients`.
    """
    clusters = clusters_of([row for row in rows if row.counted])
    fixed = {clusters[row.patient_id] for row in rows if row.counted and row.split}
    free = set(clusters.values()) - fixed
    if len(free) <= patients:
        raise UsageError(f"only {len(free)} patients have no split yet, {patients} were to be set aside; name fewer")
    drawn = hold_out(rows, shares={GATE: patients / len(free)}, seed=seed)
    return tuple(new if new.split == GATE else row for row, new in zip(rows, drawn, strict=True))


def write_manifest(rows: Sequence[Row], manifest: Path) -> None:
    """Every column as it stood, the split, and paths relative to the new place."""
    manifest.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys([*rows[0].columns, "split"]))
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            moved = {"path": row.path, "mask_path": row.mask_path}
            paths = {
                name: os.path.relpath(path, manifest.parent)
                for name, path in moved.items()
                if name in names and path is not None
            }
            writer.writerow({**row.columns, **paths, "split": row.split})


@click.command(epilog="Example: python -m training.reserve --manifest nih.csv --patients 200 --out work/nih.csv")
@click.option("--manifest", type=options.FILE, required=True, help="CSV of radiographs.")
@click.option("--patients", type=click.IntRange(min=1), required=True, help="How many to set aside.")
@click.option("--out", type=options.NEW_FILE, required=True, help="CSV to write.")
@options.seed
def main(manifest: Path, patients: int, out: Path, seed: int) -> None:
    """Set patients aside for the accuracy gate."""
    rows = reserve(read_manifest(manifest, labels=None), patients, seed=seed)
    write_manifest(rows, out)
    count = sum(row.split == GATE for row in rows)
    click.echo(f"{count} of {len(rows)} radiographs of {out} are set aside for the gate")


if __name__ == "__main__":
    main()
