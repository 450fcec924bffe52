"""Gates: what must not be scored, and why. Each check is a pure function; its limits come from the bundle."""

import numpy as np
from numpy.typing import NDArray

from edge.bundle import LungLimits
from edge.values import Crop, Decoded, Finding, Prediction, Reason, Source, Warn

DETAILS = {
    Reason.NO_LUNGS: "no lungs were found where a frontal chest has them; check that it is a frontal chest radiograph",
    Reason.OUTSIDE_INTENDED_USE: "the header says that the patient is under 18; the model was made for adults",
}


def assess(decoded: Decoded, prediction: Prediction, lung_limits: LungLimits) -> tuple[Finding, ...]:
    """Every check, in the order in which their reasons count: what the picture is, then whom it is for."""
    side = decoded.model_input.pixels.shape[-1]
    fraction = lung_fraction(prediction.lung_mask, decoded.model_input.crop, side)
    return (check_lungs(fraction, lung_limits), check_age(decoded.source))


def lung_fraction(lung_mask: NDArray[np.float32], crop: Crop, side: int) -> float:
    """Share of the radiograph's content, padding left out, where the lung probability is above one half.

    lung_mask: [rows, columns] over the whole model input of `side` pixels.
    """
    rows, columns = lung_mask.shape
    top, bottom = _span(crop.model_top, crop.model_height, rows, side)
    left, right = _span(crop.model_left, crop.model_width, columns, side)
    return float((lung_mask[top:bottom, left:right] > 0.5).mean())


def _span(start: int, length: int, cells: int, side: int) -> tuple[int, int]:
    first = start * cells // side
    return first, max(first + 1, -(-(start + length) * cells // side))


def check_lungs(fraction: float, limits: LungLimits) -> Finding:
    if not limits.low <= fraction <= limits.high:
        return Finding("lung_fraction", fraction, reason=Reason.NO_LUNGS)
    near = fraction < limits.low + limits.margin or fraction > limits.high - limits.margin
    return Finding("lung_fraction", fraction, warning=Warn.BORDERLINE_LUNGS if near else None)


def check_age(source: Source) -> Finding:
    reason = Reason.OUTSIDE_INTENDED_USE if source.minor else None
    return Finding("minor", float(source.minor), reason=reason)


def source_warnings(source: Source) -> tuple[Warn, ...]:
    """What the file itself gives cause to mention."""
    warnings = []
    if source.lossy:
        warnings.append(Warn.LOSSY_SOURCE)
    if source.view_position is None:
        warnings.append(Warn.NO_VIEW)
    return tuple(warnings)
