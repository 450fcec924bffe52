"""Reports and sightings for tests that need no picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from edge.decision import Decision
from edge.values import EngineIdentity, Neighbour, Prediction, Reason, Report, Sighting, Source, Warn

BUNDLE = "b" * 64
ENGINE = EngineIdentity(BUNDLE, "openvino", "int8", "2026.1")


def sha(number: int) -> str:
    return f"{number:064x}"[::-1]


def source(number: int, *, instance: str | None = None, pixels: str = "p" * 64) -> Source:
    return Source(sha(number), "dicom", 30, 20, pixels, "AP", instance_key=instance)


def scored(number: int, *, score: float = 0.75, instance: str | None = None, pixels: str = "p" * 64) -> Report:
    embedding = np.random.default_rng(number).normal(size=128).astype(np.float32)
    mask, evidence = np.full((256, 256), 0.9, np.float32), np.zeros((32, 32), np.float32)
    return Report(
        sha256=sha(number),
        format="dicom",
        bundle_id=BUNDLE,
        source=source(number, instance=instance, pixels=pixels),
        engine=ENGINE,
        warnings=(Warn.LOSSY_SOURCE,),
        prediction=Prediction(score, {"resnet50": score}, embedding, mask, evidence, ENGINE),
        positive=True,
        operating_point=0.5,
        decision=Decision("bundle", 0.5),
        lung_fraction=0.31,
        neighbours=(Neighbour("c" * 16, 0.5, "covid", 0.9),),
        knn_score=0.9,
        knn_label_share=0.75,
        timings_s={"decode": 0.25, "total": 0.5},
    )


def refused(number: int, reason: Reason = Reason.TRUNCATED) -> Report:
    return Report(sha(number), "dicom", BUNDLE, None, ENGINE, reason, "send it again")


def gated(number: int) -> Report:
    """Read, and refused by a gate after the engine."""
    return replace(refused(number, Reason.NO_LUNGS), source=source(number), lung_fraction=0.01)


def sighting_of(path: Path) -> Sighting:
    seen = path.lstat()
    return Sighting(path, seen.st_size, seen.st_mtime_ns, seen.st_ino)
