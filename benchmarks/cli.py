"""`edge-cxr bench`: how fast engine, stages and daemon are on this machine, or how accurate each precision is on it."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import Progress

from benchmarks.against import Comparison, compare, read_earlier, require_same_machine
from benchmarks.backlog import FILLED
from benchmarks.bench_tables import doubts, print_comparison, print_measured
from benchmarks.machine import describe_machine
from benchmarks.measurement import Effort, Measured, document, measure, with_reaction
from benchmarks.reaction import Arrivals
from edge.config import Config, resolve
from edge.engines.base import MAX_BATCH
from edge.options import config as config_option
from edge.reading_room import existing

if TYPE_CHECKING:
    from benchmarks.accuracy import Accuracy

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
# What belongs to each way of asking, and is refused without it.
_OF_ACCURACY = ("manifests", "fp32", "cache", "permitted_only", "leave_out_refused", "seed")
_OF_REACTION = ("rate", "idle_s", "known", "backlog")
_OF_COMPARE = ("margin", "anyway")
_OF_SPEED = ("files", "precision", "runs", "warm_up", "batches", "requests", "reaction", *_OF_REACTION, "plot",
             "against", *_OF_COMPARE)  # fmt: skip


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--bundle", help="Model bundle: phantom, research, or a folder  [research].")
@click.option("--backend", help="auto, openvino or tensorrt  [auto].")
@click.option("--precision", help="auto, fp32, fp16 or int8  [auto].")
@config_option
@click.option("--runs", type=click.IntRange(1), default=40, show_default=True, help="Measured radiographs.")
@click.option("--warm-up", type=click.IntRange(0), default=5, show_default=True, help="Radiographs before that.")
@click.option("--batch", "batches", type=click.IntRange(1, MAX_BATCH), multiple=True, default=(1, 2, 4, 8),
              show_default=True, help="Batch size of the engine alone, repeatable.")  # fmt: skip
@click.option("--requests", type=click.IntRange(1, 16), default=1, show_default=True,
              help="Infer requests in flight, each by an engine of its own.")  # fmt: skip
@click.option("--reaction", is_flag=True, help="Also the running daemon: file complete to result visible.")
@click.option("--rate", type=click.FloatRange(0, 100, min_open=True), default=0.5, show_default=True,
              help="With --reaction: radiographs a second that arrive, on average.")  # fmt: skip
@click.option("--idle-s", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True,
              help="With --reaction: seconds without work over which CPU time is counted.")  # fmt: skip
@click.option("--known", type=click.IntRange(0), default=0, show_default=True,
              help="With --reaction: files with a result that lie in the folder.")  # fmt: skip
@click.option("--backlog", type=click.IntRange(0), default=0, show_default=True,
              help="With --reaction: radiographs put into the folder at once, for throughput; 0: none.")  # fmt: skip
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png", help="Draw it there.")
@click.option("--compare", "against", type=_FILE, metavar="OTHER.json", help="Show ratios to an earlier measurement.")
@click.option("--margin", type=click.FloatRange(0), default=0.1, show_default=True,
              help="With --compare: by which share a figure may be worse; beyond it the exit code is 1.")  # fmt: skip
@click.option("--anyway", is_flag=True, help="With --compare: show ratios of what cannot be compared, unjudged.")
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
    context: click.Context, /, files: tuple[Path, ...], accuracy: bool, manifests: tuple[Path, ...], fp32: Path | None,
    cache: Path, permitted_only: bool, leave_out_refused: bool, seed: int, config: Path | None, output: Path | None,
    as_json: bool, bundle: str | None, backend: str | None, precision: str | None, **speed: Any,
) -> None:  # fmt: skip
    """Measure this machine: the engine alone, every stage, memory and start-up, on FILES or uncompressed phantoms of
    2048 pixels. With --reaction the running daemon too.

    With --compare: exit code 1 when a figure is worse than in an earlier --output by more than --margin.
    With --accuracy: whether every precision of the bundle decides and retrieves as fp32 does, on the engines of this
    machine. Exit code 1 when one does not.

    \b
    Example: edge-cxr bench --bundle research --runs 40 --output bench.json
             edge-cxr bench --reaction --rate 0.5 --plot bench.png
             edge-cxr bench --compare bench.json --margin 0.1
             edge-cxr bench --accuracy --bundle phantom --manifest work/phantoms/manifest.csv
    """
    _refuse_what_is_passed_over(context)
    if accuracy and not manifests:
        raise click.UsageError("--accuracy asks about radiographs whose label is known; name them with --manifest")
    _require_folder("--output", output)
    named = {"bundle": bundle, "backend": backend, "precision": precision}
    settings = resolve(named, os.environ, config).config
    if accuracy:
        judged = _judge(
            settings, fp32, manifests=manifests, cache=cache, permitted_only=permitted_only,
            leave_out_refused=leave_out_refused, seed=seed,
        )  # fmt: skip
        figures = {"machine": describe_machine(), "bundle": settings.bundle, **judged.as_record()}
        _tell(figures, output, as_json=as_json)
        if not as_json:
            click.echo(judged.table())
        judged.require()
    else:
        _speed(settings, files, output, as_json=as_json, **speed)


def _speed(
    settings: Config, files: tuple[Path, ...], output: Path | None, *, as_json: bool, plot: Path | None,
    against: Path | None, margin: float, anyway: bool, **effort: Any,
) -> None:  # fmt: skip
    _require_folder("--plot", plot)
    draw = None if plot is None else _drawing()
    before = None if against is None else read_earlier(against)
    if before is not None:
        require_same_machine(before, describe_machine(), anyway=anyway)
    measured = _time(settings, files, **effort)
    figures = document(measured, settings.bundle, unnamed=files)
    comparison = None if before is None else compare(before, figures, margin=margin, anyway=anyway)
    if comparison is not None:
        figures["comparison"] = comparison.as_record()
    _tell(figures, output, as_json=as_json)
    if plot is not None and draw is not None:
        plot.write_bytes(draw(measured))
    for doubt in doubts(measured, os.cpu_count() or 1):
        click.echo(f"Warning: {doubt}", err=True)
    if not as_json:
        print_measured(measured)
    _verdict(comparison, as_json=as_json)


def _verdict(comparison: Comparison | None, *, as_json: bool) -> None:
    if comparison is None:
        return
    if not as_json:
        print_comparison(comparison)
    comparison.require()


def _refuse_what_is_passed_over(context: click.Context) -> None:
    given = context.params
    passed_over = {
        "goes with --accuracy alone": () if given["accuracy"] else _OF_ACCURACY,
        "does not go with --accuracy; leave one of them out": _OF_SPEED if given["accuracy"] else (),
        "goes with --reaction; add it": () if given["reaction"] else _OF_REACTION,
        "goes with --compare; add it": () if given["against"] else _OF_COMPARE,
    }
    for told, names in passed_over.items():
        for parameter in context.command.params:
            if parameter.name in names and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"{parameter.get_error_hint(context)} {told}")


def _require_folder(option: str, path: Path | None) -> None:
    if path is not None and not path.parent.is_dir():
        raise click.UsageError(f"{option} {path} lies in no folder; create {path.parent} first")


def _time(
    settings: Config, files: tuple[Path, ...], *, runs: int, warm_up: int, batches: tuple[int, ...], requests: int,
    reaction: bool, rate: float, idle_s: float, known: int, backlog: int,
) -> Measured:  # fmt: skip
    if 0 < backlog < 2 * FILLED:
        raise click.UsageError(f"--backlog needs at least {2 * FILLED} radiographs: the first {FILLED} fill the queues")
    if backlog and (1 not in batches or requests != 1):
        raise click.UsageError("--backlog is compared with the engine alone; give --batch 1 too, and no --requests")
    effort = Effort(runs, warm_up, tuple(sorted(set(batches))), requests)
    arrivals = Arrivals(rate, runs, warm_up, idle_s, known)
    with tempfile.TemporaryDirectory() as scratch, Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring", total=effort.steps + reaction * (arrivals.count + backlog))

        def step() -> None:
            progress.advance(task)

        measured, radiographs = measure(settings, existing(files), effort, Path(scratch), step)
        if reaction:
            measured = with_reaction(
                measured, settings, radiographs, arrivals, os.environ, backlog=backlog, on_step=step
            )
        return measured


def _drawing() -> Callable[[Measured], bytes]:
    try:
        from benchmarks.bench_figure import draw  # noqa: PLC0415 - the box has no matplotlib
    except ModuleNotFoundError as missing:
        raise click.UsageError(f"--plot needs {missing.name}. In a checkout, run: pip install '.[train]'") from None
    return draw


def _judge(settings: Config, fp32: Path | None, **listed: Any) -> "Accuracy":
    try:
        from benchmarks.accuracy import Listing, measure_accuracy  # noqa: PLC0415 - the box has no torch
    except ModuleNotFoundError as missing:
        told = f"--accuracy needs {missing.name}. In a checkout, run: pip install '.[export]'"
        raise click.UsageError(told) from None
    return measure_accuracy(settings, Listing(**listed), fp32, say=lambda line: click.echo(line, err=True))


def _tell(figures: dict[str, Any], output: Path | None, *, as_json: bool) -> None:
    written = json.dumps(figures, indent=1)
    if output is not None:
        output.write_text(written + "\n")
    if as_json:
        print(written)
