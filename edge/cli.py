"""The command line. Every command is thin: it reads options, calls one function, prints. Only this module exits.

Results go to stdout (`--json` for machines), all else to stderr. Exit 0 done, 1 failed, 2 usage or configuration.
"""

import datetime
import errno
import logging
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import edge
from edge import ledger_commands, reading_room, tables
from edge.audit_commands import audit
from edge.bundle import PACKAGED_IDS
from edge.bundle_commands import bundle
from edge.calibration_commands import calibrate_site_command
from edge.config import Config, Origins, resolve, without_port_unless_asked
from edge.config_commands import config_group
from edge.daemon import Daemon
from edge.demo import run_demo
from edge.doctor.check import Outcome
from edge.doctor.examination import examine
from edge.errors import EdgeError, NotAtPresent, UsageError
from edge.index_commands import index
from edge.lazy_commands import LazyGroup
from edge.log import FIELDS, make_logger
from edge.lookup import look_up
from edge.lookup_sheet import sheet_drawer
from edge.notify import Notifier
from edge.options import config as _config
from edge.options import json_output as _json
from edge.similarity import Wanted
from edge.site_calibration import untried

# Commands of the other packages, loaded only when called: the box has no torch.
LAZY = {
    "train": ("training.cli", "train", "Train lung U-Net and classifiers on your own radiographs."),
    "manifest": ("training.cli", "manifest", "List a folder's radiographs for training, without naming patients."),
    "evaluate": ("training.cli", "evaluate", "Score weights or a bundle on a manifest's splits."),
    "calibrate": ("calib.cli", "calibrate", "Make the int8 graph of an exported network, and compare the two."),
    "export": ("export.cli", "export", "Turn trained weights into ONNX graphs, and prove that they answer alike."),
    "build": ("export.build_cli", "build", "Build the GPU's TensorRT plan of a bundle, and keep it."),
    "bench": ("benchmarks.cli", "bench", "Measure how fast this machine is, or how accurate each precision."),
}


