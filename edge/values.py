"""The values that flow through the box, in flow order: Path -> Radiograph -> ModelInput -> Prediction -> Report.

All are frozen; arrays inside them are never modified in place. Work is done by pure functions from one to the next.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.decision import UNDECIDED, Decision

CASE_ID_DIGITS = 16
MODEL_INPUT_SIDE = 1024  # pixels
INTENDED_USE = "Research use only. Not a medical device."


def case_id_of(sha256: str) -> str:
    """The public name of a case: the first 16 hex digits of the file's SHA-256. Never a UID, name or path."""
    return sha256[:CASE_ID_DIGITS]


# What may be chosen by an option; an option may also say `auto`: what the machine and the bundle have.
BACKENDS = ("openvino", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")
AFTER = ("keep", "archive", "delete")
WATCHING = ("auto", "events", "polling")
ORDERS = ("oldest", "newest")  # which end of the queue is served
SANDBOXES = ("auto", "required")  # what a decode worker does without when the kernel lacks a part of its sandbox


class Reason(StrEnum):
    """Why a radiograph was not scored: a closed set, part of the public contract."""

    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    NO_PIXELS = "no_pixels"
    UNSUPPORTED_SYNTAX = "unsupported_syntax"
    TOO_LARGE = "too_large"
    BOMB = "bomb"
    DECODER_DIED = "decoder_died"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    NOT_A_RADIOGRAPH = "not_a_radiograph"
    NOT_FRONTAL_CHEST = "not_frontal_chest"
    NO_LUNGS = "no_lungs"
    INVERTED = "inverted"
    POOR_QUALITY = "poor_quality"
    UNLIKE_REFERENCE = "unlike_reference"
    OUTSIDE_INTENDED_USE = "outside_intended_use"


# Inputs that could not be read: moved to quarantine unless `after` is keep.
QUARANTINED = frozenset(
    {
        Reason.UNREADABLE,
        Reason.TRUNCATED,
        Reason.NO_PIXELS,
        Reason.UNSUPPORTED_SYNTAX,
        Reason.TOO_LARGE,
        Reason.BOMB,
        Reason.DECODER_DIED,
        Reason.CONFLICT,
    }
)


class Warn(StrEnum):
    """What a reader of a scored report should know: a closed set within report/1."""

    LOSSY_SOURCE = "lossy_source"
    NO_VIEW = "no_view"
    BORDERLINE_LUNGS = "borderline_lungs"
    BORDERLINE_FRONTAL = "borderline_frontal"
    BORDERLINE_INVERTED = "borderline_inverted"
    BORDERLINE_CONTRAST = "borderline_contrast"
    BORDERLINE_REFERENCE = "borderline_reference"
    NEIGHBOURS_PENDING = "neighbours_pending"
    NEIGHBOURS_DISAGREE = "neighbours_disagree"


@dataclass(frozen=True)
class Look:
    """What tells that a file has changed."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class Sighting:
    """One look at one file of the watch folder."""

    path: Path
    size_bytes: int
    mtime_ns: int
    inode: int

    @property
    def look(self) -> Look:
        return Look(self.size_bytes, self.mtime_ns, self.inode)


@dataclass(frozen=True)
class Source:
    """What is known of a file beyond its pixels: the only header fields that leave the decoder.

    `instance_key` and `patient_key` are keyed hashes (HMAC-SHA256 with the site key) of SOPInstanceUID and PatientID.
    """

    sha256: str
    format: str  # dicom | png | jpeg | tiff
    rows: int
    columns: int
    pixels_sha256: str
    view_position: str | None = None  # AP | PA | LATERAL
    lossy: bool = False
    minor: bool = False  # the header says under 18
    instance_key: str | None = None
    patient_key: str | None = None


@dataclass(frozen=True)
class Radiograph:
    """A decoded radiograph as a reader would see it.

    pixels: uint16 [rows, columns], bright = dense (MONOCHROME2), the values present stretched over 0..65535.
    valid: bool [rows, columns] or None; False where DICOM pixel padding stood (those pixels are 0).
    row_spacing, column_spacing: relative pixel size, for the aspect ratio only.
    """

    source: Source
    pixels: NDArray[np.uint16]
    valid: NDArray[np.bool_] | None = None
    row_spacing: float = 1.0
    column_spacing: float = 1.0


@dataclass(frozen=True)
class Crop:
    """Where the content of a ModelInput came from and where it went; maps model coordinates back to the radiograph.

    top, left, height, width: the box kept of the radiograph, in its pixels.
    model_top, model_left, model_height, model_width: where that box lies in the model input, in its pixels.
    """

    top: int
    left: int
    height: int
    width: int
    model_top: int
    model_left: int
    model_height: int
    model_width: int

    def to_radiograph(self, row: float, column: float) -> tuple[float, float]:
        """Model-input coordinates (pixels, origin top left) to radiograph coordinates (row, column)."""
        return (
            self.top + (row - self.model_top) * self.height / self.model_height,
            self.left + (column - self.model_left) * self.width / self.model_width,
        )

    def content_of(self, cells: NDArray[np.float32], side: int) -> NDArray[np.float32]:
        """The part of `cells`, which cover the whole model input of `side` pixels, that is no padding; never empty."""
        rows, columns = cells.shape
        top, bottom = _span(self.model_top, self.model_height, rows, side)
        left, right = _span(self.model_left, self.model_width, columns, side)
        return cells[top:bottom, left:right]


def _span(start: int, length: int, cells: int, side: int) -> tuple[int, int]:
    first = start * cells // side
    return first, max(first + 1, -(-(start + length) * cells // side))


@dataclass(frozen=True)
class ModelInput:
    """What an engine reads.

    pixels: float32 [1, 1024, 1024] in 0..1; padding is 0.
    preprocessing_digest: digest of the code and parameters that made it; an engine refuses any other than its own.
    """

    pixels: NDArray[np.float32]
    crop: Crop
    preprocessing_digest: str


@dataclass(frozen=True)
class Decoded:
    """One file through the decode worker: what is known of it, its ModelInput, and how long each step took."""

    source: Source
    model_input: ModelInput
    timings_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineIdentity:
    """Which network answered, and how: stands in every report and metric."""

    bundle_id: str
    backend: str  # openvino | tensorrt
    precision: str  # fp32 | fp16 | int8
    version: str  # of the runtime


@dataclass(frozen=True)
class Prediction:
    """The engine's answer for one ModelInput.

    score: 0..1, mean of the members' probabilities; calibrated: by the bundle's or a site's temperature.
    members: each one's own probability, which no temperature changes.
    embedding: float32 [128]. lung_mask: float32 [256, 256] in 0..1. evidence_map: float32 [32, 32] in 0..1.
    """

    score: float
    members: dict[str, float]
    embedding: NDArray[np.float32]
    lung_mask: NDArray[np.float32]
    evidence_map: NDArray[np.float32]
    engine: EngineIdentity
    calibrated: bool = False


@dataclass(frozen=True)
class Neighbour:
    """An earlier or reference case near in embedding space (Euclidean distance)."""

    case_id: str
    distance: float
    label: str | None
    score: float | None


@dataclass(frozen=True)
class Finding:
    """One quality check: its value, and the limits between which it is let through.

    `reason` is set when it refuses, `warning` when borderline.
    """

    check: str
    value: float
    low: float = -math.inf
    high: float = math.inf
    reason: Reason | None = None
    warning: Warn | None = None


@dataclass(frozen=True)
class FinishedCase:
    """What is left to know of a case once its result is safe: enough to put its file away."""

    case_id: str
    format: str | None
    reason: str | None
    detail: str | None


@dataclass(frozen=True)
class Report:
    """The one terminal result of a radiograph. A radiograph that cannot be scored never carries a number."""

    sha256: str
    format: str | None  # dicom | png | jpeg | tiff
    bundle_id: str
    source: Source | None  # None when the file could not be read far enough
    engine: EngineIdentity
    reason: Reason | None = None  # None means scored
    detail: str | None = None
    warnings: tuple[Warn, ...] = ()
    prediction: Prediction | None = None
    positive: bool | None = None
    operating_point: float | None = None
    decision: Decision = UNDECIDED
    findings: tuple[Finding, ...] = ()  # of every gate that was asked
    lung_fraction: float | None = None
    neighbours: tuple[Neighbour, ...] = ()
    knn_score: float | None = None
    knn_label_share: float | None = None  # of the positive, among neighbours with a label
    timings_s: dict[str, float] = field(default_factory=dict)

    @property
    def case_id(self) -> str:
        return case_id_of(self.sha256)

    @property
    def scored(self) -> bool:
        return self.reason is None

    @property
    def finished(self) -> FinishedCase:
        return FinishedCase(self.case_id, self.format, self.reason, self.detail)
