"""The files that all others are made of. The same machine and versions give the same corpus, in the same order."""

import hashlib
from functools import cache

from benchmarks.fuzz.dicom_seeds import dicom_seeds
from benchmarks.fuzz.found_seeds import found_seeds
from benchmarks.fuzz.picture_seeds import picture_seeds
from benchmarks.fuzz.real_seeds import real_seeds
from benchmarks.fuzz.seed import Seed


@cache
def corpus() -> tuple[Seed, ...]:
    return (*dicom_seeds(), *picture_seeds(), *found_seeds(), *real_seeds())


def corpus_digest(seeds: tuple[Seed, ...]) -> str:
    """What tells whether a campaign that was broken off goes on with the same corpus."""
    digest = hashlib.sha256()
    for seed in seeds:
        digest.update(hashlib.sha256(seed.content).digest())
    return digest.hexdigest()
