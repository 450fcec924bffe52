"""`edge-cxr bench`: how long each stage takes on this machine."""

import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.latency import Measured, measure, write_phantoms
from benchmarks.machine import describe_machine
from edge.config import resolve
from edge.reading_room import existing


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--bundle", help="Model bundle: phantom, research, or a folder  [research].")
@click.option("--backend", help="auto, openvino or tensorrt  [auto].")
@click.option("--precision", help="auto, fp32, fp16 or int8  [auto].")
@click.option("--config", type=click.Path(path_type=Path), help="edge-cxr.toml to read settings from.")
@click.option("--runs", type=click.IntRange(1), default=40, show_default=True, help="Measured radiographs.")
@click.option("--warm-up", type=click.IntRange(0), default=5, show_default=True, help="Radiographs before that.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the JSON to a file too.")
@click.option("--json", "as_json", is_flag=True, help="JSON with machine and versions on stdout.")
def bench(
    files: tuple[Path, ...],
    runs: int,
    warm_up: int,
    config: Path | None,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the latency of every stage: FILES, or uncompressed phantoms of 2048 pixels.

    Example: edge-cxr bench --bundle research --runs 40
    """
    if output is not None and not output.parent.is_dir():
        raise click.UsageError(f"--output {output} lies in no folder; create {output.parent} first")
    settings = resolve(options, os.environ, config).config
    with tempfile.TemporaryDirectory() as scratch, Progress(console=Console(stderr=True), transient=True) as progress:
        radiographs = existing(files) if files else write_phantoms(Path(scratch))
        task = progress.add_task("radiographs", total=runs + warm_up)
        measured = measure(settings, radiographs, runs=runs, warm_up=warm_up, on_run=lambda: progress.advance(task))
    document = {
        "machine": describe_machine(),
        "bundle": settings.bundle,
        "radiographs": "given files" if files else "phantoms, uncompressed 16 bit DICOM, longest side 2048",
        **asdict(measured),
    }
    if output is not None:
        output.write_text(json.dumps(document, indent=1) + "\n")
    if as_json:
        print(json.dumps(document, indent=1))
    else:
        _print_table(measured)


def _print_table(measured: Measured) -> None:
    engine = measured.engine
    title = f"{engine.backend} {engine.precision}, milliseconds; start-up {measured.start_s:.2f} s"
    table = Table("stage", "count", "mean", "p50", "p90", "p95", "p99", "max", title=title)
    for latency in measured.latencies:
        spent = (latency.mean, latency.p50, latency.p90, latency.p95, latency.p99, latency.max)
        table.add_row(latency.stage, str(latency.count), *(f"{seconds * 1000:.1f}" for seconds in spent))
    Console(width=None if sys.stdout.isatty() else 100).print(table)
