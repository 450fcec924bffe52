"""What a site found of a bundle on its own radiographs, per precision: operating point and temperature, and how a score
is judged by them.

Kept in the state folder, never in a bundle, and sealed with the box's key. How it is found is in site_fit.py.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from edge.bundle import Bundle, Manifest
from edge.decision import BUNDLE, SITE, UNDECIDED, Decision
from edge.errors import BundleError, StateError
from edge.outputs.durable import write_durably
from edge.statistics import Interval
from edge.strict_json import number, read_json, share
from edge.temperature import apply_temperature, require_temperature
from edge.values import PRECISIONS, Prediction

FORMAT = "edge-cxr/site-calibration/1"
FOLDER = "calibration"
MARK = b"edge-cxr/site-calibration\0"  # begins all that is sealed: the same key seals other things
DIGITS = 12  # of a bundle's id, and of the file's digest
_MOST_BYTES = 64 * 1024
_INTERVALS = ("operating_point", "sensitivity", "specificity", "auc", "ece")


@dataclass(frozen=True)
class PrecisionCalibration:
    """What was found with one precision, with intervals of 95 %. sensitivity, specificity and ece are of patients by
    whom neither point nor temperature was chosen.

    operating_point: on the scale that results have. temperature: None where it was not proven, and `uncalibrated` says
    why. ece: expected calibration error; None where no patients could be held out. left_out: how many radiographs were
    not used, by reason. at: UTC.
    """

    rule: str
    operating_point: Interval
    temperature: float | None
    uncalibrated: str | None
    sensitivity: Interval
    specificity: Interval
    auc: Interval
    ece: Interval | None
    positives: int
    negatives: int
    patients: int
    left_out: Mapping[str, int]
    manifest_sha256: str
    backend: str
    runtime: str
    at: str
    by: str


@dataclass(frozen=True)
class SiteCalibration:
    """All that a site found of one bundle. digest: SHA-256 of the file."""

    bundle_id: str
    preprocessing_digest: str
    labels: tuple[str, str]
    precisions: Mapping[str, PrecisionCalibration]
    digest: str


def decide(
    prediction: Prediction, manifest: Manifest, site: SiteCalibration | None
) -> tuple[Prediction, bool | None, Decision]:
    """The prediction with the score that is shown, whether it is positive, and by what. site: of this very bundle.

    Where a site has calibrated the bundle, its values alone count: a precision that it did not try has no verdict.
    """
    precision = prediction.engine.precision
    if site is None:
        point, temperature = manifest.operating_points.get(precision), manifest.temperatures.get(precision)
        source = None if point is None and temperature is None else BUNDLE
        return prediction, _positive(prediction, point), Decision(source, point, temperature)
    found = site.precisions.get(precision)
    temperature = None if found is None else found.temperature
    score = network_score(prediction)
    shown = score if temperature is None else float(apply_temperature(score, temperature))
    prediction = replace(prediction, score=shown, calibrated=temperature is not None)
    if found is None:
        return prediction, None, UNDECIDED
    point = found.operating_point.value
    return prediction, _positive(prediction, point), Decision(SITE, point, temperature, site.digest[:DIGITS])


def network_score(prediction: Prediction) -> float:
    """The score before the bundle's temperature, if it has one: the mean of the members' probabilities."""
    return fmean(prediction.members.values()) if prediction.calibrated else prediction.score


def untried(site: SiteCalibration | None, precision: str) -> str | None:
    """What to tell where a site has calibrated the bundle, and not for the precision that scores; else None."""
    if site is None or precision in site.precisions:
        return None
    return (
        f"this box has calibrated the bundle for {', '.join(site.precisions)} and not for {precision}, which scores: "
        f"results have no verdict. Run: edge-cxr calibrate-site --precision {precision}"
    )


def _positive(prediction: Prediction, point: float | None) -> bool | None:
    return None if point is None else prediction.score >= point


class CalibrationStore:
    """The folder `calibration` of a state folder: one file for each bundle that the site has calibrated."""

    def __init__(self, state: Path, *, site_key: bytes) -> None:
        self._folder = state / FOLDER
        # A key of its own: what the site key says of identifiers or plans must never pass for this seal.
        self._seal_key = hmac.digest(site_key, b"edge-cxr site calibration seal", "sha256")

    def path(self, bundle_id: str) -> Path:
        return self._folder / f"{bundle_id[:DIGITS]}.json"

    def diagram_path(self, bundle_id: str, precision: str) -> Path:
        return self._folder / f"{bundle_id[:DIGITS]}.{precision}.png"

    def find(self, bundle: Bundle) -> SiteCalibration | None:
        """What the site found of this bundle; None where it has not calibrated it.

        Raises BundleError when the file was changed, or is another box's or another bundle's: a wrong operating point
        is worse than none, so nothing may be scored with it, nor without what the site relies on.
        """
        path = self.path(bundle.id)
        try:
            with path.open("rb") as opened:
                content = opened.read(_MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise StateError(f"{path} cannot be read ({fault.strerror}); check its owner") from None
        listed = self._verified(path, content)
        if (listed["bundle"], listed["preprocessing_digest"]) != (bundle.id, bundle.manifest.preprocessing_digest):
            raise BundleError(f"{path} is the calibration of another bundle ({listed['bundle'][:DIGITS]}); {_AGAIN}")
        return _calibration(listed, hashlib.sha256(content).hexdigest())

    def keep(self, bundle: Bundle, precision: str, found: PrecisionCalibration) -> SiteCalibration:
        """Keep what was found with a precision, beside the other precisions'. One process at a time.

        Raises BundleError as `find`, StateError when the disk fails.
        """
        before = self.find(bundle)
        precisions = {**(before.precisions if before is not None else {}), precision: found}
        listed = {
            "format": FORMAT,
            "bundle": bundle.id,
            "preprocessing_digest": bundle.manifest.preprocessing_digest,
            "labels": list(bundle.manifest.labels),
            "precisions": {name: asdict(entry) for name, entry in precisions.items()},
        }
        write_durably(self.path(bundle.id), self._sealed(listed))
        kept = self.find(bundle)
        assert kept is not None
        return kept

    def remove(self, bundle_id: str) -> bool:
        """Whatever state it is in, with its diagrams. False where there is none."""
        path, is_there = self.path(bundle_id), self.path(bundle_id).exists()
        path.unlink(missing_ok=True)
        for precision in PRECISIONS:
            self.diagram_path(bundle_id, precision).unlink(missing_ok=True)
        return is_there

    def _verified(self, path: Path, content: bytes) -> dict[str, Any]:
        """The calibration in these bytes, of which every one must be as this box wrote it."""
        try:
            listed = read_json(content)["calibration"]
            if hmac.compare_digest(self._sealed(listed), content) and listed["format"] == FORMAT:
                return listed
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise BundleError(f"{path} was changed since this box sealed it, or is another box's or version's; {_AGAIN}")

    def _sealed(self, listed: Mapping[str, Any]) -> bytes:
        text = json.dumps(listed, sort_keys=True, separators=(",", ":")).encode()
        seal = f"hmac-sha256:{hmac.digest(self._seal_key, MARK + text, 'sha256').hex()}"
        return (json.dumps({"calibration": listed, "seal": seal}, indent=1, sort_keys=True) + "\n").encode()


_AGAIN = "nothing is scored before it is removed (edge-cxr calibrate-site --remove) or restored; then calibrate again"


def _calibration(listed: Mapping[str, Any], digest: str) -> SiteCalibration:
    negative, positive = listed["labels"]
    return SiteCalibration(
        bundle_id=listed["bundle"],
        preprocessing_digest=listed["preprocessing_digest"],
        labels=(negative, positive),
        precisions={name: _found(entry) for name, entry in listed["precisions"].items()},
        digest=digest,
    )


def _found(entry: Mapping[str, Any]) -> PrecisionCalibration:
    """Raises ValueError for values that this box never writes."""
    if entry.keys() != {field.name for field in fields(PrecisionCalibration)}:
        raise ValueError(f"a calibration has the keys {sorted(entry)}")
    intervals = {name: None if entry[name] is None else _interval(entry[name]) for name in _INTERVALS}
    share(entry["operating_point"]["value"])
    if entry["temperature"] is not None:
        require_temperature(number(entry["temperature"]))
    return PrecisionCalibration(**{**entry, **intervals})


def _interval(listed: Mapping[str, Any]) -> Interval:
    return Interval(*(number(listed[name]) for name in ("value", "low", "high")))
