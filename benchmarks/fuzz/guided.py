"""Files that follow coverage (atheris): processes of harness.py one after another, and what broke them.

A crash of a decoder ends the process; another takes its place, with the files found by then, until the time is up.
"""

import importlib.util
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz.corpus import corpus
from benchmarks.fuzz.mutate import MOST_BYTES

MISSING = "atheris is not installed: nothing is followed. Run: pip install 'edge-cxr[fuzz]' (CPython 3.11 to 3.13)"
_ONE_FILE_S, _MEMORY_MB = 15, 4000
_FINAL = re.compile(r"^#(\d+)\s+\w+\s+cov: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Followed:
    """runs: files read. coverage: edges reached by the last process. crashes: names of the files kept."""

    runs: int
    coverage: int
    processes: int
    crashes: tuple[str, ...]


def is_installed() -> bool:
    return importlib.util.find_spec("atheris") is not None


def follow(folder: Path, minutes: float) -> Followed:
    """Start processes until the time is up. What broke one lies in folder/crashes, what it learnt in folder/corpus."""
    learnt, crashes = folder / "corpus", folder / "crashes"
    for each in (learnt, crashes):
        each.mkdir(parents=True, exist_ok=True)
    for seed in corpus():
        (learnt / f"seed-{seed.name}").write_bytes(seed.content)
    runs = coverage = processes = 0
    deadline_s = time.monotonic() + 60 * minutes
    while (left_s := int(deadline_s - time.monotonic())) > 0:
        told = _one_process(learnt, crashes, left_s, processes + 1)
        (folder / "last.log").write_text(told, encoding="utf-8")
        steps = _FINAL.findall(told)
        if not steps:
            raise RuntimeError(f"atheris does not start: {told[-500:]}")
        processes, runs, coverage = processes + 1, runs + int(steps[-1][0]), max(coverage, int(steps[-1][1]))
        print(f"guided: {runs} files, coverage {coverage}, {len(list(crashes.iterdir()))} kept", file=sys.stderr)
    return Followed(runs, coverage, processes, tuple(sorted(path.name for path in crashes.iterdir())))


def _one_process(learnt: Path, crashes: Path, left_s: int, seed: int) -> str:
    """What it said on stderr."""
    options = [f"-max_total_time={left_s}", f"-timeout={_ONE_FILE_S}", f"-rss_limit_mb={_MEMORY_MB}", f"-seed={seed}"]
    options += [f"-max_len={MOST_BYTES}", f"-artifact_prefix={crashes}/", str(learnt)]
    command = [sys.executable, "-m", "benchmarks.fuzz.harness", *options]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stderr
