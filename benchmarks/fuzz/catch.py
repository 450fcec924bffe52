"""Whether the campaigns notice what is broken on purpose: the kinds of violations that each mutant shows."""

from pathlib import Path

from benchmarks.fuzz.box import BoxCampaign, run_box
from benchmarks.fuzz.corpus import corpus
from benchmarks.fuzz.lane import Lane, Limits
from benchmarks.fuzz.mutants import BOXES, WORKERS, box_command, worker_command
from benchmarks.fuzz.workers import Campaign, try_chunk

# The harm is made small, and so are the limits: a proof that waits for 15 s proves no more.
_LIMITS = Limits(wall_s=0.5, cpu_s=1.0, decode_s=0.4)
_UNHURRIED = Limits(cpu_s=1.0)
_FILES = 80


def catch_worker(name: str) -> set[str]:
    """Seeds, and for what remembers a chunk, through a broken worker until its own violation shows."""
    limits = _LIMITS if WORKERS[name] == "hang" else _UNHURRIED
    kinds: set[str] = set()
    with Lane(limits=limits, command=worker_command(name)) as lane:
        if WORKERS[name] == "unsteady":
            tally = try_chunk(lane, corpus(), Campaign(_FILES), range(5))
            return {violation.kind for violation in tally.violations}
        for seed in corpus():
            kinds |= {kind for kind, _ in lane.ask(seed.content).wrong}
            if WORKERS[name] in kinds:
                break
    return kinds


def catch_box(name: str, folder: Path, bundle: str) -> set[str]:
    """A small wave through a broken daemon; two where growth is to be seen."""
    count = _FILES if BOXES[name] == "memory" else _FILES // 2
    campaign = BoxCampaign(
        folder, count, bundle, wave_files=_FILES // 2, race_s=0.2, patience_s=3.0, command=box_command(name)
    )
    return {kind for kind, _ in run_box(campaign).found}
