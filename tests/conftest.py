"""Fixtures that many tests share. Files made in memory are in radiograph_files.py, the engine in fake_engine.py."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

REAL_DATA = Path(__file__).parent.parent.parent / "shared" / "data"

# Busy machines are slow, not wrong; and a failing example is printed rather than kept in the working tree.
settings.register_profile("edge-cxr", deadline=None, database=None, print_blob=True)
settings.load_profile("edge-cxr")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real radiographs; its tests carry the marker `real` and skip where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} is not here")
    return REAL_DATA


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_this_machine() -> Iterator[None]:
    """A machine on which the box is installed has a file of its own. Child processes are told too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_CXR_CONFIG", "")
        yield


@pytest.fixture(autouse=True)
def _own_umask() -> None:
    """`watch` sets it for its process, which is here the tests' own."""
    os.umask(0o022)
