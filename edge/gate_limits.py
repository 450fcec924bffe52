"""The limits of the gate's checks, as a bundle's manifest gives them. What is checked is in quality.py."""

import math
from dataclasses import dataclass, fields
from typing import Any

from edge.strict_json import number


@dataclass(frozen=True)
class Limits:
    """What is let through: low <= value <= high. Within `margin` of a limit the gate warns."""

    low: float = -math.inf
    high: float = math.inf
    margin: float = 0.0

    def allow(self, value: float) -> bool:
        """Not a number is never allowed."""
        return self.low <= value <= self.high

    def near(self, value: float) -> bool:
        return not self.low + self.margin <= value <= self.high - self.margin


@dataclass(frozen=True)
class GateLimits:
    """Per check; None where the bundle has no limit, and then the check is not made.

    lung_fraction: share of the content. contrast: standard deviation of the grey levels 0..1. inverted: correlation
    with the mean chest, low when inverted. not_frontal: log odds of the bundle's rule. distance: Euclidean, from the
    embedding to the nearest reference case.
    """

    lung_fraction: Limits
    contrast: Limits | None = None
    inverted: Limits | None = None
    not_frontal: Limits | None = None
    distance: Limits | None = None

    @property
    def need_rule(self) -> bool:
        return self.inverted is not None or self.not_frontal is not None


def limits_of(listed: dict[str, dict[str, Any]]) -> GateLimits:
    """`gates` of a manifest. Raises ValueError for a check that this version does not know, or limits without sense."""
    known = {field.name for field in fields(GateLimits)}
    if unknown := sorted(listed.keys() - known):
        raise ValueError(f"gates name {', '.join(unknown)}, which this version cannot check")
    return GateLimits(**{check: _limits(check, given) for check, given in listed.items()})


def as_listed(limits: GateLimits) -> dict[str, dict[str, float]]:
    """As `limits_of` reads it; open ends are left out."""
    listed = {}
    for field in fields(limits):
        given = getattr(limits, field.name)
        if given is not None:
            ends = {"low": given.low, "high": given.high, "margin": given.margin}
            listed[field.name] = {name: value for name, value in ends.items() if math.isfinite(value)}
    return listed


def _limits(check: str, given: dict[str, Any]) -> Limits:
    limits = Limits(**{name: number(value) for name, value in given.items()})
    if not (limits.low <= limits.high and limits.margin >= 0):
        raise ValueError(f"the limits of {check} are {given}")
    return limits
