"""Where the running daemon spends its time, under load and idle: flame graphs by py-spy, and a table of functions.

    python -m benchmarks.flames --bundle research --out benchmarks/results/flames

Writes OUT-load.svg, OUT-idle.svg and OUT.json. Samples are of threads that run, of the daemon and its decode workers;
frames of native code are those of the Python functions that called it. Needs py-spy (extra `peers`), and root or
ptrace on the daemon.
"""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.command import run_command
from benchmarks.copies import distinct
from benchmarks.daemon_process import DaemonProcess, running
from benchmarks.latency import PHANTOM_SIDE
from benchmarks.machine import describe_machine
from benchmarks.reaction import idle_share, lay_known, wait_until_quiet
from edge.bundle import open_bundle
from edge.config import Config
from edge.errors import EdgeError
from edge.phantom import render
from edge.phantom_dicom import write_dicom

SEEDS = (1, 2, 3, 4)
MOST = 40  # functions of a table
_FRAME = re.compile(r'<title>([^<]+?) \([\d,]+ samples?, [\d.]+%\)</title><rect [^>]*fg:x="(\d+)" fg:w="(\d+)"')
_NO_FUNCTION = re.compile("all$|process |thread ")


def functions(flame_graph: str) -> list[dict[str, object]]:
    """The functions that were on the stack in most samples of an SVG by py-spy, with their share of all."""
    frames: dict[str, list[tuple[int, int]]] = {}
    whole = 0
    for told, first, width in _FRAME.findall(flame_graph):
        name = re.sub(r":\d+\)$", ")", html.unescape(told))
        whole = max(whole, int(first) + int(width))
        if not _NO_FUNCTION.match(name):
            frames.setdefault(name, []).append((int(first), int(first) + int(width)))
    shares = {name: _covered(spans) / whole for name, spans in frames.items()}
    most = sorted(shares, key=lambda name: -shares[name])[:MOST]
    return [{"function": name, "share": round(shares[name], 4)} for name in most]


def _covered(spans: list[tuple[int, int]]) -> int:
    """Samples in any of them, each once: of a function that calls itself one frame lies in another."""
    covered, until = 0, 0
    for first, end in sorted(spans):
        covered += max(0, end - max(first, until))
        until = max(until, end)
    return covered


def record(daemon: DaemonProcess, out: Path, seconds: float, rate_hz: int) -> list[dict[str, object]]:
    """Raises EdgeError when py-spy may not look or is not there."""
    spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if spy is None:
        raise EdgeError("py-spy is not installed. Run: pip install 'edge-cxr[peers]'")
    kind = ("--subprocesses", "--nonblocking", "--format", "flamegraph", "--function")
    how = ("--duration", f"{seconds:g}", "--rate", str(rate_hz), "--pid", str(daemon.process.pid))
    asked = [spy, "record", *kind, *how, "--output", str(out)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        raise EdgeError(f"py-spy failed: {done.stderr.strip().splitlines()[-1:]}")
    svg = named_by_their_work(out.read_text(encoding="utf-8"))
    out.write_text(svg, encoding="utf-8")
    return functions(svg)


def named_by_their_work(flame_graph: str) -> str:
    """The same without the paths of this machine: its title, and a process by its number and what it runs."""
    titled = re.sub(r">[^<>]*py-spy record [^<>]*<", ">edge-cxr watch<", flame_graph)
    whole = re.sub(r"(process \d+):&quot;[^<>]*? -m edge\.([\w.]+)[^<>]*?&quot;", r"\1: edge.\2", titled)
    return re.sub(r"(process \d+):&quot;[^<>]*?\.\.<", r"\1..<", whole)  # cut short where there is no room


def lay_waiting(daemon: DaemonProcess, aside: Path, radiographs: Sequence[bytes], count: int) -> None:
    """So many at once, each renamed into the folder."""
    for number in range(count):
        path = aside / f"{number:06}.dcm"
        path.write_bytes(distinct(radiographs[number % len(radiographs)], number))
        path.rename(daemon.incoming / path.name)


def drawn(folder: Path) -> list[bytes]:
    for seed in SEEDS:
        write_dicom(render(seed, "other", longest_side=PHANTOM_SIDE), folder / f"{seed}.dcm")
    return [(folder / f"{seed}.dcm").read_bytes() for seed in SEEDS]


@click.command()
@click.option("--bundle", default="research", show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True, help="Of load.")
@click.option("--idle-s", type=click.FloatRange(1), default=60.0, show_default=True)
@click.option(
    "--waiting", type=click.IntRange(1), default=400, show_default=True, help="Radiographs; they must outlast it."
)
@click.option("--known", type=click.IntRange(1), default=10_000, show_default=True, help="Files known, when idle.")
@click.option(
    "--rate", "rate_hz", type=click.IntRange(1, 1000), default=200, show_default=True, help="Samples a second."
)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(bundle: str, seconds: float, idle_s: float, waiting: int, known: int, rate_hz: int, out: Path) -> None:
    """Draw flame graphs of the daemon."""
    with tempfile.TemporaryDirectory(prefix="edge-cxr-flames-") as folder:
        scratch = Path(folder)
        incoming, aside = scratch / "incoming", scratch / "aside"
        incoming.mkdir()
        aside.mkdir()
        lay_known(incoming, known)
        with running(Config(bundle=bundle), open_bundle(bundle).id, incoming, scratch, os.environ) as daemon:
            wait_until_quiet(daemon)
            share = idle_share(daemon, idle_s)
            idle = record(daemon, out.with_name(f"{out.name}-idle.svg"), idle_s, rate_hz)
            lay_waiting(daemon, aside, drawn(aside), waiting)
            load = record(daemon, out.with_name(f"{out.name}-load.svg"), seconds, rate_hz)
            if daemon.waiting_files() == 0:
                raise EdgeError(f"all {waiting} radiographs had their result before the end; give more --waiting")
    told = {
        "machine": describe_machine("python -m benchmarks.flames", ("py-spy", "openvino", "numpy")),
        "bundle": bundle,
        "idle": {"seconds": idle_s, "known_files": known, "cpu_share_unsampled": share, "functions": idle},
        "load": {"seconds": seconds, "waiting": waiting, "functions": load},
    }
    out.with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
