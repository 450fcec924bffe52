"""Synthetic chest radiographs for the demo and the tests, drawn whole from a seed; no patient is behind any of them.

Findings, devices, acquisition and exposure; exposure, borders, text and tubes know nothing of the label. The patient is
drawn by phantom_anatomy.py, the files are written by phantom_dicom.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge.phantom_anatomy import frontal, lateral
from edge.phantom_frame import SIDES, Curve, Field, Frame, ellipse, mirror, points, smooth, to_field

LABELS = ("other", "covid")
VARIANTS = ("frontal", "lateral", "blank", "inverted")
MAX_GREY = 4095  # 12 bits

# One stream of chance per concern, so that a finding cannot move a border nor a longer side move a rib.
_ANATOMY, _FINDINGS, _ACQUISITION, _DEVICES, _NOISE = range(5)


@dataclass(frozen=True)
class Phantom:
    """pixels: uint16 [rows, columns], 0..4095, bright = dense (MONOCHROME2). lung_mask: bool [rows, columns], exact."""

    seed: int
    label: str
    variant: str
    pixels: NDArray[np.uint16]
    lung_mask: NDArray[np.bool_]


@dataclass(frozen=True)
class _Acquisition:
    """What the room chose: where the body lies, exposure and processing. level, width: of the display curve."""

    frame: Frame
    level: float
    width: float
    scatter: float
    noise: float
    collimation: Curve | None  # four corners in body units
    text: tuple[tuple[str, float, float, float], ...]  # words, x and y as a share of the radiograph, height in 1/1000


def render(seed: int, label: str, *, variant: str = "frontal", longest_side: int = 1024) -> Phantom:
    """Draw one phantom. The same arguments and library versions give the same bytes.

    longest_side: pixels; another one shows the same anatomy, findings and devices, with noise of its own.
    Raises ValueError for a label or variant that does not exist.
    """
    for what, seen, allowed in (("label", label, LABELS), ("variant", variant, VARIANTS)):
        if seen not in allowed:
            raise ValueError(f"no phantom has the {what} {seen!r}. Use one of: {', '.join(allowed)}")
    acquisition = _acquire(_stream(seed, _ACQUISITION), longest_side)
    frame = acquisition.frame
    if variant == "blank":
        attenuation, lungs = np.zeros((frame.rows, frame.columns), np.float32), frame.fill([])
    elif variant == "lateral":
        attenuation, lungs = lateral(frame, _stream(seed, _ANATOMY))
    else:
        attenuation, lungs = frontal(frame, _stream(seed, _ANATOMY))
    # Scatter comes before the findings: it would carry the label out of the lungs.
    attenuation += acquisition.scatter * (frame.blur(attenuation, 0.3) - attenuation)
    if lungs.any():
        attenuation += _findings(frame, lungs, label, _stream(seed, _FINDINGS))
        attenuation += _devices(frame, _stream(seed, _DEVICES))
    pixels = _expose(attenuation, acquisition, _stream(seed, _NOISE))
    if variant == "inverted":
        pixels = (MAX_GREY - pixels).astype(np.uint16)
    return Phantom(seed, label, variant, pixels, lungs > 0.5)


def _stream(seed: int, concern: int) -> Generator:
    return np.random.default_rng([seed, concern])


def _findings(frame: Frame, lungs: Field, label: str, rng: Generator) -> Field:
    """covid: patches in the outer and lower parts of both lungs. other: none, one focus, or haze around both hila."""
    texture = frame.mottle(rng, 10, 4)
    strength = 0.14 + 0.3 * rng.beta(1.6, 2.0)
    chance, side = rng.random(), int(rng.choice([-1, 1]))
    if label == "covid":
        low, high = rng.integers(3, 7, 2), rng.integers(0, 3, 2)  # patches per side
        patches = [_patch(rng, s, (0.55, 0.9), (0.85, 1.6), (0.1, 0.26)) for s in np.repeat(SIDES, low)]
        patches += [_patch(rng, s, (0.35, 0.85), (0.3, 1.3), (0.06, 0.16)) for s in np.repeat(SIDES, high)]
    elif chance < 0.3:
        patches = [_patch(rng, side, (0.35, 0.8), (0.3, 1.45), (0.1, 0.3))]
    elif chance < 0.45:
        patches = [_patch(rng, s, (0.2, 0.4), (0.7, 1.1), (0.15, 0.28)) for s in SIDES for _ in range(2)]
    else:
        return np.zeros_like(lungs)
    cloud = frame.blur(frame.fill(patches), 0.07) * 1.3 + 0.22 * texture
    shade = 1 / (1 + np.exp(-7 * (cloud - 0.55)))
    shade *= np.clip(frame.blur(frame.fill(patches), 0.1) * 2, 0, 1)
    # Fluid takes the place of air, so there is none where the lung tapers off.
    return np.asarray(strength * shade * lungs * frame.blur(frame.dome(lungs, 0.15), 0.02), dtype=np.float32)


def _patch(
    rng: Generator, side: float, x: tuple[float, float], y: tuple[float, float], radius: tuple[float, float]
) -> Curve:
    """An irregular outline around a point drawn from the ranges."""
    size = rng.uniform(*radius)
    wobble = ellipse(0, 0, size, size * rng.uniform(0.8, 1.5))[::5] * rng.uniform(0.7, 1.25, (8, 1))
    return mirror(smooth(wobble) + np.array([rng.uniform(*x), rng.uniform(*y)]), side)


def _devices(frame: Frame, rng: Generator) -> Field:
    """Tubes and lines of intensive care, each there or not by chance."""
    thin: list[tuple[Curve, float, float]] = []
    discs: list[Curve] = []
    if rng.random() < 0.3:  # endotracheal tube: two walls
        tip = rng.uniform(0.35, 0.55)
        thin += [(points((x, -0.9), (x, 0.0), (x * 0.9, tip)), 0.012, 1.0) for x in (-0.035, 0.03)]
    if rng.random() < 0.25:  # gastric tube
        way = points((0.05, -0.9), (0.03, 0.3), (0.0, 1.0), (0.08, 1.6), (0.3, 1.9), (0.35, 2.3))
        thin.append((smooth(way, closed=False), 0.012, 0.6))
    if rng.random() < 0.25:  # central venous line
        way = points((-0.45, -0.35), (-0.36, 0.0), (-0.26, 0.25), (-0.13, 0.5), (-0.12, rng.uniform(0.7, 0.95)))
        thin.append((smooth(way, closed=False), 0.014, 0.8))
    for _ in range(int(rng.integers(1, 4)) if rng.random() < 0.35 else 0):  # leads and their electrodes
        end = rng.uniform((-0.9, 0.2), (0.9, 1.5))
        way = np.vstack([rng.uniform((-1.4, -0.4), (1.4, -0.2)), rng.uniform((-1.0, 0.2), (1.0, 0.9)), end])
        thin.append((smooth(way, closed=False), 0.009, 0.7))
        discs.append(ellipse(end[0], end[1], 0.035, 0.035))
    return 0.35 * frame.blur(np.maximum(frame.stroke(thin), frame.fill(discs, grey=0.8)), 0.002)


def _acquire(rng: Generator, longest_side: int) -> _Acquisition:
    """Size, pose, exposure, borders and words."""
    aspect = rng.uniform(0.82, 1.22)  # columns over rows
    rows = round(longest_side / max(1.0, aspect))
    columns = round(longest_side * min(1.0, aspect))
    half_width, above, below = rng.uniform(1.1, 1.45), rng.uniform(0.12, 0.45), rng.uniform(1.98, 2.3)
    collimated = rng.random() < 0.35
    room = 1.1 if collimated else 1.0
    unit = min(columns / (2 * half_width), rows / (above + below)) / room
    turn = math.radians(rng.normal(0, 2.0))
    rotation = unit * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    middle = np.array([rng.uniform(-0.05, 0.05), (below - above) / 2])
    offset = np.array([columns, rows]) / 2 - rotation @ middle
    frame = Frame(rows, columns, unit, np.hstack([rotation, offset[:, None]]))
    tilt = rng.uniform(-0.02, 0.02)
    right, left = -half_width + rng.uniform(-0.05, 0.05), half_width + rng.uniform(-0.05, 0.05)
    corners = points((right, -above + tilt), (left, -above - tilt), (left, below - tilt), (right, below + tilt))
    return _Acquisition(
        frame,
        level=rng.uniform(0.75, 1.0),
        width=rng.uniform(0.27, 0.4),
        scatter=rng.uniform(0.05, 0.2),
        noise=rng.uniform(0.006, 0.02),
        collimation=corners if collimated else None,
        text=_text(rng),
    )


def _text(rng: Generator) -> tuple[tuple[str, float, float, float], ...]:
    words = [("R", rng.uniform(0.03, 0.06), rng.uniform(0.07, 0.2), rng.uniform(30, 50))]
    if rng.random() < 0.5:
        words = [("L", rng.uniform(0.9, 0.94), rng.uniform(0.07, 0.2), rng.uniform(30, 50))]
    if rng.random() < 0.4:
        line = str(rng.choice(["AP PORTABLE", "AP SUPINE", "PORTABLE 07:30", "AP ERECT"]))
        words.append((line, rng.uniform(0.6, 0.72), rng.uniform(0.04, 0.06), rng.uniform(16, 24)))
    return tuple(words)


def _expose(attenuation: Field, acquisition: _Acquisition, rng: Generator) -> NDArray[np.uint16]:
    """From attenuation to grey: quantum noise (more behind more tissue), display curve, borders, text."""
    frame = acquisition.frame
    quanta = rng.standard_normal(attenuation.shape, dtype=np.float32)
    noise = acquisition.noise * cv2.GaussianBlur(quanta, (0, 0), 0.7)
    noisy = attenuation + noise * np.exp(0.6 * np.clip(attenuation, 0, 2))
    grey = 1 / (1 + np.exp((acquisition.level - noisy) / acquisition.width))
    floor = 1 / (1 + math.exp(acquisition.level / acquisition.width))
    grey = np.clip(0.02 + 0.95 * (grey - floor) / (1 - floor), 0, 1)
    if acquisition.collimation is not None:
        grey *= frame.fill([acquisition.collimation])
    grey = np.maximum(grey, _burn(frame, acquisition.text))
    return np.asarray(np.rint(grey * MAX_GREY), dtype=np.uint16)


def _burn(frame: Frame, text: Sequence[tuple[str, float, float, float]]) -> Field:
    """The words alone, 0..1."""
    layer = np.zeros((frame.rows, frame.columns), np.uint8)
    longest = max(frame.rows, frame.columns)
    for words, x, y, height in text:
        scale = height * longest / 1000 / 22  # a capital is 22 pixels high at scale 1
        place = (round(x * frame.columns), round(y * frame.rows))
        cv2.putText(layer, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 240, max(1, round(scale * 2)), cv2.LINE_AA)
    return to_field(layer)
