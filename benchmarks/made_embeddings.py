"""Embeddings by the million, drawn from a distribution fitted to some hundreds that a network really gave.

A Gaussian copula: each of the 128 numbers keeps its own distribution, zeros of the ReLU included, and together they
have the correlations that were seen. What bends is lost, so made ones are harder to find: `likeness` tells how much.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edge.bundle import open_bundle
from edge.engines import open_engine, predict
from edge.errors import RadiographError
from edge.imaging.decoder import Decoder
from edge.snapshot import snapshot

SIZE = 128
CHUNK = 10_000
_SHRUNK = 0.001  # towards independence, so that numbers which never differ leave it solvable
_PAIRS = 4


@dataclass(frozen=True)
class Fitted:
    """grid: float64 [answers], normal quantiles. levels: float64 [128, answers], each number's values, rising.
    mixing: float64 [128, 128], turns independent normal numbers into correlated ones.
    """

    grid: NDArray[np.float64]
    levels: NDArray[np.float64]
    mixing: NDArray[np.float64]


@dataclass(frozen=True)
class Likeness:
    """How well made embeddings stand for the answers, as many of each.

    near_*: the median distance of the fourth nearest, as a share of the median distance of any two: what makes a
    search hard. dimensions_*: how many principal components hold nine tenths of the variance. zeros_*: share of zeros.
    """

    near_answers: float
    near_made: float
    dimensions_answers: int
    dimensions_made: int
    zeros_answers: float
    zeros_made: float


def fitted(answers: NDArray[np.float32]) -> Fitted:
    """answers: float32 [answers, 128]."""
    count = len(answers)
    normal = NormalDist()
    grid = np.array([normal.inv_cdf((place + 0.5) / count) for place in range(count)])
    levels = np.sort(answers.astype(np.float64).T, axis=1)
    scores = np.stack([_normal_scores(column, grid) for column in answers.T])
    deviation = scores.std(axis=1)
    constant = deviation < 1e-9  # a number that is always zero
    scores[constant], deviation[constant] = np.random.default_rng(0).normal(size=(int(constant.sum()), count)), 1.0
    correlation = np.corrcoef(scores) * (1 - _SHRUNK) + np.eye(SIZE) * _SHRUNK
    mixing: NDArray[np.float64] = np.linalg.cholesky(correlation).astype(np.float64)
    return Fitted(grid, levels, mixing)


def _normal_scores(column: NDArray[np.float32], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value's place among all as a normal quantile; equal values share the mean of theirs."""
    values, which, counts = np.unique(column, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means = np.array([grid[end - count : end].mean() for end, count in zip(ends, counts, strict=True)])
    assert len(values) == len(means)
    return means[which]


def chunks(made: Fitted | None, count: int, *, first_seed: int = 0) -> Iterator[NDArray[np.float32]]:
    """float32 [up to 10,000, 128] each, the same each time; None: independent normal numbers."""
    for number, start in enumerate(range(0, count, CHUNK)):
        drawn = np.random.default_rng((7, first_seed + number)).normal(size=(min(CHUNK, count - start), SIZE))
        yield (drawn if made is None else _mixed(made, drawn)).astype(np.float32)


def _mixed(made: Fitted, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    mixed = drawn @ made.mixing.T
    return np.stack([np.interp(mixed[:, place], made.grid, made.levels[place]) for place in range(SIZE)], axis=1)


def likeness(answers: NDArray[np.float32], made: Fitted) -> Likeness:
    drawn = next(chunks(made, len(answers), first_seed=10**7))
    return Likeness(
        near_answers=_nearness(answers),
        near_made=_nearness(drawn),
        dimensions_answers=_dimensions(answers),
        dimensions_made=_dimensions(drawn),
        zeros_answers=float((answers == 0).mean()),
        zeros_made=float((drawn == 0).mean()),
    )


def _nearness(rows: NDArray[np.float32]) -> float:
    wide = rows.astype(np.float64)
    squares = (wide**2).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * wide @ wide.T, 0))
    np.fill_diagonal(apart, np.inf)
    fourth = np.partition(apart, _PAIRS - 1, axis=1)[:, _PAIRS - 1]
    return float(np.median(fourth) / np.median(apart[np.isfinite(apart)]))


def _dimensions(rows: NDArray[np.float32]) -> int:
    spread = np.linalg.svd(rows - rows.mean(0), compute_uv=False) ** 2
    return int(np.searchsorted(np.cumsum(spread) / spread.sum(), 0.9)) + 1


def answers_of(bundle_name: str, images: Path, tell: Callable[[str], None]) -> NDArray[np.float32]:
    """float32 [radiographs, 128]: what the bundle's network answers to every radiograph below a folder."""
    bundle = open_bundle(bundle_name)
    engine, answers = open_engine(bundle), []
    with Decoder(bundle.manifest.preprocessing, site_key=bytes(32)) as decoder:
        for path in sorted(path for path in images.rglob("*") if path.is_file()):
            try:
                with snapshot(path) as frozen:
                    decoded = decoder.decode(frozen)
            except RadiographError:
                continue
            (prediction,) = predict(engine, [decoded.model_input])
            answers.append(prediction.embedding)
            if len(answers) % 100 == 0:
                tell(f"{len(answers)} radiographs embedded")
    engine.close()
    return np.stack(answers)
