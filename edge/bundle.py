"""Opens and signs a model bundle: what its bytes mean, once seal.py has proved them. Nothing is parsed before that.

The format is in docs/bundle.md. Writing bundles is export's work.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.calibration import Proof
from edge.errors import BundleError
from edge.external_data import has_external_data
from edge.frontal import FrontalRule, rule_of
from edge.gate_limits import GateLimits, limits_of
from edge.imaging.preprocess import Preprocessing
from edge.reference_cases import Reference, reference_of
from edge.reference_levels import Levels, levels_from_json
from edge.seal import MANIFEST, SealedManifest, read_listed, read_pinned, read_signed, read_unsigned, write_signature
from edge.strict_json import names, number, read_json, share
from edge.temperature import require_temperature
from edge.values import MODEL_INPUT_SIDE, PRECISIONS

FORMAT = "edge-cxr/bundle/1"
GOLDEN_QUANTITIES = ("score", "lung_fraction")
GATE = "gate.npz"
PACKAGED_FOLDER = Path(__file__).parent / "bundles"
# The bundles that come with the program, by their id: a changed file there is refused like any other.
PACKAGED_IDS = {
    "phantom": "9a0577d4447bc6b6d8af77790fd8b706e3b2d7d4e6c624d8fae0ce69fed75323",
    "research": "775cc1db8be20d07d92d136eb75f8737ce53bd1a6732d90187261a8e1b8b9674",
}


@dataclass(frozen=True)
class Manifest:
    """manifest.json, checked. Points and temperatures are per precision, None until a site calibrates.

    calibration: per precision with a temperature, by what it was proven.
    accuracy: per precision the outcome of the accuracy gate, {"passed", "failures", ...}; empty until it was run.
    drift: by signal, how it was spread over radiographs that the weights have not seen; empty in older bundles.
    """

    name: str
    role: str
    labels: tuple[str, str]  # negative, positive
    members: tuple[str, ...]
    embedding_member: str
    network_input_size: int
    preprocessing: Preprocessing
    preprocessing_digest: str
    precisions: tuple[str, ...]
    operating_points: dict[str, float | None]
    temperatures: dict[str, float | None]
    gates: GateLimits
    metrics: dict[str, dict[str, Any]]
    intended_use: str
    calibration: dict[str, Proof] = field(default_factory=dict)
    accuracy: dict[str, dict[str, Any]] = field(default_factory=dict)
    drift: dict[str, Levels] = field(default_factory=dict)


@dataclass(frozen=True)
class GoldenCase:
    """A phantom DICOM file and what the bundle's network answers to it: {precision: {"score", "lung_fraction"}}."""

    name: str
    content: bytes
    expected: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `id` is the SHA-256 of manifest.json; `files` holds the verified bytes.

    signed_by: the public key whose signature fits; whether it is trusted was asked when the bundle was opened.
    """

    id: str
    manifest: Manifest
    files: dict[str, bytes]
    signed_by: str | None = None

    def model_bytes(self, precision: str) -> bytes:
        return self.files[f"model.{precision}.onnx"]

    def reference(self) -> Reference:
        with (
            _complaints("reference.npz"),
            np.load(io.BytesIO(self.files["reference.npz"]), allow_pickle=False) as arrays,
        ):
            return reference_of(arrays)

    def frontal_rule(self) -> FrontalRule | None:
        """None in a bundle without gate.npz: older ones, and those of a few radiographs."""
        if GATE not in self.files:
            return None
        with _complaints(GATE), np.load(io.BytesIO(self.files[GATE]), allow_pickle=False) as arrays:
            return rule_of(arrays)

    def golden_cases(self) -> list[GoldenCase]:
        with _complaints("golden/expected.json"):
            return [self._golden_case(case) for case in read_json(self.files["golden/expected.json"])["cases"]]

    def _golden_case(self, case: dict[str, Any]) -> GoldenCase:
        expected = {
            precision: {quantity: share(answers[quantity]) for quantity in GOLDEN_QUANTITIES}
            for precision, answers in case["precisions"].items()
        }
        return GoldenCase(case["file"], self.files[case["file"]], expected)


def open_bundle(name_or_folder: str, *, trusted_keys: tuple[str, ...] = ()) -> Bundle:
    """Open a packaged bundle by name (phantom, research) or any bundle by its folder.

    Packaged bundles are known by their id. Any other must be signed by one of `trusted_keys`, where there are any.
    Raises BundleError when it is missing, damaged, incomplete, not trusted, of another preprocessing or format, or fit
    for use in no precision.
    """
    if name_or_folder in PACKAGED_IDS:
        folder = PACKAGED_FOLDER / name_or_folder
        bundle = _bundle(folder, read_pinned(folder, PACKAGED_IDS[name_or_folder]))
    else:
        bundle = read_bundle(Path(name_or_folder), trusted_keys=trusted_keys)
    _check_parts(bundle)
    return bundle


def read_bundle(folder: Path, *, trusted_keys: tuple[str, ...] = ()) -> Bundle:
    """Read and verify a bundle folder; each file is read once, and only the verified bytes are kept.

    Reference and golden cases may still be missing: export asks such a draft for its answers.
    """
    return _bundle(folder, read_signed(_existing(folder), trusted_keys))


def sign_bundle(folder: Path, private_key: Ed25519PrivateKey) -> Bundle:
    """Sign a bundle that is complete, replacing an earlier signature.

    Raises BundleError when it would not open, and then signs nothing.
    """
    manifest = read_unsigned(_existing(folder))
    bundle = _bundle(folder, manifest)
    _check_parts(bundle)
    return replace(bundle, signed_by=write_signature(folder, manifest, private_key))


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        known = ", ".join(sorted(PACKAGED_IDS))
        raise BundleError(f"bundle {str(folder)!r} is no folder; name one, or a packaged bundle: {known}")
    return folder


def _bundle(folder: Path, sealed: SealedManifest) -> Bundle:
    with _complaints(str(folder / MANIFEST)):
        listed = read_json(sealed.content)
        if not isinstance(listed, dict) or listed.get("format") != FORMAT:
            raise BundleError(f"{folder / MANIFEST} is not of format {FORMAT}; export the bundle with this version")
        bundle = Bundle(sealed.id, _manifest(listed), read_listed(folder, listed["files"]), sealed.signed_by)
        for precision in bundle.manifest.precisions:
            bundle.model_bytes(precision)
        return bundle


def _check_parts(bundle: Bundle) -> None:
    """What cannot be parsed must say so now, not when the first radiograph waits."""
    for precision in bundle.manifest.precisions:
        with _complaints(f"model.{precision}.onnx"):
            if has_external_data(bundle.model_bytes(precision)):
                raise BundleError(f"model.{precision}.onnx keeps weights in other files, which no digest covers; "
                                  "export it with all weights inside")  # fmt: skip
    reference = bundle.reference()
    if bundle.manifest.gates.distance is not None and not len(reference.embeddings):
        raise BundleError("the manifest limits the distance to reference cases and the bundle holds none; export it "
                          "again with some")  # fmt: skip
    if bundle.frontal_rule() is None and bundle.manifest.gates.need_rule:
        raise BundleError(f"the manifest has limits for a rule and the bundle holds no {GATE}; export the bundle again")
    answered = {precision for case in bundle.golden_cases() for precision in case.expected}
    for precision in bundle.manifest.precisions:
        if precision not in answered:
            raise BundleError(f"golden/expected.json is incomplete or damaged (no case tells what {precision} "
                              "answers); export the bundle again")  # fmt: skip
    _check_usable(bundle.manifest)


def _check_usable(manifest: Manifest) -> None:
    failed = {name: outcome["failures"] for name, outcome in manifest.accuracy.items() if not outcome["passed"]}
    if failed.keys() >= set(manifest.precisions):
        told = "; ".join(f"{name}: {', '.join(failures) or 'no reason'}" for name, failures in failed.items())
        raise BundleError(f"bundle {manifest.name} passed its accuracy gate in no precision ({told}); "
                          "use another bundle")  # fmt: skip


@contextmanager
def _complaints(part: str) -> Iterator[None]:
    """What a part that is not what it should be raises, as one line. BundleErrors pass."""
    try:
        yield
    except BundleError:
        raise
    except Exception as fault:  # archives alone raise EOFError, zlib's and struct's errors, NotImplementedError, ...
        raise BundleError(f"{part} is incomplete or damaged ({fault}); export the bundle again") from None


def _manifest(listed: dict[str, Any]) -> Manifest:
    preprocessing = Preprocessing(**listed["preprocessing"])
    if preprocessing.digest != listed["preprocessing_digest"]:
        raise BundleError(
            f"the bundle needs preprocessing {listed['preprocessing_digest'][:12]}, this version does "
            f"{preprocessing.digest[:12]}; export the bundle again"
        )
    if preprocessing.side != MODEL_INPUT_SIDE:
        raise BundleError(f"the bundle wants inputs of {preprocessing.side} pixels, this version makes "
                          f"{MODEL_INPUT_SIDE}; export the bundle again")  # fmt: skip
    negative, positive = names(listed["labels"], "labels")
    precisions, members = names(listed["precisions"], "precisions"), names(listed["members"], "members")
    if not set(precisions) <= set(PRECISIONS):
        raise ValueError(f"precisions are {list(precisions)}")
    if listed["embedding_member"] not in members:
        raise ValueError(f"the embedding member {listed['embedding_member']!r} is no member")
    points = {name: None if point is None else share(point) for name, point in listed["operating_points"].items()}
    temperatures = {
        name: None if temperature is None else require_temperature(number(temperature))
        for name, temperature in listed["temperatures"].items()
    }
    return Manifest(
        name=listed["name"],
        role=listed["role"],
        labels=(negative, positive),
        members=members,
        embedding_member=listed["embedding_member"],
        network_input_size=listed["network_input_size"],
        preprocessing=preprocessing,
        preprocessing_digest=listed["preprocessing_digest"],
        precisions=precisions,
        operating_points=points,
        temperatures=temperatures,
        gates=limits_of(listed["gates"]),
        metrics=_metrics(listed["metrics"]),
        intended_use=listed["intended_use"],
        calibration=_calibration(listed.get("calibration", {}), temperatures),
        accuracy=_accuracy(listed.get("accuracy", {}), precisions),
        drift={signal: levels_from_json(told) for signal, told in listed.get("drift", {}).items()},
    )


def _calibration(proofs: dict[str, dict[str, Any]], temperatures: dict[str, float | None]) -> dict[str, Proof]:
    """Raises ValueError for a temperature that nothing proves: its scores would be called probabilities."""
    scaled = {name for name, temperature in temperatures.items() if temperature is not None}
    if scaled != set(proofs):
        raise ValueError(f"temperatures of {sorted(scaled)}, and calibration of {sorted(proofs)}")
    return {
        name: Proof(int(number(told["radiographs"])), number(told["ece"]), number(told["ece_high"]))
        for name, told in proofs.items()
    }


def _metrics(splits: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for figures in splits.values():
        for name in figures.keys() & {"auc", "auc_low", "auc_high"}:
            number(figures[name])
    return dict(splits)


def _accuracy(outcomes: dict[str, dict[str, Any]], precisions: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    for precision, outcome in outcomes.items():
        if precision not in precisions:
            raise ValueError(f"accuracy names {precision!r}, which is not held")
        sentences = outcome["failures"]
        if type(outcome["passed"]) is not bool or not isinstance(sentences, list) or set(map(type, sentences)) - {str}:
            raise ValueError(f"the accuracy of {precision} must tell passed (true or false) and failures (sentences)")
    return dict(outcomes)
