"""Radiographs as they are and after a change at their source, scored once, and what drift watches of each, kept.

Changes: the grey scale inverted; a display window that cuts off the darkest and brightest 15 %; another machine's tone
curve and sharpness; a darker tone curve alone. `other_sources` are real radiographs of other hospitals' machines.
"""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, open_bundle
from edge.drift_signals import Signals, observe
from edge.engines import Engine, open_engine, predict
from edge.errors import NotARadiograph
from edge.imaging.preprocess import preprocess
from edge.imaging.read import read
from edge.phantom import render
from edge.quality import lung_fraction
from edge.values import Decoded, Radiograph, Report, Source
from export.add_gate import rows_to_learn

Grey = NDArray[np.float32]  # [rows, columns], 0..1
_OTHER_SPLITS = ("train", "val", "test_internal", "test_eurorad", "test_mhh_positive_only")
_PHANTOM_SIDE = 512
BUNDLES = {"phantoms": "phantom", "nih": "research"}


def cut_window(grey: Grey) -> Grey:
    low, high = np.percentile(grey, [15, 85])
    return ((grey - low) / max(high - low, 1e-6)).clip(0, 1).astype(np.float32)


def other_machine(grey: Grey) -> Grey:
    return np.asarray(cv2.GaussianBlur(grey**0.6, (0, 0), 1.5), np.float32)


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "plain": lambda grey: grey,
    "inverted": lambda grey: 1 - grey,
    "window": cut_window,
    "machine": other_machine,
    "gamma": lambda grey: (grey**1.8).astype(np.float32),
}


@dataclass(frozen=True)
class Seen:
    """One radiograph of a kind: a change, or `other_sources`."""

    kind: str
    patient: str
    signals: Signals


def seen_nih(data: Path, cache: Path, *, changed: int = 230) -> list[Seen]:
    """The NIH radiographs through the research bundle, `changed` of them after each change too; other sources."""
    bundle = open_bundle(BUNDLES["nih"])

    def pictures() -> Iterator[tuple[str, str, Radiograph]]:
        rows = _rows(data / "nih.csv")
        order = np.random.default_rng(0).permutation(len(rows)).tolist()
        for place, row in enumerate(order):
            radiograph = read((data / rows[row]["path"]).read_bytes())
            for kind in CHANGES if place < changed else ("plain",):
                yield kind, rows[row]["patient_id"], after(kind, radiograph)
        for other in _rows(data / "covid.csv"):
            if other["split"] in _OTHER_SPLITS:
                with contextlib.suppress(NotARadiograph):  # in colour, as published
                    yield "other_sources", other["patient_id"], read((data / other["path"]).read_bytes())

    return _kept(cache / "nih.jsonl", bundle, pictures)


def learned_patients(data: Path) -> set[str]:
    """Those of nih.csv whose radiographs `bundle gate` took the research bundle's levels from."""
    return {row.patient_id for row in rows_to_learn(data / "nih.csv", permitted_only=True, seed=0)}


def seen_phantoms(cache: Path, *, plain: int = 240, changed: int = 80) -> list[Seen]:
    """Phantoms through the phantom bundle."""

    def pictures() -> Iterator[tuple[str, str, Radiograph]]:
        for seed in range(plain):
            phantom = render(500_000 + seed, ("other", "covid")[seed % 2], longest_side=_PHANTOM_SIDE)
            source = Source("0" * 64, "dicom", *phantom.pixels.shape, "0" * 64)
            stretched = phantom.pixels.astype(np.float32)
            stretched = (stretched - stretched.min()) * (65535 / max(float(np.ptp(stretched)), 1.0))
            radiograph = Radiograph(source, stretched.astype(np.uint16))
            for kind in CHANGES if seed < changed else ("plain",):
                yield kind, str(seed), after(kind, radiograph)

    return _kept(cache / "phantoms.jsonl", open_bundle(BUNDLES["phantoms"]), pictures)


def after(kind: str, radiograph: Radiograph) -> Radiograph:
    changed = CHANGES[kind](radiograph.pixels.astype(np.float32) / 65535)
    return replace(radiograph, pixels=np.rint(changed * 65535).astype(np.uint16))


def _kept(path: Path, bundle: Bundle, pictures: Callable[[], Iterator[tuple[str, str, Radiograph]]]) -> list[Seen]:
    """From the file, where there is one."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        engine, reference = open_engine(bundle), bundle.reference().embeddings
        unfinished = path.with_suffix(".part")
        with unfinished.open("w", encoding="utf-8") as lines:
            for kind, patient, radiograph in pictures():
                signals = signals_of(bundle, engine, reference, radiograph)
                lines.write(json.dumps({"kind": kind, "patient": patient, **asdict(signals)}) + "\n")
        engine.close()
        unfinished.rename(path)
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Seen(one.pop("kind"), one.pop("patient"), Signals(**one)) for one in told]


def signals_of(bundle: Bundle, engine: Engine, reference: NDArray[np.float32], radiograph: Radiograph) -> Signals:
    """As on the box, whatever the gates would say: the bundle's limits are not what is measured here."""
    model_input = preprocess(radiograph, bundle.manifest.preprocessing)
    (prediction,) = predict(engine, [model_input])
    fraction = lung_fraction(prediction.lung_mask, model_input.crop, model_input.pixels.shape[-1])
    source = radiograph.source
    report = Report(source.sha256, source.format, bundle.id, source, engine.identity,
                    prediction=prediction, lung_fraction=fraction)  # fmt: skip
    signals = observe(Decoded(source, model_input), report, reference)
    assert signals is not None
    return signals


def _rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))
