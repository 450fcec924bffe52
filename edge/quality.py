"""Gates: what must not be scored, and why. Measures are pure functions of what was seen; limits come from the bundle.

A check that a bundle has no limit for is not made. What the picture looks like is weighed in frontal.py.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.frontal import FrontalRule, likeness, look
from edge.gate_limits import GateLimits, Limits
from edge.values import Crop, Decoded, Finding, Prediction, Reason, Source, Warn

DETAILS = {
    Reason.POOR_QUALITY: "the picture is nearly even, without the contrast of a chest; look at it, and at the sender's "
    "window and bit depth, and repeat the exposure if the radiologist agrees",
    Reason.INVERTED: "it looks inverted, bright where a chest is dark, or stands on its head; look at it, and check "
    "the photometric interpretation and the rotation that the sender writes",
    Reason.NOT_FRONTAL_CHEST: "it does not look like a frontal chest radiograph, upright and whole; look at the "
    "picture, and send frontal chest radiographs (AP or PA) only",
    Reason.NO_LUNGS: "no lungs were found where a frontal chest has them; check that it is a frontal chest radiograph",
    Reason.UNLIKE_REFERENCE: "it lies far from all that the model was made with; do not use the model for this machine "
    "before it was evaluated on it",
    Reason.OUTSIDE_INTENDED_USE: "the header says that the patient is under 18; the model was made for adults",
}
# In the order in which their reasons count: what the picture is before what is in it.
_CHECKS = {
    "contrast": (Reason.POOR_QUALITY, Warn.BORDERLINE_CONTRAST),
    "inverted": (Reason.INVERTED, Warn.BORDERLINE_INVERTED),
    "not_frontal": (Reason.NOT_FRONTAL_CHEST, Warn.BORDERLINE_FRONTAL),
    "lung_fraction": (Reason.NO_LUNGS, Warn.BORDERLINE_LUNGS),
    "distance": (Reason.UNLIKE_REFERENCE, Warn.BORDERLINE_REFERENCE),
}


@dataclass(frozen=True)
class Gate:
    """What a bundle brings to judge with. reference: float32 [cases, 128], the embeddings of its reference cases."""

    limits: GateLimits
    rule: FrontalRule | None
    reference: NDArray[np.float32]

    @classmethod
    def of(cls, bundle: Bundle) -> "Gate":
        """Raises BundleError when its gate.npz or reference.npz are not what they should be."""
        return cls(bundle.manifest.gates, bundle.frontal_rule(), bundle.reference().embeddings)


@dataclass(frozen=True)
class Measures:
    """One value for each check, by its name; None where the gate has no rule to measure it by."""

    lung_fraction: float
    contrast: float
    distance: float | None
    inverted: float | None
    not_frontal: float | None


def assess(decoded: Decoded, prediction: Prediction, gate: Gate) -> tuple[Finding, ...]:
    """Every check, in the order in which their reasons count: what the picture is, then whom it is for."""
    return (*judge(measure(decoded, prediction, gate), gate.limits), check_age(decoded.source))


def measure(decoded: Decoded, prediction: Prediction, gate: Gate) -> Measures:
    pixels, crop = decoded.model_input.pixels, decoded.model_input.crop
    seen, rule = look(prediction.lung_mask, pixels, crop), gate.rule
    return Measures(
        lung_fraction=lung_fraction(prediction.lung_mask, crop, pixels.shape[-1]),
        contrast=seen.contrast,
        distance=nearest_distance(prediction.embedding, gate.reference),
        inverted=None if rule is None else likeness(seen.picture, rule.template),
        not_frontal=None if rule is None else rule.distance(seen.features),
    )


def judge(measures: Measures, limits: GateLimits) -> tuple[Finding, ...]:
    """The checks that there is a limit for."""
    findings = []
    for name in _CHECKS:
        value, allowed = getattr(measures, name), getattr(limits, name)
        if value is not None and allowed is not None:
            findings.append(check(name, value, allowed))
    return tuple(findings)


def check(name: str, value: float, limits: Limits) -> Finding:
    """One value against its limits; not a number is refused."""
    reason, warning = _CHECKS[name]
    if not limits.allow(value):
        return Finding(name, value, limits.low, limits.high, reason=reason)
    return Finding(name, value, limits.low, limits.high, warning=warning if limits.near(value) else None)


def lung_fraction(lung_mask: NDArray[np.float32], crop: Crop, side: int) -> float:
    """Share of the radiograph's content, padding left out, where the lung probability is above one half.

    lung_mask: [rows, columns] over the whole model input of `side` pixels.
    """
    return float((crop.content_of(lung_mask, side) > 0.5).mean())


def nearest_distance(embedding: NDArray[np.float32], reference: NDArray[np.float32]) -> float | None:
    """Euclidean distance to the nearest reference case; None without any."""
    return float(np.linalg.norm(reference - embedding, axis=1).min()) if len(reference) else None


def check_age(source: Source) -> Finding:
    reason = Reason.OUTSIDE_INTENDED_USE if source.minor else None
    return Finding("minor", float(source.minor), high=0.0, reason=reason)


def source_warnings(source: Source) -> tuple[Warn, ...]:
    """What the file itself gives cause to mention."""
    warnings = []
    if source.lossy:
        warnings.append(Warn.LOSSY_SOURCE)
    if source.view_position is None:
        warnings.append(Warn.NO_VIEW)
    return tuple(warnings)
