"""`edge-cxr calibrate-site`: an operating point and a temperature from a site's own radiographs. Thin, as cli.py."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from edge import options
from edge.config import resolve
from edge.errors import UsageError
from edge.operating_point import YOUDEN
from edge.recalibration import calibrate_site, kept_calibration, remove_calibration
from edge.site_calibration import DIGITS, PrecisionCalibration, SiteCalibration
from edge.site_cohort import SiteRow
from edge.statistics import Interval

_RESTART = "restart edge-cxr watch to serve by it"


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        options.config,
        click.option("--precision", help="auto, fp32, fp16 or int8: the one that serves  [auto]."),
        click.option("--backend", help="auto, openvino or tensorrt  [auto]."),
        click.option("--bundle", help="Model bundle: phantom, research, or a folder  [research]."),
        click.option("--state", help="State folder where it is kept  [./edge-cxr-state]."),
    ):
        command = option(command)
    return options.json_output(command)


@click.command(
    "calibrate-site",
    epilog="Example: edge-cxr calibrate-site --manifest chest.csv --rule sensitivity=0.90 --state /var/lib/edge-cxr",
)
@click.option("--manifest", type=click.Path(dir_okay=False, path_type=Path), help="CSV: path, patient_id, label.")
@click.option("--rule", default=YOUDEN, show_default=True, help="youden, sensitivity=0.90 or specificity=0.95.")
@click.option("--show", is_flag=True, help="Print what is kept.")
@click.option("--remove", is_flag=True, help="Go back to the bundle's own values.")
@_options
def calibrate_site_command(
    manifest: Path | None, rule: str, show: bool, remove: bool, as_json: bool, config: Path | None, **chosen: Any
) -> None:
    """Set the operating point, and the temperature where it is proven, from the site's own labelled radiographs.

    They count for this box, this bundle and this precision, from the daemon's next start on. Nothing in the bundle
    changes.
    """
    if [manifest is not None, show, remove].count(True) != 1:
        raise UsageError("say what to do with one of --manifest FILE, --show and --remove")
    settings = resolve(chosen, os.environ, config).config
    if manifest is not None:
        kept = calibrate_site(settings, manifest, rule, _watched)
        _print(kept.bundle_name, kept.calibration, as_json=as_json)
        click.echo(f"{kept.path.name} and {kept.diagram.name} are in {kept.path.parent}; {_RESTART}", err=True)
        return
    if remove:
        removed = remove_calibration(settings)
        text = f"removed; {_RESTART.replace('by it', 'by the bundle')}" if removed else "there was nothing to remove"
        click.echo(json.dumps({"removed": removed}) if as_json else text)
        return
    bundle, calibration = kept_calibration(settings)
    if calibration is None:
        raise UsageError(f"this box has no calibration of bundle {bundle.manifest.name} ({bundle.id[:DIGITS]}); make "
                         "one with --manifest")  # fmt: skip
    _print(bundle.manifest.name, calibration, as_json=as_json)


def _watched(rows: Sequence[SiteRow]) -> AbstractContextManager[Iterable[SiteRow]]:
    return click.progressbar(rows, label="scoring", file=sys.stderr)


def _print(bundle_name: str, calibration: SiteCalibration, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(calibration) | {"bundle_name": bundle_name}))
        return
    click.echo(f"bundle {bundle_name} ({calibration.bundle_id[:DIGITS]}), calibration {calibration.digest[:DIGITS]}")
    for precision, found in calibration.precisions.items():
        for name, told in _told(found, calibration.labels):
            click.echo(f"{precision}  {name:<17} {told}")


def _told(found: PrecisionCalibration, labels: tuple[str, str]) -> Iterable[tuple[str, str]]:
    negative, positive = labels
    yield "radiographs", f"{found.positives} {positive}, {found.negatives} {negative}, {found.patients} patients"
    if found.left_out:
        yield "left out", ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
    yield "operating point", f"{_figure(found.operating_point)} by {found.rule}"
    yield "sensitivity", _figure(found.sensitivity)
    yield "specificity", _figure(found.specificity)
    yield "AUC", _figure(found.auc)
    yield "temperature", "none: " + str(found.uncalibrated) if found.temperature is None else f"{found.temperature:.3f}"
    if found.ece is not None:
        yield "calibration error", _figure(found.ece)
    yield "made", f"{found.at} by {found.by} with {found.backend} {found.runtime}"


def _figure(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
