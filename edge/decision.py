"""By what a score is called positive or not: the bundle's values, or those that a site found on its own radiographs."""

from dataclasses import dataclass

BUNDLE, SITE = "bundle", "site"


@dataclass(frozen=True)
class Decision:
    """source: `bundle`, `site`, or None where nothing is set. temperature: by which the score's logit was divided.

    site_calibration: the first 12 digits of the SHA-256 of the site's file.
    """

    source: str | None = None
    operating_point: float | None = None
    temperature: float | None = None
    site_calibration: str | None = None


UNDECIDED = Decision()
