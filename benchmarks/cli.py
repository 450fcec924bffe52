"""`edge-cxr bench`: how long each stage takes on this machine, or how accurate each precision is on it."""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.latency import Measured, measure, write_phantoms
from benchmarks.machine import describe_machine
from edge.config import Config, resolve
from edge.options import config as config_option
from edge.reading_room import existing

if TYPE_CHECKING:
    from benchmarks.accuracy import Accuracy

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OF_LATENCY = ("files", "precision", "runs", "warm_up")
_OF_ACCURACY = ("manifests", "fp32", "cache", "permitted_only", "leave_out_refused", "seed")


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--bundle", help="Model bundle: phantom, research, or a folder  [research].")
@click.option("--backend", help="auto, openvino or tensorrt  [auto].")
@click.option("--precision", help="auto, fp32, fp16 or int8  [auto].")
@config_option
@click.option("--runs", type=click.IntRange(1), default=40, show_default=True, help="Measured radiographs.")
@click.option("--warm-up", type=click.IntRange(0), default=5, show_default=True, help="Radiographs before that.")
@click.option("--accuracy", is_flag=True, help="Judge every precision against fp32 instead.")
@click.option("--manifest", "manifests", type=_FILE, multiple=True,
              help="With --accuracy: whose val and gate rows to ask about, as `calibrate` was told.")  # fmt: skip
@click.option("--fp32", type=_FILE, help="With --accuracy: the fp32 graph, where the bundle holds none.")
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), default=Path("work/arrays"),
              show_default=True, help="With --accuracy: folder for standardised radiographs.")  # fmt: skip
@click.option("--permitted-only", is_flag=True, help="With --accuracy: as `calibrate` was told.")
@click.option("--leave-out-refused", is_flag=True, help="With --accuracy: as `calibrate` was told.")
@click.option("--seed", type=int, default=0, show_default=True, help="With --accuracy: as `calibrate` was told.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the JSON to a file too.")
@click.option("--json", "as_json", is_flag=True, help="JSON with machine and versions on stdout.")
@click.pass_context
def bench(
    context: click.Context, /, files: tuple[Path, ...], runs: int, warm_up: int, accuracy: bool,
    manifests: tuple[Path, ...], fp32: Path | None, cache: Path, permitted_only: bool, leave_out_refused: bool,
    seed: int, config: Path | None, output: Path | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Measure the latency of every stage: FILES, or uncompressed phantoms of 2048 pixels.

    With --accuracy: whether every precision of the bundle decides and retrieves as fp32 does, on the engines of this
    machine. Exit code 1 when one does not.

    \b
    Example: edge-cxr bench --bundle research --runs 40
             edge-cxr bench --accuracy --bundle phantom --manifest work/phantoms/manifest.csv
    """
    _refuse_the_other_kind(context, accuracy=accuracy)
    if accuracy and not manifests:
        raise click.UsageError("--accuracy asks about radiographs whose label is known; name them with --manifest")
    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"--output {output} lies in no folder; create {output.parent} first")
    settings = resolve(options, os.environ, config).config
    if accuracy:
        judged = _judge(
            settings, fp32, manifests=manifests, cache=cache, permitted_only=permitted_only,
            leave_out_refused=leave_out_refused, seed=seed,
        )  # fmt: skip
        _tell(settings, judged.as_record(), output, as_json=as_json)
        if not as_json:
            click.echo(judged.table())
        judged.require()
    else:
        measured = _time(settings, files, runs=runs, warm_up=warm_up)
        told = "given files" if files else "phantoms, uncompressed 16 bit DICOM, longest side 2048"
        _tell(settings, {"radiographs": told, **asdict(measured)}, output, as_json=as_json)
        if not as_json:
            _print_table(measured)


def _refuse_the_other_kind(context: click.Context, *, accuracy: bool) -> None:
    """What is asked for and would be passed over is refused."""
    others = _OF_LATENCY if accuracy else _OF_ACCURACY
    for parameter in context.command.params:
        if parameter.name in others and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            belongs = "does not go with --accuracy; leave one of them out" if accuracy else "goes with --accuracy alone"
            raise click.UsageError(f"{parameter.get_error_hint(context)} {belongs}")


def _time(settings: Config, files: tuple[Path, ...], *, runs: int, warm_up: int) -> Measured:
    with tempfile.TemporaryDirectory() as scratch, Progress(console=Console(stderr=True), transient=True) as progress:
        radiographs = existing(files) if files else write_phantoms(Path(scratch))
        task = progress.add_task("radiographs", total=runs + warm_up)
        return measure(settings, radiographs, runs=runs, warm_up=warm_up, on_run=lambda: progress.advance(task))


def _judge(settings: Config, fp32: Path | None, **listed: Any) -> "Accuracy":
    try:
        from benchmarks.accuracy import Listing, measure_accuracy  # noqa: PLC0415 - the box has no torch
    except ModuleNotFoundError as missing:
        told = f"--accuracy needs {missing.name}. In a checkout, run: pip install '.[export]'"
        raise click.UsageError(told) from None
    return measure_accuracy(settings, Listing(**listed), fp32, say=lambda line: click.echo(line, err=True))


def _tell(settings: Config, figures: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    written = json.dumps({"machine": describe_machine(), "bundle": settings.bundle, **figures}, indent=1)
    if output is not None:
        output.write_text(written + "\n")
    if as_json:
        print(written)


def _print_table(measured: Measured) -> None:
    engine = measured.engine
    title = f"{engine.backend} {engine.precision}, milliseconds; start-up {measured.start_s:.2f} s"
    table = Table("stage", "count", "mean", "p50", "p90", "p95", "p99", "max", title=title)
    for latency in measured.latencies:
        spent = (latency.mean, latency.p50, latency.p90, latency.p95, latency.p99, latency.max)
        table.add_row(latency.stage, str(latency.count), *(f"{seconds * 1000:.1f}" for seconds in spent))
    Console(width=None if sys.stdout.isatty() else 100).print(table)
