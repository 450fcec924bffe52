"""How far a graph's activations reach over the calibration radiographs: measured by a calibrator, kept with a stamp.

Ranges are symmetric. They hold for one graph, one set of radiographs, one preprocessing and one calibrator; kept ranges
of any other are refused.
"""

import contextlib
import io
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from edge.engines.base import INPUT_NAME
from edge.errors import UsageError
from training.arrays import load
from training.progress import bar

QUANTISED = ("Conv",)
# 2048 bins: onnxruntime's default of 128 for entropy tells a threshold only to a hundredth of the greatest value.
_OPTIONS = {
    "minmax": (CalibrationMethod.MinMax, {"symmetric": True}),
    "entropy": (CalibrationMethod.Entropy, {"symmetric": True, "num_bins": 2048, "num_quantized_bins": 128}),
    "percentile": (CalibrationMethod.Percentile, {"symmetric": True, "num_bins": 2048, "percentile": 99.99}),
}
PREPARED = "equalised/1"  # counted up when calib/equalise.py or what comes before it changes
CALIBRATORS = tuple(_OPTIONS)


@dataclass(frozen=True)
class Stamp:
    """What ranges hold for: digests of the graph, of the radiographs' files and of the preprocessing; and how the graph
    was prepared.
    """

    graph_sha256: str
    radiographs_sha256: str
    preprocessing_digest: str
    calibrator: str
    prepared: str = PREPARED


@dataclass(frozen=True)
class Ranges:
    """reach: the greatest magnitude of each tensor that a quantised operator reads or writes."""

    stamp: Stamp
    reach: Mapping[str, float]


class One(CalibrationDataReader):
    """A single ModelInput, [1, 1, 1024, 1024]: histograms of more at a time would need their activations in memory."""

    def __init__(self, radiograph: NDArray[np.float32]) -> None:
        self._left: list[NDArray[np.float32]] = [radiograph]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return {INPUT_NAME: self._left.pop()} if self._left else None


def read_input(kept: Path) -> NDArray[np.float32]:
    """A cached array as the graph reads it, [1, 1, 1024, 1024]. Raises UsageError when it is blank."""
    pixels = load(kept).pixels
    if pixels.min() == pixels.max():
        raise UsageError(f"calibration array {kept.name} is blank; take its row out")
    return pixels[None, None].astype(np.float32) / np.float32(255)


def measure(prepared: Path, kept: Sequence[Path], stamp: Stamp) -> Ranges:
    """Run a prepared fp32 graph on every cached array. A bad array is an error, never the end."""
    if not kept:
        raise UsageError("there is no calibration radiograph; name a manifest with train rows")
    method, extra = _OPTIONS[stamp.calibrator]
    # onnxruntime prints a line for each radiograph; stdout is for outcomes.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        augmented = str(Path(folder, "augmented.onnx"))
        calibrator = create_calibrator(
            prepared, QUANTISED, augmented, calibrate_method=method, extra_options=dict(extra)
        )
        for path in bar(kept, f"ranges {stamp.calibrator}", total=len(kept)):
            calibrator.collect_data(One(read_input(path)))
        measured = calibrator.compute_data()
    reach = {name: float(np.abs(part.range_value).max()) for name, part in measured.items()}
    bad = sorted(name for name, limit in reach.items() if not math.isfinite(limit))
    if bad:
        raise UsageError(f"tensor {bad[0]} reaches {reach[bad[0]]} on the calibration radiographs; check the weights")
    return Ranges(stamp, reach)


def keep(ranges: Ranges, path: Path) -> None:
    written = {"stamp": asdict(ranges.stamp), "reach": dict(sorted(ranges.reach.items()))}
    beside = path.with_name(f".{path.name}")
    beside.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def recall(path: Path, stamp: Stamp) -> Ranges:
    """Kept ranges. Raises UsageError, naming what changed, when they were measured for another stamp."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        ranges = Ranges(Stamp(**written["stamp"]), {name: float(limit) for name, limit in written["reach"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} holds no calibration ranges; delete it to measure them again") from None
    stale = [name for name, value in asdict(stamp).items() if getattr(ranges.stamp, name) != value]
    if stale:
        raise UsageError(f"{path} was measured for another {', '.join(stale)}; delete it to measure the ranges again")
    return ranges


def measured(prepared: Path, kept: Sequence[Path], stamp: Stamp, cache: Path) -> Ranges:
    """Kept ranges where `cache` is, else measured ones, kept there."""
    if cache.exists():
        return recall(cache, stamp)
    ranges = measure(prepared, kept, stamp)
    keep(ranges, cache)
    return ranges
