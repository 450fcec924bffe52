"""What a check finds: passed, a warning, or failed; and in words what was seen and what to do."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from edge.errors import EdgeError


class Outcome(StrEnum):
    PASSED = "passed"
    WARNING = "warning"  # it scores, and somebody should know
    FAILED = "failed"  # it does not, or not as it should


@dataclass(frozen=True)
class Finding:
    text: str
    outcome: Outcome = Outcome.PASSED


def warning(text: str) -> Finding:
    return Finding(text, Outcome.WARNING)


def failed(text: str) -> Finding:
    return Finding(text, Outcome.FAILED)


@dataclass(frozen=True)
class Check:
    name: str
    outcome: Outcome
    finding: str


def run(name: str, check: Callable[[], Finding]) -> Check:
    """What a check raises is what it found."""
    try:
        found = check()
    except (EdgeError, OSError) as fault:
        found = failed(told(fault))
    return Check(name, found.outcome, found.text)


def told(fault: EdgeError | OSError) -> str:
    """In words. The path of an OSError may be an input's."""
    if isinstance(fault, OSError):
        return f"{fault.strerror}; run it as the user of the service, or as root"
    return str(fault)