class _Commands(LazyGroup):
    """Turns EdgeErrors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgeError as fault:
            click.echo(f"edge-cxr: {fault}", err=True)
            ctx.exit(fault.exit_code)
        except OSError as fault:
            if fault.errno == errno.EPIPE:
                raise  # the reader has gone: click ends quietly
            # In the watch folder even a name may be a patient's.
            where = "" if ctx.invoked_subcommand == "watch" or not fault.filename else f": {fault.filename}"
            click.echo(f"edge-cxr: {fault.strerror}{where}; check the paths, their permissions and the disk", err=True)
            ctx.exit(1)


@click.group(
    cls=_Commands, lazy=LAZY, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(edge.__version__, prog_name="edge-cxr")
def main() -> None:
    """Scores chest radiographs for COVID-19 beside the X-ray machine. Research use only; not a medical device."""


_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
_state = click.option("--state", help="State folder: ledger, results, quarantine  [./edge-cxr-state].")


def _engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    names = ", ".join(PACKAGED_IDS)
    for option in (
        _config,
        click.option("--precision", help="auto, fp32, fp16 or int8  [auto: int8 on a CPU]."),
        click.option("--backend", help="auto, openvino or tensorrt  [auto]."),
        click.option("--bundle", help=f"Model bundle: {names}, or a folder  [research]."),
    ):
        command = option(command)
    return command


def _origins(config: Path | None, **options: Any) -> Origins:
    return resolve(options, os.environ, config)


@main.command()
@click.argument("incoming", type=click.Path(path_type=Path))
@_state
@_engine_options
@click.option("--once", is_flag=True, help="Score what is there and exit.")
@click.option("--listen", help="HOST:PORT for /metrics, /livez, /readyz  [127.0.0.1:8080; with --once only if given].")
@click.option("--after", help="What happens to an input with a result: keep, archive or delete  [keep].")
@_json
def watch(incoming: Path, once: bool, as_json: bool, config: Path | None, **options: Any) -> None:
    """Score every radiograph that reaches the folder INCOMING.

    Example: edge-cxr watch /incoming --state /var/lib/edge-cxr --bundle research
    """
    os.umask(0o077)  # whatever is written is this user's alone
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold radiographs

    def read() -> Config:
        return without_port_unless_asked(_origins(config, **options), once=once)

    printer = tables.ReportPrinter(as_json=as_json, terminal=sys.stdout.isatty())
    logger = make_logger(terminal=sys.stderr.isatty(), journal_stream=os.environ.get("JOURNAL_STREAM"))
    notifier = Notifier.of(os.environ)
    try:
        Daemon(read(), incoming, once=once, logger=logger, reread=read, notifier=notifier, on_report=printer).run()
    except Exception as fault:
        if once or sys.stderr.isatty():
            raise  # somebody waits for it and reads a plain line
        _log_end(logger, fault)
        # 2 has systemd not start it again; but a folder may be mounted, and a port given up.
        is_final = isinstance(fault, EdgeError) and not isinstance(fault, NotAtPresent)
        raise SystemExit(getattr(fault, "exit_code", 1) if is_final else 1) from None
    printer.close()


def _log_end(logger: logging.Logger, fault: Exception) -> None:
    """What ends the service is a line of its log, of the level that calls somebody. No text but our own: a path may be
    in it."""
    if isinstance(fault, EdgeError):
        logger.error(str(fault))
    elif isinstance(fault, OSError):
        logger.error(f"{fault.strerror}; check the paths, their permissions and the disk")
    else:
        where = [f"{Path(step.filename).name}:{step.lineno}" for step in traceback.extract_tb(fault.__traceback__)]
        told = f"the program has a fault ({type(fault).__name__}) and ends; report this line"
        logger.error(told, extra={FIELDS: {"at": " ".join(where)}})


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_engine_options
@_json
def infer(files: tuple[Path, ...], as_json: bool, config: Path | None, **options: Any) -> None:
    """Score FILES now, without ledger or result files; exit 1 when one could not be scored.

    Example: edge-cxr infer chest.dcm --bundle research --json
    """
    with reading_room.open_pipeline(_origins(config, **options).config) as pipeline:
        reports = [pipeline.report(path) for path in reading_room.existing(files)]
        told = untried(pipeline.site, pipeline.engine.identity.precision)
    if told is not None:
        click.echo(told, err=True)
    tables.print_reports(files, reports, as_json=as_json)
    if not all(report.scored for report in reports):
        raise SystemExit(1)


@main.command()
@click.argument("query", metavar="FILE|CASE_ID")
@_state
@_engine_options
@click.option("-k", "neighbours", type=int, help="How many cases  [4].")
@click.option("--same-patient/--other-patients", default=None,
              help="Whether earlier images of the same patient are among them  [same-patient].")  # fmt: skip
@click.option("--label", help="Only cases with this label, as covid or other.")
@click.option("--view", type=click.Choice(["AP", "PA"]), help="Only earlier cases of this view.")
@click.option("--since", type=_TIME, help="Only earlier cases judged from this time on, in UTC.")
@click.option("--until", type=_TIME, help="Only earlier cases judged before this time, in UTC.")
@click.option("--max-age-days", type=click.FloatRange(min=0, min_open=True), help="Only earlier cases judged since.")
@click.option("--sheet", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw a contact sheet there.")
@click.option("--reference-images", type=click.Path(path_type=Path), metavar="DIR",
              help="Where the reference cases' files may lie, known by their bytes; with --sheet.")  # fmt: skip
@_json
def similar(
    query: str,
    label: str | None,
    view: str | None,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    max_age_days: float | None,
    sheet: Path | None,
    reference_images: Path | None,
    as_json: bool,
    config: Path | None,
    **options: Any,
) -> None:
    """Show the cases most similar to a radiograph: a file, or a case in the ledger.

    Example: edge-cxr similar chest.dcm -k 4 --sheet similar.png
    """
    settings = _origins(config, **options).config
    draw = None if sheet is None else sheet_drawer(sheet, settings, reference_images=reference_images)
    if reference_images is not None and sheet is None:
        raise UsageError("--reference-images are for a contact sheet; add --sheet FILE.png")
    wanted = Wanted(label, view, _since_s(since, max_age_days), None if until is None else _utc_s(until))
    if wanted.since_s is not None and wanted.until_s is not None and wanted.since_s >= wanted.until_s:
        raise UsageError("--until is not after --since or --max-age-days, so that no case fits; give a later one")
    tables.print_lookup(look_up(query, settings, wanted, draw=draw), as_json=as_json)


def _since_s(since: datetime.datetime | None, max_age_days: float | None) -> float | None:
    if since is not None and max_age_days is not None:
        raise UsageError("--since and --max-age-days say the same thing twice; give one")
    if max_age_days is not None:
        return time.time() - max_age_days * 86_400
    return None if since is None else _utc_s(since)


def _utc_s(given: datetime.datetime) -> float:
    return given.replace(tzinfo=datetime.UTC).timestamp()


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@_state
@_config
@_json
def find(file: Path, as_json: bool, config: Path | None, **options: Any) -> None:
    """Print the results that FILE has in the ledger; exit 1 when it has none.

    Example: edge-cxr find chest.dcm --state /var/lib/edge-cxr
    """
    reports = reading_room.results_of(file, _origins(config, **options).config)
    tables.print_found(reports, as_json=as_json)
    if not reports:
        raise SystemExit(1)


@main.command()
@click.option("--folder", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where to.")
@_json
def demo(folder: Path, as_json: bool) -> None:
    """Render a dozen phantom radiographs, watch them being scored, and draw a contact sheet.

    Example: edge-cxr demo --folder demo
    """
    printer = tables.ReportPrinter(as_json=as_json, terminal=sys.stdout.isatty())
    outcome = run_demo(folder, printer)
    if not as_json:
        tables.print_demo(outcome)


@main.command()
@_state
@_engine_options
@click.option(
    "--incoming", type=click.Path(path_type=Path), help="The folder to be watched  [the installed service's]."
)
@_json
def doctor(as_json: bool, incoming: Path | None, config: Path | None, **options: Any) -> None:
    """Check this machine, the service, the folders and the bundle; exit 1 when something is wrong, not for warnings.

    Example: edge-cxr doctor --bundle research --incoming /incoming
    """
    checks = examine(_origins(config, **options), incoming)
    tables.print_checks(checks, as_json=as_json)
    if any(check.outcome == Outcome.FAILED for check in checks):
        raise SystemExit(1)


main.add_command(audit)
main.add_command(bundle)
main.add_command(calibrate_site_command)
main.add_command(config_group)
main.add_command(index)
main.add_command(ledger_commands.requeue)
main.add_command(ledger_commands.forget)
main.add_command(ledger_commands.label)
main.add_command(ledger_commands.link)
main.add_command(ledger_commands.retain)
main.add_command(ledger_commands.backup)
main.add_command(ledger_commands.restore)


if __name__ == "__main__":
    main()
