"""A training set of phantoms: DICOM files, exact lung masks and their manifest, rendered in worker processes.

`python -m training.phantoms --out work/phantoms` writes it; files that are already there are kept.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np

from edge.phantom import LABELS, render
from edge.phantom_dicom import write_dicom
from training.arrays import in_processes

FIRST_SEED = 100_000  # the demo's and the tests' phantoms have other seeds
COLUMNS = ("path", "patient_id", "label", "split", "source", "mask_path", "origin")


@dataclass(frozen=True)
class PhantomCase:
    seed: int
    label: str
    split: str

    @property
    def name(self) -> str:
        return f"{self.seed}-{self.label}"

    @property
    def origin(self) -> str:
        """How to draw it again: what a bundle's reference set and the demo's contact sheet go by."""
        return f"phantom:{self.seed}:{self.label}"


def cases(counts: dict[str, int], *, first_seed: int = FIRST_SEED) -> Iterator[PhantomCase]:
    """counts: phantoms per split; labels alternate, every phantom is a patient of its own."""
    seed = first_seed
    for split, count in counts.items():
        for _ in range(count):
            yield PhantomCase(seed, LABELS[seed % 2], split)
            seed += 1


def write_training_set(out: Path, counts: dict[str, int], *, longest_side: int = 1024, workers: int = 1) -> Path:
    """Render what is missing and return the manifest's path."""
    for folder in ("dicom", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    wanted = list(cases(counts))
    jobs = [(out, case, longest_side) for case in wanted]
    rows = list(in_processes(_write_case, jobs, "phantoms", workers=workers))
    manifest = out / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return manifest


def _write_case(job: tuple[Path, PhantomCase, int]) -> tuple[str, ...]:
    """One manifest row; the mask is written last, so that it means complete."""
    out, case, longest_side = job
    radiograph, mask = Path("dicom", f"{case.name}.dcm"), Path("masks", f"{case.name}.png")
    if not (out / mask).exists():
        phantom = render(case.seed, case.label, longest_side=longest_side)
        write_dicom(phantom, out / radiograph)
        written, encoded = cv2.imencode(".png", phantom.lung_mask.astype(np.uint8) * 255)
        if not written:
            raise OSError(f"OpenCV could not encode the lung mask of {case.origin}")
        beside = out / mask.with_suffix(".part")
        beside.write_bytes(encoded.tobytes())
        beside.replace(out / mask)
    return str(radiograph), str(case.seed), case.label, case.split, "phantom", str(mask), case.origin


@click.command(epilog="Example: python -m training.phantoms --out work/phantoms --train 400")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@click.option("--train", "train_count", type=int, default=400, show_default=True)
@click.option("--val", "val_count", type=int, default=80, show_default=True)
@click.option("--test", "test_count", type=int, default=120, show_default=True)
@click.option("--workers", type=int, default=os.cpu_count() or 1, show_default=True, help="Processes that render.")
def main(out: Path, train_count: int, val_count: int, test_count: int, workers: int) -> None:
    """Render a training set of phantoms with its manifest."""
    counts = {"train": train_count, "val": val_count, "test": test_count}
    click.echo(write_training_set(out, counts, workers=workers))


if __name__ == "__main__":
    main()
