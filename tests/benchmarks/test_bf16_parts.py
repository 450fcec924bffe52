"""Recall against the true neighbours, which the figures of bf16 rest on."""

import numpy as np
import pytest

from benchmarks.bf16_parts import recall


def test_recall_is_one_for_the_same_embeddings_and_falls_with_their_neighbours() -> None:
    true = np.arange(8, dtype=np.float32)[:, None].repeat(128, axis=1) ** 2
    assert recall(true, true) == 1
    far = true.copy()
    far[0] = true[7]  # its true neighbours are 1 to 4; as found they are 4 to 7, itself left out
    assert recall(far, true) == pytest.approx((7 + 0.25) / 8)
