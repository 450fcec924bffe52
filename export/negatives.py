"""Drawn pictures that are no frontal chest: what the gate learns to refuse besides radiographs turned, cut and blanked.

Each drawing takes a generator and gives float32 [384, 384], bright = dense. None is copied from a patient.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from edge.imaging.grey import integer_levels, plain_radiograph
from edge.phantom import LABELS, render
from edge.values import Radiograph

SIDE = 384  # pixels
LATERAL_SEEDS = 400_000  # and on; training, golden cases, demo and tests have others
Drawing = NDArray[np.float32]


def ct_slice(rng: Generator) -> Drawing:
    """An axial slice: two lungs in an oval body, the spine below; the likest to a frontal chest."""
    drawn = _empty()
    x, y = SIDE / 2 + rng.normal(0, 8, 2)
    wide, high = rng.uniform(0.38, 0.5) * SIDE, rng.uniform(0.26, 0.4) * SIDE
    _ellipse(drawn, (x, y), (wide, high), rng.normal(0, 4), 0.55)
    _ellipse(drawn, (x, y), (wide * 0.93, high * 0.9), 0, 0.5)
    air = rng.uniform(0.03, 0.15)
    for side in (-1, 1):
        centre = x + side * wide * rng.uniform(0.4, 0.5), y - high * 0.05 + rng.normal(0, 5)
        _ellipse(drawn, centre, (wide * rng.uniform(0.3, 0.42), high * rng.uniform(0.5, 0.78)),
                 side * rng.uniform(-20, 20), air)  # fmt: skip
    heart = wide * rng.uniform(0.15, 0.3), high * rng.uniform(0.2, 0.4)
    _ellipse(drawn, (x - wide * 0.08, y - high * 0.1), heart, 20, 0.6)
    _ellipse(drawn, (x, y + high * 0.62), (wide * 0.1, high * 0.16), 0, 0.95)
    for turn in rng.uniform(0, 2 * np.pi, 10):  # ribs, cut across
        rib = x + wide * 0.85 * np.cos(turn), y + high * 0.85 * np.sin(turn)
        _ellipse(drawn, rib, (wide * 0.07, high * 0.04), np.degrees(turn) + 90, 0.9)
    for _ in range(rng.integers(5, 40)):  # vessels
        _ellipse(drawn, (x + rng.normal(0, wide * 0.45), y + rng.normal(0, high * 0.35)), rng.uniform(1, 5, 2), 0, 0.5)
    if rng.random() < 0.5:
        table = int(y + high * 1.05)
        cv2.line(drawn, (20, table), (SIDE - 20, table), 0.3, 2)
    return _finished(drawn, rng, blur=rng.uniform(0.5, 2), grain=0.03)


def limb(rng: Generator) -> Drawing:
    drawn = _empty()
    turn, width = rng.uniform(0, 180), rng.uniform(0.15, 0.4) * SIDE
    centre = SIDE / 2 + rng.normal(0, 30, 2)
    _ellipse(drawn, centre, (SIDE * 0.9, width), turn, 0.4)
    across = np.array([np.cos(np.radians(turn + 90)), np.sin(np.radians(turn + 90))])
    for _ in range(rng.integers(1, 4)):
        bone, thick = centre + rng.normal(0, width * 0.35) * across, width * rng.uniform(0.1, 0.3)
        _ellipse(drawn, bone, (SIDE * rng.uniform(0.3, 0.9), thick), turn + rng.normal(0, 5), 0.85)
        _ellipse(drawn, bone, (SIDE * 0.8, thick * 0.5), turn, 0.65)
    return _finished(drawn, rng, blur=rng.uniform(1, 3), grain=0.04)


def teeth(rng: Generator) -> Drawing:
    """Two rows of a few teeth, as inside the mouth."""
    drawn = np.full_like(_empty(), rng.uniform(0.1, 0.4))
    count = int(rng.integers(3, 9))
    for row in (0.3, 0.7):
        for tooth in range(count):
            centre = (tooth + 0.5) * SIDE / count + rng.normal(0, 4), (row + rng.normal(0, 0.04)) * SIDE
            _tooth(drawn, rng, centre, (SIDE / count * 0.42, SIDE * rng.uniform(0.12, 0.26)), rng.normal(0, 8))
    return _finished(drawn, rng, blur=rng.uniform(1, 3), grain=0.06)


def panoramic(rng: Generator) -> Drawing:
    """A jaw unrolled: a smile of teeth below a dark arc, bright rami, the spine's shadow in the middle, often a black
    band above.
    """
    drawn = np.full_like(_empty(), rng.uniform(0.35, 0.6))
    top = max(rng.uniform(-0.1, 0.3), 0) * SIDE
    middle, x = top + (SIDE - top) * rng.uniform(0.5, 0.62), SIDE / 2 + rng.normal(0, 8)
    wide, high = SIDE * rng.uniform(0.85, 1.1), (SIDE - top) * rng.uniform(0.9, 1.2)
    for side in (-1, 1):  # air beside the neck, sinus, cheek bone, ramus
        _ellipse(drawn, (x + side * wide * 0.45, middle + high * 0.3), (wide * 0.12, high * 0.3), 0,
                 rng.uniform(0.1, 0.35))  # fmt: skip
        _ellipse(drawn, (x + side * wide * 0.16, middle - high * 0.28), (wide * 0.1, high * 0.08), side * 10,
                 rng.uniform(0.15, 0.4))  # fmt: skip
        _ellipse(drawn, (x + side * wide * 0.28, middle - high * 0.22), (wide * 0.13, high * 0.04), side * 25,
                 rng.uniform(0.6, 0.85))  # fmt: skip
        _ellipse(drawn, (x + side * wide * 0.36, middle), (wide * 0.06, high * 0.26), side * 25,
                 rng.uniform(0.5, 0.8))  # fmt: skip
    sag = rng.uniform(0.04, 0.18) * high
    _arc(drawn, (x, middle + high * 0.06), (wide * 0.36, sag + high * 0.12), rng.uniform(0.5, 0.75), SIDE // 8)
    _arc(drawn, (x, middle - high * 0.08), (wide * 0.3, sag), rng.uniform(0.05, 0.25), int(rng.uniform(12, 45)))
    cv2.rectangle(drawn, (int(x - wide * 0.05), 0), (int(x + wide * 0.05), SIDE), rng.uniform(0.6, 0.85), -1)
    count = int(rng.integers(10, 17))
    for row in (-1, 1):
        for place in np.linspace(-1, 1, count):
            centre = x + place * wide * 0.25, middle + sag * (1 - place**2) * 0.8 + row * high * 0.07
            _tooth(drawn, rng, centre, (wide / count * 0.26, high * rng.uniform(0.06, 0.1)), place * 20)
    drawn[: int(top)] = 0
    return _finished(drawn, rng, blur=rng.uniform(1, 3), grain=0.04)


def skull(rng: Generator) -> Drawing:
    drawn, centre = _empty(), (SIDE / 2, SIDE / 2)
    wide, high = rng.uniform(0.3, 0.45) * SIDE, rng.uniform(0.35, 0.48) * SIDE
    _ellipse(drawn, centre, (wide, high), rng.normal(0, 10), 0.9)
    _ellipse(drawn, centre, (wide * 0.93, high * 0.94), 0, 0.5)
    for side in (-1, 1):
        orbit = centre[0] + side * wide * 0.4, centre[1] + high * 0.1
        _ellipse(drawn, orbit, (wide * 0.25, high * 0.15), 0, rng.uniform(0.2, 0.4))
    _ellipse(drawn, (centre[0], centre[1] + high * 0.35), (wide * 0.12, high * 0.2), 0, 0.25)
    return _finished(drawn, rng, blur=2, grain=0.05)


def belly(rng: Generator) -> Drawing:
    drawn = np.full_like(_empty(), 0.5)
    _ellipse(drawn, (SIDE / 2, SIDE / 2), (SIDE * 0.55, SIDE * 0.7), 0, 0.55)
    cv2.rectangle(drawn, (int(SIDE * 0.45), 0), (int(SIDE * 0.55), SIDE), 0.8, -1)
    for _ in range(rng.integers(4, 25)):  # gas
        size = rng.uniform(8, 45), rng.uniform(8, 35)
        _ellipse(drawn, rng.uniform(0, SIDE, 2), size, rng.uniform(0, 180), rng.uniform(0.1, 0.35))
    if rng.random() < 0.6:  # the pelvis
        for side in (-1, 1):
            _ellipse(drawn, (SIDE / 2 + side * SIDE * 0.3, SIDE * 0.8), (SIDE * 0.2, SIDE * 0.16), side * 30, 0.8)
            _ellipse(drawn, (SIDE / 2 + side * SIDE * 0.25, SIDE * 0.95), (SIDE * 0.06, SIDE * 0.06), 0, 0.9)
    return _finished(drawn, rng, blur=2.5, grain=0.06)


def lateral(rng: Generator) -> Drawing:
    """A chest from the side: one lung field, the heart before it, the spine behind."""
    drawn = _empty()
    _ellipse(drawn, (SIDE * 0.5, SIDE * 0.5), (SIDE * 0.42, SIDE * 0.55), rng.normal(0, 6), 0.55)
    lung = SIDE * (0.45 + rng.normal(0, 0.03)), SIDE * 0.45
    size = SIDE * rng.uniform(0.2, 0.3), SIDE * rng.uniform(0.28, 0.38)
    _ellipse(drawn, lung, size, rng.normal(0, 15), 0.2)
    _ellipse(drawn, (SIDE * 0.38, SIDE * 0.55), (SIDE * 0.14, SIDE * 0.17), 20, 0.65)
    for vertebra in range(9):
        place = SIDE * (0.7 + 0.03 * np.sin(vertebra)), SIDE * (0.1 + vertebra * 0.09)
        _ellipse(drawn, place, (SIDE * 0.05, SIDE * 0.035), 10, 0.8)
    _ellipse(drawn, (SIDE * 0.45, SIDE * 0.85), (SIDE * 0.35, SIDE * 0.12), -10, 0.7)
    return _finished(drawn, rng, blur=3, grain=0.05)


def polygons(rng: Generator) -> Drawing:
    """Edges and even areas, as a photograph has them."""
    drawn = _empty()
    for _ in range(rng.integers(5, 40)):
        corners = rng.random((rng.integers(3, 7), 2)) * SIDE * rng.uniform(0.2, 1) + rng.random(2) * SIDE * 0.6
        cv2.fillPoly(drawn, [corners.astype(np.int32)], float(rng.random()))
    return _finished(drawn, rng, blur=rng.uniform(0.5, 3), grain=rng.uniform(0.01, 0.1))


def noise(rng: Generator) -> Drawing:
    return rng.random((SIDE, SIDE)).astype(np.float32)


def cloud(rng: Generator) -> Drawing:
    return _clouds(rng, coarsest=int(rng.integers(1, 4)), fade=1.0)


DRAWINGS: dict[str, Callable[[Generator], Drawing]] = {
    "ct_slice": ct_slice,
    "limb": limb,
    "teeth": teeth,
    "panoramic": panoramic,
    "skull": skull,
    "belly": belly,
    "lateral": lateral,
    "polygons": polygons,
    "noise": noise,
    "cloud": cloud,
}


def draw(name: str, number: int) -> Radiograph:
    """The drawing `name` with its own seed, as if it had been read from a file."""
    seed = [number, *name.encode()]
    drawn = DRAWINGS[name](np.random.default_rng(seed))
    low, high = float(drawn.min()), float(drawn.max())
    levels = ((drawn - low) / (high - low) * 65535).astype(np.uint16)
    return plain_radiograph(levels, sha256="", format="png", lossy=False)


def lateral_phantom(number: int) -> Radiograph:
    """A phantom from the side: of all that is drawn the likest to a lateral view."""
    seed = LATERAL_SEEDS + number
    phantom = render(seed, LABELS[seed % 2], variant="lateral", longest_side=512)
    return plain_radiograph(integer_levels(phantom.pixels), sha256="", format="png", lossy=False)


def _empty() -> Drawing:
    return np.zeros((SIDE, SIDE), np.float32)


def _ellipse(drawn: Drawing, centre: object, axes: object, degrees: float, level: float) -> None:
    x, y = (int(part) for part in np.asarray(centre))
    wide, high = (max(int(part), 1) for part in np.asarray(axes))
    cv2.ellipse(drawn, (x, y), (wide, high), float(degrees), 0, 360, float(level), -1)


def _arc(drawn: Drawing, centre: tuple[float, float], axes: tuple[float, float], level: float, thick: int) -> None:
    """The lower half of an ellipse's line."""
    x, y = int(centre[0]), int(centre[1])
    cv2.ellipse(drawn, (x, y), (int(axes[0]), int(axes[1])), 0.0, 0, 180, float(level), thick)


def _tooth(
    drawn: Drawing, rng: Generator, centre: tuple[float, float], axes: tuple[float, float], degrees: float
) -> None:
    wide, high = axes
    _ellipse(drawn, centre, axes, degrees, rng.uniform(0.6, 0.9))
    _ellipse(drawn, centre, (wide * 0.2, high * 0.6), degrees, 0.4)
    if rng.random() < 0.2:  # a filling
        _ellipse(drawn, centre, (wide * 0.5, high * 0.25), 0, 1)


def _clouds(rng: Generator, *, coarsest: int, fade: float) -> Drawing:
    """Noise of every scale, the fine fainter by `fade`, of mean 0 and deviation 1."""
    drawn = _empty()
    for scale in range(coarsest, 9):
        cells = rng.random((2**scale, 2**scale)).astype(np.float32)
        drawn += cv2.resize(cells, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) / 2 ** (scale * fade)
    return (drawn - drawn.mean()) / drawn.std()


def _finished(drawn: Drawing, rng: Generator, *, blur: float, grain: float) -> Drawing:
    return cv2.GaussianBlur(drawn, (0, 0), blur) + np.float32(grain) * _clouds(rng, coarsest=2, fade=0.7)
