"""How far one engine's answers lie from another's: scores, decisions, embeddings and lung masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.engines.base import OUTPUT_NAMES, Outputs
from edge.imaging.grey import integer_levels, plain_radiograph
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.phantom import LABELS, render

DECISION = 0.5
FIRST_SEED = 900_000  # phantoms that nothing was trained on


@dataclass(frozen=True)
class Parity:
    """radiographs: how many. flipped: scores that cross one half."""

    radiographs: int
    score_change_max: float
    score_change_mean: float
    flipped: int
    embedding_cosine_min: float
    embedding_cosine_mean: float
    lung_dice_min: float
    lung_dice_mean: float


def compare(reference: Outputs, other: Outputs) -> Parity:
    change = np.abs(reference.score - other.score)
    cosine = _cosine(reference.embedding, other.embedding)
    dice = _dice(reference.lung_mask > 0.5, other.lung_mask > 0.5)
    return Parity(
        radiographs=len(change),
        score_change_max=float(change.max()),
        score_change_mean=float(change.mean()),
        flipped=int(((reference.score >= DECISION) != (other.score >= DECISION)).sum()),
        embedding_cosine_min=float(cosine.min()),
        embedding_cosine_mean=float(cosine.mean()),
        lung_dice_min=float(dice.min()),
        lung_dice_mean=float(dice.mean()),
    )


def phantom_inputs(framing: str, count: int) -> NDArray[np.float32]:
    """Phantoms of both labels as the box standardises them, float32 [count, 1, 1024, 1024]."""
    inputs = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        levels = integer_levels(render(seed, LABELS[seed % 2]).pixels)
        radiograph = plain_radiograph(levels, sha256="", format="png", lossy=False)
        inputs.append(preprocess(radiograph, Preprocessing(framing=framing)).pixels)
    return np.stack(inputs)


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The answers of several batches as if they were one."""
    return Outputs(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in OUTPUT_NAMES})


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.where(norms > 0, (left * right).sum(axis=1) / np.maximum(norms, 1e-12), (left == right).all(axis=1))


def _dice(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 where both are empty: they agree."""
    axes = tuple(range(1, left.ndim))
    total = left.sum(axis=axes) + right.sum(axis=axes)
    return np.where(total > 0, 2 * (left & right).sum(axis=axes) / np.maximum(total, 1), 1.0)
