"""One network ready to be quantised in any choice of layers: prepared graph, ranges and means, measured once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from calib.correction import Means, channel_means
from calib.equalise import equalise
from calib.quantise import prepare, quantisable, quantise
from calib.ranges import Ranges, Stamp, measured
from calib.selection import sha256_of

EQUALISED_BY = 32  # radiographs


@dataclass(frozen=True)
class Quantiser:
    """layers: every convolution that may be quantised, in the order in which they run."""

    prepared: Path
    ranges: Ranges
    means: Means
    layers: tuple[str, ...]

    def write(self, int8: Path, layers: Collection[str]) -> None:
        """The int8 graph in which these layers are quantised and all others stay in floating point."""
        quantise(self.prepared, int8, self.ranges, self.means, layers=layers)


def open_quantiser(
    fp32: Path, kept: Sequence[Path], *, radiographs_sha256: str, preprocessing_digest: str, calibrator: str,
    folder: Path,
) -> Quantiser:  # fmt: skip
    """Measure, or recall from `folder`, what quantisation needs to know. kept: arrays of the calibration set."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder / "prepared.onnx"
    prepare(fp32, prepared)
    equalise(prepared, kept[:EQUALISED_BY])
    stamp = Stamp(sha256_of(fp32), radiographs_sha256, preprocessing_digest, calibrator)
    ranges = measured(prepared, kept, stamp, folder / f"ranges-{calibrator}.json")
    return Quantiser(prepared, ranges, channel_means(prepared, kept, ranges), quantisable(prepared))
