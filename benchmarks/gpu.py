"""Engines on a GPU side by side, in one command: plans, parity, latency, throughput, peers and roofline.

    python -m benchmarks.gpu --bundle phantom --ensemble --out benchmarks/results/gpu

Starts with what is installed; what is missing becomes a row that says so. See README.md beside this file.
"""

import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.command import run_command, say
from edge.errors import UsageError

if TYPE_CHECKING:
    from benchmarks.comparison import Effort
    from benchmarks.gpu_report import Report
    from benchmarks.subject import Subject

# Without these there is nothing to measure: module and package.
REQUIRED = {
    "torch": "torch", "onnx": "onnx", "onnxscript": "onnxscript", "timm": "timm", "safetensors": "safetensors",
    "segmentation_models_pytorch": "segmentation-models-pytorch", "cv2": "opencv-python-headless",
    "cryptography": "cryptography", "rich": "rich",
}  # fmt: skip
ENSEMBLE_SIDE = {"cuda": 1024, "cpu": 64}  # pixels; on a CPU the script is tried, not the network
WARM_UP_S = {"cuda": 2.0, "cpu": 0.0}
PHANTOMS = {"cuda": 16, "cpu": 4}
UNTRAINED = "the graphs' own weights; they are untrained, so that scores lie near one half and flips say little"
BORROWED = "the bundle's architectures with random weights: as much work, other answers"


@click.command(epilog="Example: python -m benchmarks.gpu --bundle phantom --ensemble --out benchmarks/results/gpu")
@click.option("--bundle", help="Packaged bundle or bundle folder  [phantom, unless --ensemble].")
@click.option("--ensemble", is_flag=True, help="The full ensemble, untrained: what the targets are meant for.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("benchmarks/results/gpu"),
              show_default=True, help="Folder for report.json and report.md.")  # fmt: skip
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True,
              help="cpu tries the script at a reduced size, with OpenVINO and torch eager alone.")  # fmt: skip
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True, help="Measured calls a batch size.")
@click.option("--batch", "batches", type=click.IntRange(1, 8), multiple=True, default=(1, 2, 4, 8), show_default=True,
              help="Batch size, repeatable; torch.compile tunes each for minutes.")  # fmt: skip
def gpu(bundle: str | None, ensemble: bool, out: Path, device: str, runs: int, batches: tuple[int, ...]) -> None:
    """Measure TensorRT beside its peers, and write one JSON and one Markdown report."""
    check_machine(device)
    # Imported here: all of this needs what was just checked.
    from benchmarks.comparison import Effort  # noqa: PLC0415
    from benchmarks.gpu_report import verdict_lines  # noqa: PLC0415

    effort = Effort(tuple(sorted(set(batches))), runs, WARM_UP_S[device], PHANTOMS[device])
    names = [bundle] if bundle else [] if ensemble else ["phantom"]
    report = measure_all(names, ensemble, device, effort, out)
    for line in verdict_lines(report):
        click.echo(line)
    click.echo(f"{out / 'report.md'}, {out / 'report.json'}")


def check_machine(device: str) -> None:
    """Raises UsageError naming every package without which nothing can be measured, or the GPU."""
    missing = [package for module, package in REQUIRED.items() if find_spec(module) is None]
    if missing:
        raise UsageError(f"missing: {', '.join(missing)}. Run: pip install {' '.join(missing)}")
    import torch  # noqa: PLC0415

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("torch sees no NVIDIA GPU; check nvidia-smi, or try the script with --device cpu")


def measure_all(bundles: list[str], ensemble: bool, device: str, effort: "Effort", out: Path) -> "Report":
    """The whole report, written after every row."""
    from benchmarks.child import CallFailed  # noqa: PLC0415
    from benchmarks.comparison import peaks_of  # noqa: PLC0415
    from benchmarks.gpu_report import Report  # noqa: PLC0415
    from benchmarks.machine import GPU_PACKAGES, describe_gpu, describe_machine  # noqa: PLC0415
    from benchmarks.subject import full_ensemble, subject_of_bundle  # noqa: PLC0415

    machine = describe_machine("python -m benchmarks.gpu", GPU_PACKAGES)
    say(f"peaks of the {device}")
    try:
        peaks = peaks_of(device)
    except CallFailed as fault:
        say(f"no peaks, and so no roofline: {fault}")
        peaks = None
    report = Report(machine, describe_gpu() if device == "cuda" else {}, device == "cpu", effort.runs,
                    effort.warm_up_s, peaks)  # fmt: skip
    for name in bundles:
        with tempfile.TemporaryDirectory() as folder:
            report = add_section(report, subject_of_bundle(name, Path(folder)), device, effort, out)
    if ensemble:
        with tempfile.TemporaryDirectory() as folder:
            say("exporting the ensemble")
            subject = full_ensemble(ENSEMBLE_SIDE[device], Path(folder))
            report = add_section(report, subject, device, effort, out, judged=device == "cuda")
    return report


def add_section(
    report: "Report", subject: "Subject", device: str, effort: "Effort", out: Path, *, judged: bool = False
) -> "Report":
    from benchmarks.comparison import bounds_of, measure_rows  # noqa: PLC0415
    from benchmarks.gpu_report import Section, write_report  # noqa: PLC0415

    weights = UNTRAINED if subject.own_weights else BORROWED
    bounds = () if report.peaks is None else tuple(bounds_of(subject, report.peaks, device, effort.batches))
    section = Section(subject.name, weights, bounds, (), subject.missing, judged)
    whole = replace(report, sections=(*report.sections, section))
    for row in measure_rows(subject, device, effort, say):
        section = replace(section, rows=(*section.rows, row))
        whole = replace(report, sections=(*report.sections, section))
        write_report(whole, out)
    return whole


if __name__ == "__main__":
    run_command(gpu)
