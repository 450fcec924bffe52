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
        return mean_of(batch) if self._score is None else outputs_of(np.full(len(batch), self._score, np.float32))

    def close(self) -> None:
        pass


def outputs_of(score: NDArray[np.float32]) -> Outputs:
    """Answers with these scores [N]; all else follows from them."""
    count = len(score)
    return Outputs(
        score=score,
        member_scores=score[:, None].copy(),
        embedding=np.repeat(score[:, None], 128, axis=1),
        lung_mask=np.full((count, 1, 256, 256), 0.9, np.float32),
        evidence_map=np.zeros((count, 1, 32, 32), np.float32),
    )


def mean_of(batch: NDArray[np.float32]) -> Outputs:
    """What FakeEngine answers unless told: the mean of each picture."""
    return outputs_of(batch.mean(axis=(1, 2, 3)))
