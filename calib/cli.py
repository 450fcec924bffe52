"""`edge-cxr calibrate`: an fp32 graph to its int8 graph, and how far their answers lie apart. Thin."""

import json
from dataclasses import asdict
from pathlib import Path
from random import Random

import click

from calib.compare import compare, run_graph
from calib.quantise import quantise
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training import options
from training.arrays import readable, standardise
from training.manifest import of_split, read_manifest
from training.row import Row
from training.splits import hold_out


@click.command(epilog="Example: edge-cxr calibrate --fp32 model.fp32.onnx --int8 model.int8.onnx --manifest covid.csv")
@click.option("--fp32", type=options.FILE, required=True, help="Graph to read.")
@click.option("--int8", type=options.NEW_FILE, required=True, help="Graph to write.")
@click.option("--manifest", "manifests", type=options.FILE, required=True, multiple=True,
              help="Ranges come from its train rows, the comparison from its val rows.")  # fmt: skip
@click.option("--count", type=int, default=64, show_default=True, help="Calibration radiographs from each manifest.")
@click.option("--positive", default="covid", show_default=True, help="The positive label of the first manifest.")
@options.cache
@options.framing
@options.permitted_only
@options.seed
def calibrate(
    fp32: Path, int8: Path, manifests: tuple[Path, ...], count: int, positive: str, cache: Path,
    framing: str, permitted_only: bool, seed: int,
) -> None:  # fmt: skip
    """Quantise a graph to int8 and compare it with fp32 on validation rows."""
    preprocessing = Preprocessing(framing=framing)
    training: list[Row] = []
    held: list[tuple[Row, ...]] = []
    for manifest in manifests:
        rows = read_manifest(manifest, labels=None, permitted_only=permitted_only)
        rows = hold_out(rows, shares=options.HELD_OUT, seed=seed)
        of_training = of_split(rows, "train")
        training += Random(seed).sample(of_training, min(count, len(of_training)))
        held.append(of_split(rows, "val"))
    validation = [row for part in held for row in part]
    if not training or not validation:
        raise UsageError("the manifests hold no train or no val row; write them into the column split, or list more "
                         "patients, so that some can be held out")  # fmt: skip
    _, kept = readable(standardise(training, preprocessing, cache))
    quantise(fp32, int8, kept)
    _, kept = readable(standardise(validation, preprocessing, cache))
    before, after = run_graph(fp32, kept), run_graph(int8, kept)
    parity = asdict(compare(before, after, [row.label == positive for row in held[0]]))
    record = {"calibration_radiographs": len(training), "bytes": int8.stat().st_size, **parity}
    click.echo(json.dumps(record, indent=1))


if __name__ == "__main__":
    calibrate()
