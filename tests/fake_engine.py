"""An engine without a network: its score is the mean of the picture, or whatever it is told."""

import numpy as np
from numpy.typing import NDArray

from edge.engines import Engine, Outputs
from edge.values import EngineIdentity


class FakeEngine(Engine):
    def __init__(self, *, score: float | None = None, preprocessing_digest: str = "fake") -> None:
        identity = EngineIdentity("0" * 64, "openvino", "fp32", "fake")
        super().__init__(identity, members=("fake",), preprocessing_digest=preprocessing_digest)
        self._score = score

    def _run(self, batch: NDArray[np.float32]) -> Outputs:
        count = len(batch)
        score = batch.mean(axis=(1, 2, 3)) if self._score is None else np.full(count, self._score, np.float32)
        return Outputs(
            score=score,
            member_scores=score[:, None].copy(),
            embedding=np.repeat(score[:, None], 128, axis=1),
            lung_mask=np.full((count, 1, 256, 256), 0.9, np.float32),
            evidence_map=np.zeros((count, 1, 32, 32), np.float32),
        )

    def close(self) -> None:
        pass
