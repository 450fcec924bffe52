"""Temperature scaling: a probability whose logit is divided by the temperature that a bundle sets (Guo 2017)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

TEMPERATURES = (0.05, 20.0)  # beyond these nothing was learned from the scores


def apply_temperature(scores: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities in 0..1 whose order is kept: above 1 they move towards 0.5, below 1 away from it."""
    return sigmoid(logit(np.asarray(scores, np.float64)) / require_temperature(temperature))


def rescaled(score: float, *, of: float | None, to: float | None) -> float:
    """A score that was scaled by the temperature `of` as `to` scales it; None: by none."""
    ratio = require_temperature(of or 1.0) / require_temperature(to or 1.0)
    return score if ratio == 1 else float(sigmoid(logit(np.array(score)) * ratio))


def require_temperature(temperature: float) -> float:
    """Raises ValueError outside TEMPERATURES."""
    low, high = TEMPERATURES
    if not low <= temperature <= high:
        raise ValueError(f"a temperature must be within {low} and {high}; it is {temperature}")
    return float(temperature)


def logit(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):  # 0 and 1 are infinitely far, and stay where they are
        return np.log(scores) - np.log1p(-scores)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -logits))  # exact for the smallest scores too
