"""How far an int8 graph's answers lie from its fp32 graph's, both run by OpenVINO as the box runs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from edge.engines.base import OUTPUT_NAMES
from edge.engines.openvino_cpu import COMPILE_OPTIONS
from export.fused import INPUT_NAME
from training.arrays import load
from training.progress import bar
from training.statistics import auc


@dataclass(frozen=True)
class Answers:
    """The graph's outputs over n radiographs."""

    score: NDArray[np.float32]  # [n]
    embedding: NDArray[np.float32]  # [n, 128]
    lung_mask: NDArray[np.float32]  # [n, 256, 256]


@dataclass(frozen=True)
class Parity:
    """radiographs: how many. flipped: scores that cross one half. auc_*: of the labelled ones, None unless of both."""

    radiographs: int
    score_change_max: float
    score_change_mean: float
    flipped: int
    embedding_cosine_min: float
    embedding_cosine_mean: float
    lung_dice_min: float
    lung_dice_mean: float
    auc_before: float | None
    auc_after: float | None


def run_graph(graph: Path, kept: Sequence[Path]) -> Answers:
    """Ask a graph about cached arrays, one radiograph at a time."""
    request = openvino.Core().compile_model(str(graph), "CPU", COMPILE_OPTIONS).create_infer_request()
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in OUTPUT_NAMES}
    for path in bar(kept, graph.name, total=len(kept)):
        pixels = load(path).pixels[None, None].astype(np.float32) / np.float32(255)
        request.infer({INPUT_NAME: pixels})
        for name in OUTPUT_NAMES:
            rows[name].append(np.array(request.get_tensor(name).data[0]))
    return Answers(np.stack(rows["score"]), np.stack(rows["embedding"]), np.stack(rows["lung_mask"])[:, 0])


def compare(before: Answers, after: Answers, positive: Sequence[bool]) -> Parity:
    """positive: the labels of the first radiographs, those of one task; AUC is of them alone."""
    change = np.abs(before.score - after.score)
    cosine = _cosine(before.embedding, after.embedding)
    dice = _dice(before.lung_mask > 0.5, after.lung_mask > 0.5)
    return Parity(
        radiographs=len(change),
        score_change_max=float(change.max()),
        score_change_mean=float(change.mean()),
        flipped=int(((before.score >= 0.5) != (after.score >= 0.5)).sum()),
        embedding_cosine_min=float(cosine.min()),
        embedding_cosine_mean=float(cosine.mean()),
        lung_dice_min=float(dice.min()),
        lung_dice_mean=float(dice.mean()),
        auc_before=_auc(before.score, positive),
        auc_after=_auc(after.score, positive),
    )


def _auc(scores: NDArray[np.float32], positive: Sequence[bool]) -> float | None:
    return auc(list(scores[: len(positive)]), positive) if len(set(positive)) == 2 else None


def _cosine(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return (left * right).sum(axis=1) / np.maximum(norms, 1e-12)


def _dice(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    overlap = (left & right).sum(axis=(1, 2))
    return 2 * overlap / np.maximum(left.sum(axis=(1, 2)) + right.sum(axis=(1, 2)), 1)
