"""`edge-cxr calibrate`: an fp32 graph to its int8 graph, and every precision through the accuracy gate. Thin."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from calib.cohort import read_cohort
from calib.gate import GateFailed, Limits, Outcome, judge, table
from calib.gate_set import gate_set
from calib.quantiser import Quantiser, open_quantiser
from calib.ranges import CALIBRATORS
from calib.search import Choice, search
from calib.selection import MOST, USUAL, sha256_of
from calib.sensitivity import plot, sensitivities, worst_first
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from edge.values import PRECISIONS
from training import options

FOLDER = "calibration"
SENSITIVITY_RADIOGRAPHS = 8


@click.command(epilog="Example: edge-cxr calibrate --graphs work/graphs --manifest chest.csv")
@click.option("--graphs", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder with model.fp32.onnx (and model.fp16.onnx); model.int8.onnx is written there.")  # fmt: skip
@click.option("--manifest", "manifests", type=options.FILE, required=True, multiple=True,
              help="Ranges are of train rows, the gate asks about val and gate rows.")  # fmt: skip
@click.option("--count", type=click.IntRange(1, MOST), default=USUAL, show_default=True,
              help="Calibration radiographs from all manifests together, in proportion.")  # fmt: skip
@click.option("--calibrator", type=click.Choice(CALIBRATORS), default="percentile", show_default=True,
              help="How far a tensor's range reaches.")  # fmt: skip
@click.option("--undecided", is_flag=True,
              help="The bundle will have no operating point: flipped decisions are counted, not judged.")  # fmt: skip
@click.option("--sensitivity", "ranked", is_flag=True, help="Rank the layers even when none need stay in fp16.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcomes as JSON.")
@options.labels
@options.cache
@options.framing
@options.permitted_only
@options.leave_out_refused
@options.seed
def calibrate(
    graphs: Path, manifests: tuple[Path, ...], count: int, calibrator: str, undecided: bool, ranked: bool,
    as_json: bool, labels: tuple[str, str], cache: Path, framing: str, permitted_only: bool, leave_out_refused: bool,
    seed: int,
) -> None:  # fmt: skip
    """Quantise a network to int8, and judge every precision against fp32.

    Where the gate fails for int8, the layers that cost most are left in floating point until it holds. Exit code 1 when
    a precision fails: the box will not choose it. Writes accuracy.json for `assemble`, and what was measured.
    """
    preprocessing = Preprocessing(framing=framing)
    paths = {precision: graphs / f"model.{precision}.onnx" for precision in PRECISIONS}
    if not paths["fp32"].is_file():
        raise UsageError(f"{graphs} holds no model.fp32.onnx; run: edge-cxr export --out {graphs}")
    accuracy = graphs / "accuracy.json"
    accuracy.unlink(missing_ok=True)  # cut short, it leaves no outcome of other graphs behind
    cohort = read_cohort(
        manifests, preprocessing, cache, labels=labels, permitted_only=permitted_only,
        leave_out_refused=leave_out_refused, seed=seed,
    )  # fmt: skip
    gate = gate_set(cohort, positive=labels[1])
    calibration = cohort.calibration(count)
    kept = cohort.paths_of(calibration.rows)
    quantiser = open_quantiser(
        paths["fp32"], kept, radiographs_sha256=calibration.sha256, preprocessing_digest=preprocessing.digest,
        calibrator=calibrator, folder=graphs / FOLDER,
    )  # fmt: skip
    fp32 = gate.ask(paths["fp32"])
    limits = Limits(flipped=None) if undecided else Limits()

    def write(floating: Sequence[str]) -> None:
        quantiser.write(paths["int8"], [layer for layer in quantiser.layers if layer not in floating])

    def judged(floating: Sequence[str]) -> Outcome:
        write(floating)
        return judge(fp32, gate.ask(paths["int8"], cases=not undecided), gate.labels, limits=limits)

    choice = _fewest_in_float(quantiser, kept, judged, graphs / FOLDER, ranked=ranked)
    write(choice.floating)  # the last one asked may have been another
    found = {"fp32": judge(fp32, fp32, gate.labels, limits=limits)}
    if paths["fp16"].is_file():
        found["fp16"] = judge(fp32, gate.ask(paths["fp16"], cases=not undecided), gate.labels, limits=limits)
    found["int8"] = choice.outcome
    record = {name: outcome.as_record() for name, outcome in found.items()}
    record["int8"] |= {"calibrator": calibrator, "calibration_radiographs": len(kept),
                       "calibration_sha256": calibration.sha256, "floating": list(choice.floating)}  # fmt: skip
    for precision, outcome in record.items():
        outcome |= {"gate_sha256": gate.sha256, "labels": list(labels), "fp32_sha256": sha256_of(paths["fp32"]),
                    "graph_sha256": sha256_of(paths[precision])}  # fmt: skip
    accuracy.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(record, indent=1) if as_json else table(found))
    failed = [name for name, outcome in found.items() if not outcome.passed]
    if failed:
        raise GateFailed(f"the accuracy gate fails for {', '.join(failed)}: no box will choose it; "
                         "calibrate with more radiographs, or leave it out of the bundle")  # fmt: skip


def _fewest_in_float(
    quantiser: Quantiser, kept: Sequence[Path], judged: Callable[[Sequence[str]], Outcome], folder: Path,
    *, ranked: bool,
) -> Choice:  # fmt: skip
    """Every layer in int8 where the gate holds so; else the fewest in floating point, by what each of them costs."""
    choice = Choice((), judged(()))
    # Fewer radiographs than the gate needs can never prove it, whatever stays in floating point.
    searched = not choice.outcome.passed and choice.outcome.parity.radiographs >= Limits().radiographs
    if searched or ranked:
        found = sensitivities(quantiser, kept[:SENSITIVITY_RADIOGRAPHS])
        if searched:
            say = partial(click.echo, err=True)
            choice = search(worst_first(found), judged, choice.outcome, say=say)
        measured = {"radiographs": len(kept[:SENSITIVITY_RADIOGRAPHS]), "layers": [*map(asdict, found)]}
        written = json.dumps({**measured, "floating": choice.floating}, indent=1)
        (folder / "sensitivity.json").write_text(written + "\n", encoding="utf-8")
        (folder / "sensitivity.png").write_bytes(plot(found, choice.floating))
    return choice


if __name__ == "__main__":
    calibrate()
