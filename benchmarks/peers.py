"""The box beside what people would use instead, in one run: engines, preprocessing and decoding on the CPU.

    python -m benchmarks.peers --out benchmarks/results/peers-research.json
    python -m benchmarks.peers --network ensemble --part engines --out benchmarks/results/peers-ensemble.json
    python -m benchmarks.peers --out /tmp/second.json --again benchmarks/results/peers-research.json

Needs the extra `peers`; a peer that is not installed becomes a row that says so. On a GPU: benchmarks/gpu.py.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.command import run_command, say
from edge.errors import EdgeError

if TYPE_CHECKING:
    from benchmarks.peers_report import Report
    from benchmarks.race import Race

    Found = tuple[Race, dict[str, object]]  # and what else the report says of it

USUAL = ("engines", "preprocessing", "decoding")
PARTS = (*USUAL, "options")
PACKAGES = ("openvino", "onnxruntime", "torch", "torchxrayvision", "onnx", "numpy", "opencv-python-headless",
            "scikit-image", "pillow", "pydicom", "imagecodecs", "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls",
            "python-gdcm")  # fmt: skip


@click.command(epilog="Example: python -m benchmarks.peers --out benchmarks/results/peers-research.json")
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, default=USUAL, show_default=True,
              help="What is compared, repeatable.")  # fmt: skip
@click.option("--network", "networks", multiple=True, default=("research",), show_default=True,
              help="A bundle's, or `ensemble`: the full one, untrained, at 1024 pixels. Repeatable.")  # fmt: skip
@click.option("--side", type=click.IntRange(64, 1024), default=1024, show_default=True,
              help="Pixels of the ensemble; fewer than 1024 to try the command.")  # fmt: skip
@click.option("--peer", "names", multiple=True, metavar="NAME",
              help="Only these beside the baseline, repeatable: all are in memory at once  [all].")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True, help="Each asks every peer in turn.")
@click.option(
    "--calls", type=click.IntRange(1), default=3, show_default=True, help="Calls of a turn; the median counts."
)
@click.option("--graphs", type=click.Path(file_okay=False, path_type=Path), default=Path("work/peers"),
              show_default=True, help="Folder where graphs are made once and kept.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="JSON to write; a plot of the same name lies beside it.")  # fmt: skip
@click.option("--again", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="JSON of an earlier run: fail where a ratio is more than 15 % off.")  # fmt: skip
def peers(
    parts: tuple[str, ...],
    networks: tuple[str, ...],
    side: int,
    names: tuple[str, ...],
    rounds: int,
    calls: int,
    graphs: Path,
    out: Path,
    again: Path | None,
) -> None:
    """Measure the box and its peers in turn, and write every figure, the ratios and a plot."""
    from benchmarks.peers_report import read_report  # noqa: PLC0415

    earlier = read_report(again) if again is not None else None
    with tempfile.TemporaryDirectory() as folder:
        found = races(parts, networks, side, calls, graphs, Path(folder))
        measure(only(names, found), rounds, out, earlier)


def measure(found: "Iterable[Found]", rounds: int, out: Path, earlier: "Report | None") -> None:
    """Run each race and write the report after it, so that a run that is cut short leaves what it had.

    Raises EdgeError where ratios lie too far from an earlier run's.
    """
    # Imported here: a help text needs none of it, and every peer's process imports this module.
    from benchmarks.machine import describe_machine  # noqa: PLC0415
    from benchmarks.peers_plot import draw  # noqa: PLC0415
    from benchmarks.peers_report import Report, apart, table, verdict_lines, write_report  # noqa: PLC0415
    from benchmarks.race import run  # noqa: PLC0415

    report = Report(describe_machine("python -m benchmarks.peers", PACKAGES), rounds)
    for race, facts in found:
        report = report.joined(run(race, rounds, say), facts)
        write_report(report, out)
        click.echo("\n".join(table(report.outcomes[-1])))
    draw(report, out.with_suffix(".png"))
    for line in verdict_lines(report):
        click.echo(line)
    if earlier is not None and (moved := apart(report, earlier)):
        raise EdgeError("ratios differ from the earlier run's: " + "; ".join(moved) + ". Run both on a quiet machine")


def races(
    parts: tuple[str, ...], networks: tuple[str, ...], side: int, calls: int, graphs: Path, folder: Path
) -> "Iterator[Found]":
    """Each race when its turn comes, so that no graph is made before it is needed."""
    if "preprocessing" in parts:
        from benchmarks.preprocessing_peers import preprocessing_race  # noqa: PLC0415

        yield preprocessing_race(folder, calls), {}
    if "decoding" in parts:
        from benchmarks.decoder_safety import safeties  # noqa: PLC0415
        from benchmarks.decoding_peers import decoding_race, missing  # noqa: PLC0415
        from benchmarks.pictures import SYNTAXES  # noqa: PLC0415

        for syntax in SYNTAXES:
            say(f"{syntax.keyword}: damaged frames")
            safety = {name: asdict(one) | {"safe": one.safe} for name, one in safeties(syntax).items()}
            yield decoding_race(syntax, folder, calls), {"not_installed": missing(syntax), "safety": safety}
    if "engines" in parts:
        from benchmarks.networks import network  # noqa: PLC0415
        from benchmarks.peers_cpu import densenet_race, engine_race, write_inputs  # noqa: PLC0415

        for place, name in enumerate(networks):
            say(f"{name}: graphs")
            one = network(name, graphs / name, side=side)
            write_inputs(one.subject)
            yield engine_race(one.subject, calls), {"multiply_adds": one.multiply_adds}
            if place == 0:
                yield densenet_race(one.subject, calls), {}
    if "options" in parts:
        from benchmarks.networks import network  # noqa: PLC0415
        from benchmarks.openvino_options import options_race, start_race  # noqa: PLC0415
        from benchmarks.peers_cpu import write_inputs  # noqa: PLC0415

        for name in networks:
            one = network(name, graphs / name, side=side)
            write_inputs(one.subject)
            yield options_race(one.subject, calls), {}
            yield start_race(one.subject, calls), {}


def only(names: tuple[str, ...], found: "Iterable[Found]") -> "Iterator[Found]":
    """Races that have such peers, with these and the baseline; without names all as they are.

    Raises UsageError at the end for names that no race has.
    """
    seen: list[str] = []
    for race, facts in found:
        first, *others = race.peers
        kept = [peer for peer in others if not names or peer.name in names]
        seen += [peer.name for peer in others]
        if kept or not names:
            yield replace(race, peers=(first, *kept)), facts
    if unknown := [name for name in names if name not in seen]:
        raise click.UsageError(f"no race has these peers: {', '.join(unknown)}; there are {', '.join(seen)}")


if __name__ == "__main__":
    run_command(peers)
