"""A bundle's labelled reference cases: the arrays of reference.npz, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

EMBEDDING_LENGTH = 128
_PATIENT_KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """The labelled reference cases. embeddings: float32 [cases, 128]; origins tell how a phantom can be redrawn.

    patients: each one's key, hashed with a site's key as on its box, or "" where none is known.
    """

    embeddings: NDArray[np.float32]
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    case_ids: tuple[str, ...]
    origins: tuple[str, ...]
    patients: tuple[str, ...] = field(repr=False)


def reference_of(arrays: Mapping[str, NDArray[Any]]) -> Reference:
    """Raises ValueError when they are not what they should be, KeyError when one is missing."""
    embeddings, scores = arrays["embeddings"].astype(np.float32), arrays["scores"]
    shapes = {name: arrays[name].shape for name in ("embeddings", "labels", "scores", "case_ids", "origins")}
    cases = len(embeddings)
    if shapes.pop("embeddings") != (cases, EMBEDDING_LENGTH) or set(shapes.values()) != {(cases,)}:
        raise ValueError(f"embeddings are {list(embeddings.shape)}, and for each case one of {shapes}")
    if not np.isfinite(embeddings).all() or not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("an embedding is not finite, or a score not within 0 and 1")
    patients = tuple(map(str, arrays["patients"])) if "patients" in arrays else ("",) * cases  # older ones have none
    if len(patients) != cases or not all(patient == "" or is_patient_key(patient) for patient in patients):
        raise ValueError(f"patients are no {cases} keys of 64 hexadecimal digits, or empty where none is known")
    return Reference(
        embeddings=embeddings,
        labels=tuple(map(str, arrays["labels"])),
        scores=tuple(map(float, scores)),
        case_ids=tuple(map(str, arrays["case_ids"])),
        origins=tuple(map(str, arrays["origins"])),
        patients=patients,
    )


def is_patient_key(text: str) -> bool:
    """Whether it has the form of Source.patient_key; an identifier as a hospital writes it has not."""
    return _PATIENT_KEY.fullmatch(text) is not None
