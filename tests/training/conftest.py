"""A handful of small phantoms as a training set."""

from pathlib import Path

import pytest
import torch

from training.phantoms import write_training_set


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """On a busy machine torch's threads wait for each other: tiny networks take several times as long with two."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def phantom_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    return write_training_set(folder, {"train": 8, "val": 4, "test": 4}, longest_side=256)
