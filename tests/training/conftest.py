"""A handful of small phantoms as a training set."""

from pathlib import Path

import pytest

from training.phantoms import write_training_set


@pytest.fixture(scope="session")
def phantom_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    return write_training_set(folder, {"train": 8, "val": 4, "test": 4}, longest_side=256)
