"""What is watched of each radiograph for drift: numbers of its picture, its score and its header, and no identifier."""

import math
from dataclasses import astuple, dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.quality import nearest_distance
from edge.values import Decoded, ModelInput, Prediction, Reason, Report, Source

_VIEWS = ("AP", "PA", "LATERAL", None)
_FORMATS = ("dicom", "png", "jpeg", "tiff")
_SEEN_BEFORE = (Reason.DUPLICATE, Reason.CONFLICT)
DIGITS = 4
_LEAST_CELLS = 64  # of the lung mask, or nothing is said of how bright the lungs are


@dataclass(frozen=True)
class Signals:
    """One radiograph that was read. The first six are None where it was not scored.

    score: mean of the members, which no calibration changes. embedding_distance: to the nearest reference case.
    brightness, contrast: mean and standard deviation of the ModelInput's grey levels, padding left out.
    lung_brightness: mean where lungs are. view, lossy, format, refused: a kind, by its number.
    """

    score: float | None
    embedding_distance: float | None
    lung_fraction: float | None
    brightness: float | None
    contrast: float | None
    lung_brightness: float | None
    view: float
    lossy: float
    format: float
    refused: float

    def known(self) -> list[tuple[str, float]]:
        """By name, those that there are; to four digits, which name nobody. NaN is left out: no file may hold it."""
        pairs = zip(NAMES, astuple(self), strict=True)
        return [(name, round(value, DIGITS)) for name, value in pairs if value is not None and math.isfinite(value)]


NAMES = tuple(field.name for field in fields(Signals))
# Of a quantity that has kinds: what lies between them.
KINDS: dict[str, tuple[float, ...]] = {
    "view": (0.5, 1.5, 2.5),
    "lossy": (0.5,),
    "format": (0.5, 1.5, 2.5),
    "refused": (0.5,),
}
QUANTITIES = tuple(name for name in NAMES if name not in KINDS)  # of a scored radiograph's answers and picture


def observe(decoded: Decoded, report: Report, reference: NDArray[np.float32]) -> Signals | None:
    """None for a radiograph that was seen before. reference: the bundle's reference embeddings [cases, 128]."""
    if report.reason in _SEEN_BEFORE:
        return None
    if report.prediction is None:
        return Signals(None, None, None, None, None, None, *_header(decoded.source), refused=1.0)
    prediction = report.prediction
    return Signals(
        float(np.mean(list(prediction.members.values()))),
        nearest_distance(prediction.embedding, reference),
        report.lung_fraction,
        *grey_levels(decoded.model_input, prediction),
        *_header(decoded.source),
        refused=0.0,
    )


def grey_levels(model_input: ModelInput, prediction: Prediction) -> tuple[float, float, float | None]:
    """brightness, contrast, lung_brightness, on cells as large as those of the lung mask."""
    rows, columns = prediction.lung_mask.shape
    side = model_input.pixels.shape[-1]
    cells = np.asarray(cv2.resize(model_input.pixels[0], (columns, rows), interpolation=cv2.INTER_AREA))
    content, lungs = model_input.crop.content_of(cells, side), cells[prediction.lung_mask > 0.5]
    lung_brightness = float(lungs.mean()) if len(lungs) >= _LEAST_CELLS else None
    return float(content.mean()), float(content.std()), lung_brightness


def _header(source: Source) -> tuple[float, float, float]:
    view, format_ = _VIEWS.index(source.view_position), _FORMATS.index(source.format)
    return float(view), float(source.lossy), float(format_)
