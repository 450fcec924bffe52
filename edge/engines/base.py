"""What every engine is: one call from a batch of radiographs to outputs, checked here once for all backends."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge.errors import EngineError, NotFinite
from edge.reference_cases import EMBEDDING_LENGTH
from edge.temperature import apply_temperature
from edge.values import MODEL_INPUT_SIDE, EngineIdentity, ModelInput, Prediction

MAX_BATCH = 8
INPUT_SIDE, MASK_SIDE, EVIDENCE_SIDE, EMBEDDING_SIZE = MODEL_INPUT_SIDE, 256, 32, EMBEDDING_LENGTH
INPUT_NAME = "radiograph"
OUTPUT_NAMES = ("score", "member_scores", "embedding", "lung_mask", "evidence_map")
_ROUNDING = 1e-6  # by which a probability may leave 0..1


@dataclass(frozen=True)
class Outputs:
    """The exported graph's outputs for a batch of N, float32, owned by the caller."""

    score: NDArray[np.float32]  # [N] in 0..1
    member_scores: NDArray[np.float32]  # [N, members] in 0..1
    embedding: NDArray[np.float32]  # [N, 128]
    lung_mask: NDArray[np.float32]  # [N, 1, 256, 256] in 0..1
    evidence_map: NDArray[np.float32]  # [N, 1, 32, 32] in 0..1


class Engine(ABC):
    """A compiled network of one bundle. Not thread-safe: one thread owns it.

    gains_by: of how many radiographs a batch is answered sooner than one after the other.
    """

    gains_by = 1

    def __init__(
        self, identity: EngineIdentity, *, members: tuple[str, ...], preprocessing_digest: str,
        temperature: float | None = None,
    ) -> None:  # fmt: skip
        """temperature: what the bundle sets for this precision; predictions are calibrated by it, outputs are not."""
        self.identity = identity
        self.members = members
        self.preprocessing_digest = preprocessing_digest
        self.temperature = temperature

    def infer(self, batch: NDArray[np.float32]) -> Outputs:
        """Run a batch, float32 [N, 1, 1024, 1024] with N of 1 to 8.

        Raises ValueError for another dtype or shape, and EngineError when the runtime fails or answers nonsense.
        """
        expected = (1, INPUT_SIDE, INPUT_SIDE)
        if batch.dtype != np.float32 or batch.shape[1:] != expected or not 1 <= len(batch) <= MAX_BATCH:
            wanted = f"float32 [1..{MAX_BATCH}, {', '.join(map(str, expected))}]"
            raise ValueError(f"a batch must be {wanted}; it is {batch.dtype} {list(batch.shape)}")
        return self._checked(self._run(batch), len(batch))

    @abstractmethod
    def _run(self, batch: NDArray[np.float32]) -> Outputs: ...

    @abstractmethod
    def close(self) -> None:
        """Free the runtime's memory. The engine answers no more."""

    def _checked(self, outputs: Outputs, count: int) -> Outputs:
        shapes = {
            "score": (count,),
            "member_scores": (count, len(self.members)),
            "embedding": (count, EMBEDDING_SIZE),
            "lung_mask": (count, 1, MASK_SIDE, MASK_SIDE),
            "evidence_map": (count, 1, EVIDENCE_SIDE, EVIDENCE_SIDE),
        }
        clipped = {}
        for name, shape in shapes.items():
            values = getattr(outputs, name)
            if values.shape != shape:
                raise EngineError(f"the engine's {name} is {values.shape}, not {shape}; export the bundle again")
            if not np.isfinite(values).all():
                raise NotFinite(f"the engine's {name} is not finite; no result can be trusted. Run: edge-cxr doctor")
            if name == "embedding":
                continue
            low, high = float(values.min()), float(values.max())
            if low < -_ROUNDING or high > 1 + _ROUNDING:
                raise EngineError(f"the engine's {name} is {low:.4g} to {high:.4g}, not within 0 and 1; no result "
                                  "can be trusted. Run: edge-cxr doctor")  # fmt: skip
            clipped[name] = values.clip(0, 1)
        return replace(outputs, **clipped)


def predict(engine: Engine, inputs: Sequence[ModelInput]) -> list[Prediction]:
    """One Prediction for each ModelInput, in order.

    Raises EngineError when an input was made by another preprocessing than the engine's bundle asks for.
    """
    for model_input in inputs:
        if model_input.preprocessing_digest != engine.preprocessing_digest:
            raise EngineError(
                f"the input was preprocessed as {model_input.preprocessing_digest[:12]}, "
                f"the bundle needs {engine.preprocessing_digest[:12]}; restart the box with its own bundle"
            )
    outputs = engine.infer(np.stack([model_input.pixels for model_input in inputs]))
    return [_prediction(engine, outputs, row) for row in range(len(inputs))]


def _prediction(engine: Engine, outputs: Outputs, row: int) -> Prediction:
    score = float(outputs.score[row])
    return Prediction(
        score=score if engine.temperature is None else float(apply_temperature(score, engine.temperature)),
        calibrated=engine.temperature is not None,
        members=dict(zip(engine.members, map(float, outputs.member_scores[row]), strict=True)),
        embedding=outputs.embedding[row].copy(),
        lung_mask=outputs.lung_mask[row, 0].copy(),
        evidence_map=outputs.evidence_map[row, 0].copy(),
        engine=engine.identity,
    )
