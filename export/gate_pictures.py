"""What the gate is fitted on and judged by: radiographs, the same turned, cut, blanked and inverted, and drawings.

All are asked of the engine that the box will run; only what the gate looks at is kept, and what drift is seen by.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.drift_signals import grey_levels
from edge.engines import Engine, open_engine, predict
from edge.errors import RadiographError
from edge.frontal import small
from edge.imaging.grey import plain_radiograph
from edge.imaging.preprocess import preprocess
from edge.imaging.read import read
from edge.quality import lung_fraction
from edge.values import Radiograph, case_id_of
from export.negatives import DRAWINGS, draw, lateral_phantom
from training.progress import bar
from training.row import Row

FRONTAL = "frontal"
DRAWN = "drawn"
INVERTED = "inverted"
FOLDS = 4
VARIED_EACH = 9  # one of so many radiographs is varied
DRAWINGS_EACH = 48
MORE_OF = {"panoramic": 288}  # to the lung network the likest to a chest
LATERALS = 12  # phantoms from the side
AMONG_PHANTOMS = 12  # times as many, where the frontal chests are phantoms too

Pixels = NDArray[np.uint16]
_Shown = tuple[str, str, Radiograph]  # kind, patient, radiograph


def _noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(0).normal(0, 20_000, pixels.shape)
    return np.clip(pixels + noise, 0, 65535).astype(np.uint16)


def _blank(pixels: Pixels, rows: slice, columns: slice) -> Pixels:
    left = pixels.copy()
    left[rows, columns] = 0
    return left


# A frontal chest spoilt so that nobody should score it. The two of SPOILT may pass: they are counted, not learned.
VARIANTS: dict[str, Callable[[Pixels], Pixels]] = {
    INVERTED: lambda pixels: 65535 - pixels,
    "turned left": np.rot90,
    "turned right": lambda pixels: np.rot90(pixels, 3),
    "upside down": lambda pixels: pixels[::-1, ::-1],
    "one half": lambda pixels: pixels[:, : pixels.shape[1] // 2],
    "upper third": lambda pixels: pixels[: pixels.shape[0] // 3],
    "lower half": lambda pixels: pixels[pixels.shape[0] // 2 :],
    "middle quarter": lambda pixels: pixels[
        pixels.shape[0] // 4 : 3 * pixels.shape[0] // 4, pixels.shape[1] // 4 : 3 * pixels.shape[1] // 4
    ],
    "one half blank": lambda pixels: _blank(pixels, slice(None), slice(pixels.shape[1] // 2)),
    "two thirds blank": lambda pixels: _blank(pixels, slice(pixels.shape[0] // 3, None), slice(None)),
    "nearly black": lambda pixels: np.where(pixels > 60_000, pixels, 0).astype(np.uint16),
    "blurred": lambda pixels: cv2.GaussianBlur(pixels, (0, 0), max(pixels.shape[0] / 25, 0.1)).astype(np.uint16),
    "noisy": _noisy,
}
SPOILT = frozenset({"blurred", "noisy"})


@dataclass(frozen=True)
class Pictured:
    """One picture as the gate sees it. mask, picture: [128, 128] of content alone; the rest as the box measures it.

    kind: frontal, a variant's name, or `drawn` and a drawing's. patient: whose it is; a drawing is one of its own.
    grey: brightness, contrast and lung brightness. case_id: of a radiograph's file, else "".
    """

    kind: str
    patient: str
    mask: NDArray[np.float16]
    picture: NDArray[np.float16]
    lung_fraction: float
    embedding: NDArray[np.float32]
    grey: tuple[float, float, float | None]
    case_id: str = ""

    @property
    def frontal(self) -> bool:
        return self.kind == FRONTAL

    @property
    def fold(self) -> int:
        """One patient's pictures are all in one: what is said of them comes from a rule that never saw the patient."""
        return crc32(self.patient.encode()) % FOLDS


def pictures_of(bundle: Bundle, precision: str, rows: Sequence[Row]) -> list[Pictured]:
    """Radiographs of rows, variants of some, and drawings. Rows that the box cannot read are left out."""
    engine = open_engine(bundle, backend="openvino", precision=precision)
    try:
        laterals = LATERALS * (AMONG_PHANTOMS if bundle.manifest.role == "phantom" else 1)
        shown = (_radiographs(rows), _drawings(), _laterals(laterals))
        return [_pictured(engine, bundle, *each) for each in chain.from_iterable(shown)]
    finally:
        engine.close()


def _radiographs(rows: Sequence[Row]) -> Iterator[_Shown]:
    for number, row in enumerate(bar(rows, "gate: radiographs and variants", total=len(rows))):
        try:
            radiograph = read(row.path.read_bytes())
        except RadiographError:
            continue
        yield FRONTAL, row.cluster, radiograph
        if number % VARIED_EACH == 0:
            for name, vary in VARIANTS.items():
                yield name, row.cluster, _varied(radiograph, vary)


def _drawings() -> Iterator[_Shown]:
    for name in bar(DRAWINGS, "gate: drawings", total=len(DRAWINGS)):
        for number in range(MORE_OF.get(name, DRAWINGS_EACH)):
            yield f"{DRAWN} {name}", f"{name} {number}", draw(name, number)


def _laterals(count: int) -> Iterator[_Shown]:
    for number in bar(range(count), "gate: phantoms from the side", total=count):
        yield f"{DRAWN} phantom from the side", f"lateral phantom {number}", lateral_phantom(number)


def _varied(radiograph: Radiograph, vary: Callable[[Pixels], Pixels]) -> Radiograph:
    varied = np.ascontiguousarray(vary(radiograph.pixels))
    return plain_radiograph(varied, sha256="", format="png", lossy=False)


def _pictured(engine: Engine, bundle: Bundle, kind: str, patient: str, radiograph: Radiograph) -> Pictured:
    model_input = preprocess(radiograph, bundle.manifest.preprocessing)
    (prediction,) = predict(engine, [model_input])
    mask, picture = small(prediction.lung_mask, model_input.pixels, model_input.crop)
    sha256 = radiograph.source.sha256
    return Pictured(
        kind,
        patient,
        mask.astype(np.float16),
        picture.astype(np.float16),
        lung_fraction(prediction.lung_mask, model_input.crop, model_input.pixels.shape[-1]),
        prediction.embedding,
        grey_levels(model_input, prediction),
        case_id_of(sha256) if kind == FRONTAL else "",
    )
