"""The known-answer test: golden DICOM files through decoding, preprocessing and engine, and their answers compared.

Nothing is scored before it has passed, or after it has failed. When it runs is the engine room's and the daemon's work.
"""

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from edge.bundle import GOLDEN_QUANTITIES, Bundle, GoldenCase
from edge.engines import Engine, predict
from edge.errors import Bomb, DecoderDied, EngineError, OutOfMemory, RadiographError
from edge.imaging.decode_pool import Decodes
from edge.quality import lung_fraction
from edge.snapshot import frozen_bytes
from edge.values import Decoded

# How far an answer may lie from the bundle's, by precision: kernels differ between CPUs.
SCORE_TOLERANCE = {"fp32": 0.01, "fp16": 0.02, "int8": 0.03}
# A share of pixels above one half hardly moves with the kernels: from fp32 to int8 by less than 0.001.
LUNG_TOLERANCE = 0.015
_DECODES = 2
_LABELLED = 8  # reference cases of each label, from which on their scores tell which label is which
_CERTAIN = 3.0  # standard errors
_FIX = "nothing is scored. Reinstall, or run: edge-cxr doctor"

# Lends the engine for one answer, and keeps it from changing or closing meanwhile.
Lends = Callable[[], AbstractContextManager[Engine]]


class KnownAnswerFailed(EngineError):
    """What decodes, preprocesses and scores does not do it as when the bundle was made."""


@dataclass(frozen=True)
class Answer:
    """One golden case: what was expected and what the box answered."""

    name: str
    expected: dict[str, float]
    score: float
    lung_fraction: float


def known_answers(bundle: Bundle, engine: Engine, decoder: Decodes) -> list[Answer]:
    """Run every golden case and compare.

    Raises KnownAnswerFailed when a score or lung fraction is off by more than its tolerance or no number, a
    file does not decode or is preprocessed otherwise, the labels are swapped, or the bundle holds no golden case for
    the precision.
    """
    return lent_answers(bundle, lambda: contextlib.nullcontext(engine), decoder)


def lent_answers(bundle: Bundle, lend: Lends, decoder: Decodes) -> list[Answer]:
    """The same on an engine that others use too: it is lent for one answer at a time, and may be another each time."""
    check_labels(bundle)
    asked = [_checked(case, lend, decoder) for case in bundle.golden_cases()]
    answers = [answer for answer in asked if answer is not None]
    if not answers:
        raise KnownAnswerFailed("the bundle holds no golden case for the engine's precision; export it again")
    return answers


def ask(case: GoldenCase, engine: Engine, decoder: Decodes) -> Answer:
    """Decode one golden case and ask the engine, gates left out. Raises KnownAnswerFailed when there is no answer."""
    return _answer(case, engine, _decoded(case, decoder))


def check_labels(bundle: Bundle) -> None:
    """Reference cases of the positive label have the higher scores, or the manifest names its labels the wrong way.

    Raises KnownAnswerFailed when they clearly have the lower ones.
    """
    reference, names = bundle.reference(), bundle.manifest.labels
    scores, labels = np.array(reference.scores), np.array(reference.labels)
    negative, positive = (scores[labels == name] for name in names)
    if min(len(negative), len(positive)) < _LABELLED:
        return
    apart = float(positive.mean() - negative.mean())
    error = math.sqrt(positive.var() / len(positive) + negative.var() / len(negative))
    if apart < -_CERTAIN * error:
        raise KnownAnswerFailed(
            f"known-answer test failed: reference cases labelled {names[1]} score {positive.mean():.4f} on average, "
            f"those labelled {names[0]} {negative.mean():.4f}: the labels are swapped; {_FIX}"
        )


def _checked(case: GoldenCase, lend: Lends, decoder: Decodes) -> Answer | None:
    """None when the case has no answer in the engine's precision."""
    decoded = _decoded(case, decoder)
    with lend() as engine:
        precision = engine.identity.precision
        if precision not in case.expected:
            return None
        answer = _answer(case, engine, decoded)
        _compare(answer, {"score": SCORE_TOLERANCE[precision], "lung_fraction": LUNG_TOLERANCE})
        return answer


def _decoded(case: GoldenCase, decoder: Decodes) -> Decoded:
    """A worker that dies over a good file was short of memory or time: that tells nothing of the engine."""
    tries = _DECODES
    while True:
        try:
            with frozen_bytes(case.content) as frozen:
                return decoder.decode(frozen)
        except RadiographError as refusal:
            tries -= 1
            if tries == 0 or not isinstance(refusal, DecoderDied | Bomb):
                raise KnownAnswerFailed(
                    f"known-answer test failed: {case.name} does not decode ({refusal}); {_FIX}"
                ) from None


def _answer(case: GoldenCase, engine: Engine, decoded: Decoded) -> Answer:
    try:
        (prediction,) = predict(engine, [decoded.model_input])
    except OutOfMemory:
        raise
    except EngineError as fault:
        raise KnownAnswerFailed(f"known-answer test failed: {case.name} gets no answer: {fault}") from None
    side = decoded.model_input.pixels.shape[-1]
    fraction = lung_fraction(prediction.lung_mask, decoded.model_input.crop, side)
    return Answer(case.name, case.expected[engine.identity.precision], prediction.score, fraction)


def _compare(answer: Answer, tolerances: dict[str, float]) -> None:
    for quantity in GOLDEN_QUANTITIES:
        got = getattr(answer, quantity)
        if not abs(got - answer.expected[quantity]) <= tolerances[quantity]:  # nor is NaN
            raise KnownAnswerFailed(
                f"known-answer test failed: {answer.name} gives {quantity} {got:.4f} instead of "
                f"{answer.expected[quantity]:.4f}; {_FIX}"
            )
