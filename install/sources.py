"""What of a checkout makes up the wheel of edge-cxr itself, built alike each time from the same files."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from install.errors import InstallError

_TAKEN = ("pyproject.toml", "README.md", "LICENSE", "edge", "training", "export", "calib", "benchmarks")
_LEFT = shutil.ignore_patterns("__pycache__", "*.pyc", "results")
_EPOCH = "315532800"  # 1980: the same files make the same wheel, to the last byte


def build_wheel(checkout: Path, python: Path, scratch: Path, out: Path) -> Path:
    """From a copy: a checkout may hold a build/ folder with modules that are gone. Returns the wheel.

    Raises InstallError when it cannot be built.
    """
    copy = scratch / "source"
    copy.mkdir()
    for name in _TAKEN:
        found = checkout / name
        if found.is_dir():
            shutil.copytree(found, copy / name, ignore=_LEFT)
        elif found.exists():
            shutil.copy(found, copy / name)
    for path in copy.rglob("*"):  # whatever umask the checkout was made with
        path.chmod(0o755 if path.is_dir() else 0o644)
    built = scratch / "built"
    command: list[str | Path] = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", built, copy]
    run_quietly(command, "the wheel of edge-cxr cannot be built", SOURCE_DATE_EPOCH=_EPOCH)
    (wheel,) = built.glob("*.whl")
    return Path(shutil.move(wheel, out / wheel.name))


def run_quietly(command: Sequence[str | Path], what: str, **environment: str) -> str:
    """Raises InstallError with the last lines that it said."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if ended.returncode:
        told = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-8:])
        raise InstallError(f"{what} (exit code {ended.returncode}):\n{told}")
    return ended.stdout
