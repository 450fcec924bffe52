"""Golden cases: phantoms with mid-range scores, one of them MONOCHROME1, and what each precision answers to them.

A score near 0 or 1 hardly moves, whatever is wrong with a network.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from edge.bundle import Bundle
from edge.known_answer import SCORE_TOLERANCE
from edge.phantom import LABELS, Phantom, render
from edge.phantom_dicom import write_dicom
from training.scorers import ask_engine

SEEDS = range(300_000, 300_040)
VARIANTS = ("frontal", "inverted")
SIDE = 512  # pixels
REACH = 4  # tolerances of the known-answer test that the golden scores must span, where phantoms allow
PLACES = (0.25, 0.5, 0.75)  # of the way from the lowest score to the highest
_FILES = (
    ("golden/a.dcm", "MONOCHROME2", JPEGLSLossless),
    ("golden/b.dcm", "MONOCHROME1", JPEG2000Lossless),
    ("golden/c.dcm", "MONOCHROME2", RLELossless),
)


def write_golden(bundle: Bundle, precision: str, out: Path) -> None:
    """Into the folder `golden` of `out`. precision: whose scores choose the phantoms; all that are held answer them.

    A network that has seen patients alone may find all phantoms alike; then inverted ones are among them. Without
    anatomy, phantoms would reach farther, but kernels of other CPUs answer otherwise to them.
    """
    for variants in (VARIANTS[:1], VARIANTS):
        phantoms = [
            render(seed, LABELS[seed % 2], variant=variant, longest_side=SIDE) for variant in variants for seed in SEEDS
        ]
        scores = _scores(bundle, precision, phantoms)
        places = mid_range(scores)
        chosen = [scores[place] for place in places]
        if max(chosen) - min(chosen) > REACH * SCORE_TOLERANCE[precision]:
            break
    for place, (name, photometric, syntax) in zip(places, _FILES, strict=True):
        write_dicom(phantoms[place], out / name, photometric_interpretation=photometric, transfer_syntax=syntax)
    _write_expected(bundle, out)


def mid_range(scores: Sequence[float]) -> list[int]:
    """Where the scores nearest to PLACES stand, none twice, as they rise: no constant network gives all three."""
    lowest, highest = min(scores), max(scores)
    chosen: list[int] = []
    for share in PLACES:
        away = [abs(score - lowest - share * (highest - lowest)) for score in scores]
        chosen.append(min((place for place in range(len(scores)) if place not in chosen), key=away.__getitem__))
    return sorted(chosen, key=scores.__getitem__)


def _write_expected(bundle: Bundle, out: Path) -> None:
    paths = [out / name for name, _, _ in _FILES]
    expected: dict[str, dict[str, dict[str, float]]] = {name: {} for name, _, _ in _FILES}
    for precision in bundle.manifest.precisions:
        for name, answer in zip(expected, ask_engine(bundle, precision, paths), strict=True):
            expected[name][precision] = {"score": answer.prediction.score, "lung_fraction": answer.lung_fraction}
    cases = [{"file": name, "precisions": answers} for name, answers in expected.items()]
    (out / "golden" / "expected.json").write_text(json.dumps({"cases": cases}, indent=1, sort_keys=True) + "\n")


def _scores(bundle: Bundle, precision: str, phantoms: Sequence[Phantom]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{place}.dcm" for place in range(len(phantoms))]
        for phantom, path in zip(phantoms, paths, strict=True):
            write_dicom(phantom, path)
        return [answer.prediction.score for answer in ask_engine(bundle, precision, paths)]
