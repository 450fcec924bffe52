"""One file of the corpus."""

from dataclasses import dataclass

from edge.values import Reason


@dataclass(frozen=True)
class Seed:
    """reason: what the box says of it unspoiled, None where it decodes. settled: False where that is left open, as of
    real files: they are only to do no harm."""

    name: str
    content: bytes
    reason: Reason | None = None
    settled: bool = True
