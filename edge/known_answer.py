"""The known-answer test: golden DICOM files through the whole path, before any radiograph is scored."""

from dataclasses import dataclass

from edge.bundle import GOLDEN_QUANTITIES, Bundle, GoldenCase
from edge.engines import Engine, predict
from edge.errors import EngineError, RadiographError
from edge.imaging.decode_pool import Decodes
from edge.quality import lung_fraction
from edge.snapshot import frozen_bytes

# How far an answer may lie from the bundle's, by precision: kernels differ between CPUs.
SCORE_TOLERANCE = {"fp32": 0.01, "fp16": 0.02, "int8": 0.03}


@dataclass(frozen=True)
class Answer:
    """One golden case: what was expected and what the box answered."""

    name: str
    expected: dict[str, float]
    score: float
    lung_fraction: float


def known_answers(bundle: Bundle, engine: Engine, decoder: Decodes) -> list[Answer]:
    """Run every golden case and compare.

    Raises EngineError when a score or lung fraction is off by more than the precision's tolerance, when a file does not
    decode, or when the bundle holds no golden case for the precision.
    """
    precision = engine.identity.precision
    answers = [ask(case, engine, decoder) for case in bundle.golden_cases() if precision in case.expected]
    if not answers:
        raise EngineError(f"the bundle holds no golden case for {precision}; export it again")
    tolerance = SCORE_TOLERANCE[precision]
    for answer in answers:
        for quantity in GOLDEN_QUANTITIES:
            got = getattr(answer, quantity)
            if not abs(got - answer.expected[quantity]) <= tolerance:
                raise EngineError(
                    f"known-answer test failed: {answer.name} gives {quantity} {got:.4f} instead of "
                    f"{answer.expected[quantity]:.4f}; nothing is scored. Reinstall, or run: edge-cxr doctor"
                )
    return answers


def ask(case: GoldenCase, engine: Engine, decoder: Decodes) -> Answer:
    """Decode one golden case and ask the engine, gates left out. Raises EngineError when it does not decode."""
    try:
        with frozen_bytes(case.content) as frozen:
            decoded = decoder.decode(frozen)
    except RadiographError as refusal:
        raise EngineError(f"known-answer test failed: {case.name} does not decode ({refusal})") from None
    (prediction,) = predict(engine, [decoded.model_input])
    side = decoded.model_input.pixels.shape[-1]
    fraction = lung_fraction(prediction.lung_mask, decoded.model_input.crop, side)
    return Answer(case.name, case.expected[engine.identity.precision], prediction.score, fraction)
