"""Latency of every stage of one radiograph, and of the whole from path to report, on the box's own engine.

The whole is more than its stages: reading and hashing the file and handing it to the decode worker are in no stage.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import call_apart
from benchmarks.spread import Spread, spread_of
from edge.errors import EdgeError
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.pipeline import Pipeline

STAGES = ("decode", "preprocess", "infer", "retrieve")
TOTAL = "total"
PHANTOM_SIDE = 2048
PHANTOMS = 4
# The first four are scored by both packaged bundles; the others are tried where a bundle refuses one.
SEEDS = (0, 2, 10, 11, *range(20, 44))
_RENDER_LIMIT_S = 300.0


@dataclass(frozen=True)
class Latency:
    """Of one stage, or of the whole."""

    stage: str
    spread: Spread


def scored_phantoms(pipeline: Pipeline, folder: Path, *, longest_side: int = PHANTOM_SIDE) -> list[Path]:
    """Four phantoms that the box scores: uncompressed 16-bit DICOM, of about the size that a portable detector gives.

    Raises EdgeError when its bundle scores none, as one whose gates know only real radiographs.
    """
    found: list[Path] = []
    for start in range(0, len(SEEDS), PHANTOMS):
        paths = [folder / f"{seed}.dcm" for seed in SEEDS[start : start + PHANTOMS]]
        call_apart(_write, (paths, longest_side), limit_s=_RENDER_LIMIT_S)  # its memory is not the box's
        found += [path for path in paths if pipeline.report(path).scored]
        if len(found) >= PHANTOMS:
            return found[:PHANTOMS]
    if not found:
        raise EdgeError("this bundle scores none of the phantoms; name radiographs that it does")
    return found


def _write(order: tuple[Sequence[Path], int]) -> None:
    paths, longest_side = order
    for path in paths:
        seed = int(path.stem)
        write_dicom(render(seed, ("covid", "other")[seed % 2], longest_side=longest_side), path)


def measure_stages(
    pipeline: Pipeline, files: Sequence[Path], *, runs: int, warm_up: int, on_run: Callable[[], None] = lambda: None
) -> tuple[Latency, ...]:
    """Score the files in turn, `warm_up` runs unmeasured and `runs` measured.

    Raises EdgeError when a file is not scored: a refusal would be measured as a fast answer.
    """
    spent_s: dict[str, list[float]] = {stage: [] for stage in (*STAGES, TOTAL)}
    for run in range(warm_up + runs):
        path = files[run % len(files)]
        asked = time.perf_counter()
        report = pipeline.report(path)
        answered = time.perf_counter()
        if not report.scored:
            which = f"file {run % len(files) + 1} of {len(files)}"
            raise EdgeError(f"{which} is not scored ({report.reason}: {report.detail}); name radiographs that are")
        if run >= warm_up:
            for stage in STAGES:
                spent_s[stage].append(report.timings_s[stage])
            spent_s[TOTAL].append(answered - asked)
        on_run()
    return tuple(Latency(stage, spread_of(seconds)) for stage, seconds in spent_s.items())
