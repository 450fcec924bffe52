"""How the box's cost grows with what it holds and does: five measured curves, each with a sentence on its growth.

    python -m benchmarks.cost_curves
    python -m benchmarks.cost_curves --curve ledger                    # one, in the place of its earlier figures
    python -m benchmarks.cost_curves --most 1000 --curve waiting --out /tmp/trial.json

Each curve is written when it is whole, so that they can be measured apart. Needs the extras `export` and `peers`; the
ledger of a million cases takes several gigabytes of disk for a while.
"""

import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.command import run_command
from edge.errors import EdgeError, UsageError

if TYPE_CHECKING:
    from benchmarks.curve import Curve, Room

OUT = Path("benchmarks/results/cost-curves.json")
SCHEMA = "edge-cxr/cost-curves/1"
# Where each is; loaded when it is measured, for every process that is measured imports this module.
CURVES = {
    "waiting": ("benchmarks.waiting_curve", "CURVE"),
    "ledger": ("benchmarks.ledger_curve", "CURVE"),
    "index": ("benchmarks.index_curve", "CURVE"),
    "members": ("benchmarks.engine_curves", "BY_MEMBERS"),
    "pixels": ("benchmarks.engine_curves", "BY_SIDE"),
}
PACKAGES = ("openvino", "onnxruntime", "torch", "numpy", "opencv-python-headless", "pydicom", "usearch", "apsw")


@click.command(epilog="Example: python -m benchmarks.cost_curves --curve ledger --most 10000 --out /tmp/trial.json")
@click.option("--curve", "names", type=click.Choice(tuple(CURVES)), multiple=True, default=tuple(CURVES),
              show_default=True, help="Measure these alone, repeatable; others stay as the file has them.")  # fmt: skip
@click.option("--most", type=click.IntRange(1), help="Leave out sizes above this, to try the command.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=OUT,
              show_default=True, help="JSON; a plot of the same name lies beside it.")  # fmt: skip
@click.option("--graphs", type=click.Path(file_okay=False, path_type=Path), default=Path("work/curves"),
              show_default=True, help="Folder where graphs are made once and kept.")  # fmt: skip
@click.option("--scratch", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder on the disk to be measured  [the system's].")  # fmt: skip
def cost_curves(names: tuple[str, ...], most: int | None, out: Path, graphs: Path, scratch: Path | None) -> None:
    """Measure how cost grows, and write every point, the fitted exponents, a sentence on each, and a plot."""
    from benchmarks.cost_curves_plot import draw  # noqa: PLC0415
    from benchmarks.curve import Room  # noqa: PLC0415

    document = read(out)
    room = Room(graphs, most, scratch)
    for name in names:
        curves = {**document["curves"], name: measured(name, curve_of(name), room)}
        document["curves"] = {known: curves[known] for known in CURVES if known in curves}
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        out.with_suffix(".png").write_bytes(draw(document["curves"]))
        for line in sentences(document, name):
            click.echo(line)


def curve_of(name: str) -> "Curve":
    module, attribute = CURVES[name]
    return getattr(importlib.import_module(module), attribute)


def measured(name: str, curve: "Curve", room: "Room") -> dict[str, Any]:
    """One curve as JSON has it. load_before: of the machine over the last minute; on a quiet one, near 0.

    Raises UsageError when every size is left out.
    """
    from benchmarks.growth import growths  # noqa: PLC0415
    from benchmarks.machine import describe_machine  # noqa: PLC0415

    load_before, points = os.getloadavg()[0], []
    for point in curve.points(room):
        points.append(point)
        click.echo(f"{name}: {point.series}{', ' if point.series else ''}{point.size:,} {curve.unit}", err=True)
    if not points:
        raise UsageError(f"the curve {name} has no size up to {room.most}; give --most a greater number")
    return {
        "machine": describe_machine("python -m benchmarks.cost_curves", PACKAGES),
        "load_before": load_before,
        "unit": curve.unit,
        "points": [asdict(point) for point in points],
        "growth": [asdict(one) for one in growths(points, curve.told, curve.unit)],
    }


def read(out: Path) -> dict[str, Any]:
    """What was measured before; nothing where there is no file. Raises EdgeError when it is another's."""
    if not out.exists():
        return {"schema": SCHEMA, "curves": {}}
    document = json.loads(out.read_text(encoding="utf-8"))
    if document.get("schema") != SCHEMA:
        raise EdgeError(f"the file of --out has schema {document.get('schema')}, not {SCHEMA}; name another")
    return document


def sentences(document: dict[str, Any], name: str) -> Iterator[str]:
    for growth in document["curves"][name]["growth"]:
        yield f"{name}, {growth['sentence']}"


if __name__ == "__main__":
    run_command(cost_curves)
