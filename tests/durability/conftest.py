"""The short forms of the proof that nothing is lost; `make durability` runs the long ones."""

import pytest

from benchmarks.durability.strace import is_installed


@pytest.fixture(scope="session")
def strace_here() -> None:
    """Proofs that watch and break system calls."""
    if not is_installed():
        pytest.skip("strace is not installed")
