"""The patient of a phantom: attenuation and lungs, from the front and from the side. Attenuations add along the ray.

Nothing here knows of disease, exposure or text.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from edge.phantom_frame import SIDES, Curve, Field, Frame, ellipse, mirror, points, smooth

VESSEL_ORDERS = 5


@dataclass(frozen=True)
class _Patient:
    """The anatomy a seed draws. Lengths in body units, thicknesses in attenuation."""

    width: float
    depth: float
    heart: float
    domes: tuple[float, float]  # lowering of the right and left diaphragm
    rib_drop: float
    shoulder: float
    breasts: float
    stomach: bool
    effusion: int  # 0 none, else the side


def _draw_patient(rng: Generator) -> _Patient:
    return _Patient(
        width=rng.uniform(0.88, 1.04),
        depth=rng.uniform(0.85, 1.2),
        heart=rng.uniform(0.88, 1.1) + (0.2 if rng.random() < 0.15 else 0.0),
        domes=(rng.uniform(-0.2, 0.06), rng.uniform(-0.06, 0.12)),
        rib_drop=rng.uniform(0.8, 1.15),
        shoulder=rng.uniform(-0.08, 0.08),
        breasts=rng.uniform(0.05, 0.12) if rng.random() < 0.4 else 0.0,
        stomach=bool(rng.random() < 0.5),
        effusion=int(rng.choice([-1, 1])) if rng.random() < 0.1 else 0,
    )


def _body(patient: _Patient) -> Curve:
    """Skin of neck, shoulders and trunk, both sides."""
    lift = patient.shoulder
    half = points(
        (0.27, -0.9), (0.27, -0.45), (0.36, -0.22), (0.75, -0.08 + lift), (1.2, 0.02 + lift), (1.46, 0.2 + lift),
        (1.58, 0.6), (1.66, 1.2), (1.72, 2.0), (1.72, 2.8), (1.72, 2.8),
    )  # fmt: skip
    return smooth(np.vstack([half, mirror(half[::-1], -1)]))


def _lung(patient: _Patient, side: float) -> Curve:
    """One pleural cavity as it projects above the diaphragm, heart not yet taken away."""
    dome = 1.5 + patient.domes[0 if side < 0 else 1]
    knots = points(
        (0.38, 0.0), (0.58, 0.08), (0.76, 0.34), (0.88, 0.75), (0.95, 1.2), (0.965, 1.5), (0.95, dome + 0.3),
        (0.95, dome + 0.3), (0.82, dome + 0.1), (0.62, dome), (0.4, dome), (0.2, dome + 0.08), (0.11, dome + 0.14),
        (0.11, dome + 0.14), (0.12, 1.1), (0.13, 0.7), (0.14, 0.4), (0.21, 0.1),
    )  # fmt: skip
    return mirror(smooth(knots) * (patient.width, 1.0), side)


def _heart(patient: _Patient) -> Curve:
    """Heart and great vessels: aortic knob, pulmonary trunk, left ventricle, right atrium."""
    knots = points(
        (0.05, 0.42), (0.14, 0.5), (0.19, 0.6), (0.18, 0.7), (0.19, 0.82), (0.28, 1.0), (0.42, 1.2), (0.52, 1.4),
        (0.5, 1.6), (0.35, 1.8), (0.0, 1.85), (-0.16, 1.75), (-0.22, 1.5), (-0.25, 1.3), (-0.21, 1.1), (-0.14, 0.9),
        (-0.13, 0.6), (-0.08, 0.42),
    )  # fmt: skip
    widening = 1 + (patient.heart - 1) * np.clip((knots[:, 1:] - 0.7) / 0.5, 0, 1)
    return smooth(knots * np.hstack([widening, np.ones_like(widening)]))


def _rib(level: int, patient: _Patient, side: float) -> tuple[Curve, Curve]:
    """Back and front part of one rib: a tilted ring seen from the front, lower at the breastbone than at the spine."""
    reach = patient.width * (0.44, 0.66, 0.8, 0.88, 0.935, 0.97, 0.99, 1.0, 1.0, 0.98)[level]
    drop = patient.rib_drop * (0.26, 0.42, 0.52, 0.6, 0.66, 0.7, 0.72, 0.72, 0.7, 0.66)[level]
    turn = np.linspace(0.008, 0.8, 60) * math.pi
    x = 0.05 + (reach - 0.05) * np.sin(turn) ** 0.9
    y = -0.06 + 0.158 * level + drop * (1 - np.cos(turn)) / 2 - 0.035 * np.sin(2 * turn)
    ring = mirror(np.stack([x, y], axis=1), side)
    return ring[:38], ring[36:]


def frontal(frame: Frame, rng: Generator) -> tuple[Field, Field]:
    """Attenuation and lungs (0 or 1) of a patient seen from the front."""
    patient = _draw_patient(rng)
    heart = frame.fill([_heart(patient)])
    cavities = frame.fill([_lung(patient, side) for side in SIDES], edge=cv2.LINE_8)
    lungs = np.where(frame.fill([_heart(patient)], edge=cv2.LINE_8) > 0.5, np.float32(0), cavities)
    attenuation = _trunk(frame, patient, rng)
    attenuation += 0.35 * frame.blur(frame.dome(heart, 0.5), 0.025)
    attenuation -= 0.7 * patient.depth * _air(frame, lungs, cavities)
    attenuation += _vessels(frame, lungs, rng)
    attenuation += _ribs(frame, patient) * (0.3 + 0.7 * frame.blur(lungs, 0.03))  # through air a rib stands out
    attenuation += _girdle(frame, patient) + _spine(frame)
    attenuation += _airway(frame, rng)
    if patient.effusion:
        level = points((1.2, 1.2), (0.8, 1.42), (0.4, 1.56), (0.0, 1.62), (0.0, 2.2), (1.2, 2.2))
        fluid = frame.fill([mirror(level, patient.effusion)])
        attenuation += 0.5 * frame.blur(fluid, 0.05) * _air(frame, lungs, cavities)
    return attenuation, lungs


def _trunk(frame: Frame, patient: _Patient, rng: Generator) -> Field:
    """Soft tissue without the lungs: trunk, arms, belly, breasts, the air in the stomach."""
    body = frame.fill([_body(patient)])
    tissue = patient.depth * (0.2 * body + 0.8 * frame.blur(frame.dome(body, 1.1), 0.03))
    belly = frame.fill([points((-2, 1.75), (2, 1.75), (2, 4), (-2, 4))])
    tissue += 0.35 * frame.blur(belly, 0.25) * body
    gap = smooth(points((1.22, 0.75), (1.3, 1.1), (1.36, 2.8), (1.31, 2.8), (1.24, 1.2)))  # between arm and trunk
    tissue -= 0.4 * frame.blur(frame.fill([mirror(gap, side) for side in SIDES]), 0.03) * tissue
    breasts = frame.fill([ellipse(0.55 * side, 1.25, 0.42, 0.36) for side in SIDES])
    tissue += patient.breasts * frame.blur(frame.dome(breasts, 0.3), 0.015)
    if patient.stomach:
        bubble = ellipse(rng.uniform(0.35, 0.6), 1.83 + patient.domes[1], rng.uniform(0.12, 0.22), 0.09)
        tissue -= 0.3 * frame.blur(frame.dome(frame.fill([bubble]), 0.1), 0.015)
    return tissue * (1 + 0.02 * frame.mottle(rng, 8, 3))


def _air(frame: Frame, lungs: Field, cavities: Field) -> Field:
    """Depth of air along the ray, 0..1: an edge that is crisp, then a rounding towards the middle."""
    return 0.45 * frame.blur(lungs, 0.009) + 0.55 * frame.blur(frame.dome(cavities, 0.5), 0.02) * lungs


def _ribs(frame: Frame, patient: _Patient) -> Field:
    ribs = [_rib(level, patient, side) for level in range(10) for side in SIDES]
    back = [(rib[0], 0.066, 1.0) for rib in ribs] + [(rib[0], 0.042, 0.68) for rib in ribs]
    # Towards the breastbone a rib turns to cartilage, which hardly shows.
    front = [(rib[1][n : n + 4], 0.07, 1.0 - 0.045 * n) for rib in ribs for n in range(0, len(rib[1]) - 3, 3)]
    return 0.25 * frame.blur(frame.stroke(back), 0.007) + 0.12 * frame.blur(frame.stroke(front), 0.012)


def _girdle(frame: Frame, patient: _Patient) -> Field:
    """Clavicles, shoulder blades and upper arms."""
    attenuation = np.zeros((frame.rows, frame.columns), np.float32)
    lift = patient.shoulder
    collar = smooth(
        points((0.1, 0.26), (0.3, 0.2), (0.55, 0.12), (0.8, 0.02 + lift / 2), (1.05, 0.0 + lift), (1.18, 0.06 + lift)),
        closed=False,
    )
    blade = points(
        (0.86, 0.3), (0.84, 0.6), (0.92, 1.0), (0.98, 1.02), (1.04, 0.7), (1.16, 0.42), (1.22, 0.2), (1.05, 0.12)
    )  # fmt: skip
    arm = points((1.36, 0.28 + lift), (1.45, 0.7), (1.52, 1.3), (1.58, 2.6))
    for side in SIDES:
        bar = [(mirror(collar, side), 0.085, 1.0), (mirror(collar, side), 0.05, 0.65)]
        attenuation += 0.26 * frame.blur(frame.stroke(bar), 0.007)
        attenuation += 0.15 * frame.blur(frame.fill([mirror(smooth(blade), side)]), 0.012)
        shaft = frame.stroke([(mirror(arm, side), 0.15, 1.0), (mirror(arm, side), 0.08, 0.6)])
        head = frame.fill([ellipse(1.33 * side, 0.27 + lift, 0.14, 0.15)])
        attenuation += 0.25 * frame.blur(np.maximum(shaft, head), 0.012)
    return attenuation


def _spine(frame: Frame) -> Field:
    heights = np.arange(-0.8, 2.8, 0.16)
    vertebra = smooth(points((-0.1, -0.055), (0.1, -0.055), (0.095, 0.06), (-0.095, 0.06)))
    bodies = [vertebra + np.array([0.0, y]) for y in heights]
    processes = [ellipse(0.0, y + 0.07, 0.016, 0.05) for y in heights]
    column = frame.stroke([(points((0, -1), (0, 3)), 0.26, 1.0)])
    attenuation: Field = 0.16 * frame.blur(column, 0.03) + 0.1 * frame.blur(frame.fill(bodies), 0.01)
    attenuation += 0.08 * frame.blur(frame.fill(processes), 0.008)
    return attenuation


def _airway(frame: Frame, rng: Generator) -> Field:
    """Trachea and main bronchi: less attenuation."""
    sway = rng.uniform(-0.03, 0.03)
    trachea = smooth(points((0, -0.9), (0, -0.3), (sway, 0.2), (-0.02, 0.62)), closed=False)
    right, left = points((-0.02, 0.6), (-0.2, 0.8)), points((-0.02, 0.6), (0.24, 0.84))
    return -0.3 * frame.blur(frame.stroke([(trachea, 0.12, 1.0), (right, 0.08, 0.8), (left, 0.065, 0.7)]), 0.02)


def _vessels(frame: Frame, lungs: Field, rng: Generator) -> Field:
    """Branching markings from each hilum, fainter outwards, the hila themselves, and the grain of the lung."""
    curves: list[tuple[Curve, float, float]] = []
    for side in SIDES:
        for heading in np.linspace(-1.3, 1.35, 7) + rng.normal(0, 0.12, 7):
            curves += _branch(rng, np.array([0.2 * side, 0.84]), side, float(heading))
    curves.sort(key=lambda curve: curve[1])  # the wide ones on top
    hila = frame.fill([ellipse(s * 0.2, 0.86, 0.09, 0.17) for s in SIDES])
    attenuation: Field = 0.2 * frame.blur(frame.stroke(curves), 0.006) + 0.16 * frame.blur(hila, 0.05)
    attenuation += 0.022 * frame.mottle(rng, 24, 4)
    return attenuation * lungs


def _branch(
    rng: Generator, start: Curve, side: float, heading: float, order: int = 0
) -> list[tuple[Curve, float, float]]:
    """One vessel with the branches from its end, as curves to stroke. heading: radians, 0 outwards, positive down."""
    width = 0.025 * 0.7**order
    length = 0.24 * 0.84**order * rng.uniform(0.7, 1.2)
    angles = heading + np.cumsum(rng.normal(0, 0.12, 4))
    steps = np.stack([side * np.cos(angles), np.sin(angles)], axis=1) * length / 4
    path = np.vstack([start, start + np.cumsum(steps, axis=0)])
    curves = [(path, width, min(1.0, 0.3 + width * 18))]
    if order < VESSEL_ORDERS:
        for spread in (rng.uniform(-0.55, -0.15), rng.uniform(0.15, 0.55)):
            curves += _branch(rng, path[-1], side, float(angles[-1] + spread), order + 1)
    return curves


def lateral(frame: Frame, rng: Generator) -> tuple[Field, Field]:
    """Attenuation and lungs of a patient seen from the side, breastbone on the left, arms raised."""
    depth = rng.uniform(0.9, 1.15)
    skin = points(
        (-0.75, -0.9), (-0.5, -0.35), (-0.45, 0.05), (-0.72, 0.45), (-0.86, 0.9), (-0.88, 1.4), (-0.9, 2.0),
        (-0.9, 2.8), (0.85, 2.8), (0.85, 2.0), (0.98, 1.3), (1.0, 0.7), (0.85, 0.1), (0.75, -0.9),
    )  # fmt: skip
    pleura = points(
        (0.12, 0.02), (-0.2, 0.18), (-0.45, 0.45), (-0.63, 0.85), (-0.68, 1.2), (-0.62, 1.5), (-0.62, 1.5),
        (-0.3, 1.36), (0.05, 1.4), (0.4, 1.6), (0.64, 1.92), (0.64, 1.92), (0.76, 1.5), (0.8, 0.95), (0.7, 0.45),
        (0.45, 0.1),
    )  # fmt: skip
    body = frame.fill([smooth(skin)])
    lungs = frame.fill([smooth(pleura)], edge=cv2.LINE_8)
    ventricles = points((-0.6, 1.5), (-0.55, 1.1), (-0.3, 0.8), (0.0, 0.85), (0.12, 1.2), (0.05, 1.48))
    heart = frame.fill([smooth(ventricles)])
    attenuation = depth * (0.3 * body + 0.9 * frame.blur(frame.dome(body, 0.8), 0.03))
    attenuation -= 0.75 * frame.blur(frame.dome(lungs, 0.45), 0.015) + 0.2 * frame.blur(lungs, 0.006)
    attenuation += 0.35 * frame.blur(frame.dome(heart, 0.3), 0.025)
    attenuation += 0.3 * frame.blur(frame.fill([ellipse(0.35, -0.35, 0.75, 0.42)]), 0.12)  # shoulders
    windpipe = smooth(points((-0.1, -0.9), (0.05, -0.1), (0.16, 0.4), (0.2, 0.75)), closed=False)
    attenuation -= 0.22 * frame.blur(frame.stroke([(windpipe, 0.11, 1.0)]), 0.02)
    attenuation += 0.2 * frame.blur(frame.fill([ellipse(0.15, 0.85, 0.13, 0.17)]), 0.05)  # hila
    spine = smooth(points((0.5, -0.9), (0.52, 0.0), (0.68, 0.6), (0.68, 1.2), (0.55, 2.0), (0.5, 2.8)), closed=False)
    bodies = [ellipse(x, y, 0.11, 0.068)[::5] for x, y in spine[::3]]
    attenuation += 0.12 * frame.blur(frame.stroke([(spine, 0.25, 1.0)]), 0.02)
    attenuation += 0.15 * frame.blur(frame.fill(bodies), 0.012)
    sweep = np.linspace(0, 1, 30)
    ribs = [
        np.stack([0.8 - 1.35 * sweep, y + 0.62 * sweep + 0.12 * np.sin(math.pi * sweep)], axis=1)
        for y in np.arange(-0.1, 1.3, 0.155) + rng.uniform(-0.03, 0.03)
    ]
    bands = frame.blur(frame.stroke([(rib, 0.05, 1.0) for rib in ribs]), 0.012)
    attenuation += 0.15 * bands * (0.3 + 0.7 * frame.blur(lungs, 0.03))
    return np.asarray(attenuation + 0.03 * frame.mottle(rng, 16, 3) * lungs, dtype=np.float32), lungs
