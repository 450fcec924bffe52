"""The bundle that the doctor's tests look at, made once."""

from pathlib import Path

import pytest
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="package")
def bundle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
