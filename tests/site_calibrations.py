"""What a site may have found, for tests that score nothing; and a bundle that it found it of."""

from dataclasses import replace
from functools import cache

from edge.bundle import Bundle, open_bundle
from edge.site_calibration import PrecisionCalibration
from edge.statistics import Interval

FOUND = PrecisionCalibration(
    rule="youden",
    operating_point=Interval(0.25, 0.2, 0.3),
    temperature=2.0,
    uncalibrated=None,
    sensitivity=Interval(0.9, 0.8, 0.95),
    specificity=Interval(0.8, 0.7, 0.9),
    auc=Interval(0.9, 0.85, 0.95),
    ece=Interval(0.01, 0.005, 0.02),
    positives=400,
    negatives=500,
    patients=700,
    left_out={"no_lungs": 3},
    manifest_sha256="f" * 64,
    backend="openvino",
    runtime="2026.1",
    at="2026-11-28T06:00:00+00:00",
    by="radiologist",
)
UNSCALED = replace(FOUND, temperature=None, uncalibrated="70 radiographs are fewer than 300", ece=None)


@cache
def phantom_bundle() -> Bundle:
    return open_bundle("phantom")
