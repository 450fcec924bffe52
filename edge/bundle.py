"""Opens and verifies a model bundle: nothing is parsed, and nothing is used, before its digest has matched.

The format is in docs/bundle.md. Writing bundles is export's work.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError
from edge.imaging.preprocess import Preprocessing
from edge.values import MODEL_INPUT_SIDE, PRECISIONS

FORMAT = "edge-cxr/bundle/1"
MANIFEST = "manifest.json"
GOLDEN_QUANTITIES = ("score", "lung_fraction")
PACKAGED_FOLDER = Path(__file__).parent / "bundles"
# The bundles that come with the program, by their id: a changed file there is refused like any other.
PACKAGED_IDS = {
    "phantom": "a64c2ad4ab33e975c8ead09480933525e0979aeeec9b95ad39a4639ccb468781",
    "research": "9bcf5848f20bbd2ac008300206ec96dbfeca985445d086be0be116bf32563342",
}


@dataclass(frozen=True)
class LungLimits:
    """Shares of the content that lungs may cover; within `margin` of a limit the gate warns."""

    low: float
    high: float
    margin: float


@dataclass(frozen=True)
class Manifest:
    """manifest.json, checked. Points and temperatures are per precision, None until a site calibrates."""

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
    lung_limits: LungLimits
    metrics: dict[str, dict[str, Any]]
    intended_use: str


@dataclass(frozen=True)
class Reference:
    """The labelled reference cases. embeddings: float32 [cases, 128]; origins tell how a phantom can be redrawn."""

    embeddings: NDArray[np.float32]
    labels: tuple[str, ...]
    scores: tuple[float, ...]
    case_ids: tuple[str, ...]
    origins: tuple[str, ...]


@dataclass(frozen=True)
class GoldenCase:
    """A phantom DICOM file and what the bundle's network answers to it: {precision: {"score", "lung_fraction"}}."""

    name: str
    content: bytes
    expected: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. `id` is the SHA-256 of manifest.json; `files` holds the verified bytes."""

    id: str
    manifest: Manifest
    files: dict[str, bytes]

    def model_bytes(self, precision: str) -> bytes:
        return self.files[f"model.{precision}.onnx"]

    def reference(self) -> Reference:
        with _complaints("reference.npz"), np.load(io.BytesIO(self.files["reference.npz"])) as arrays:
            return Reference(
                embeddings=arrays["embeddings"].astype(np.float32),
                labels=tuple(map(str, arrays["labels"])),
                scores=tuple(map(float, arrays["scores"])),
                case_ids=tuple(map(str, arrays["case_ids"])),
                origins=tuple(map(str, arrays["origins"])),
            )

    def golden_cases(self) -> list[GoldenCase]:
        with _complaints("golden/expected.json"):
            return [self._golden_case(case) for case in json.loads(self.files["golden/expected.json"])["cases"]]

    def _golden_case(self, case: dict[str, Any]) -> GoldenCase:
        expected = {
            precision: {quantity: float(answers[quantity]) for quantity in GOLDEN_QUANTITIES}
            for precision, answers in case["precisions"].items()
        }
        return GoldenCase(case["file"], self.files[case["file"]], expected)


def open_bundle(name_or_folder: str) -> Bundle:
    """Open a packaged bundle by name (phantom, research) or any bundle by its folder.

    Raises BundleError when it is missing, damaged, incomplete, or made for another preprocessing or format.
    """
    if name_or_folder in PACKAGED_IDS:
        bundle = read_bundle(PACKAGED_FOLDER / name_or_folder, pinned_id=PACKAGED_IDS[name_or_folder])
    else:
        bundle = read_bundle(Path(name_or_folder))
    bundle.reference()  # what cannot be parsed must say so now, not when the first radiograph waits
    bundle.golden_cases()
    return bundle


def read_bundle(folder: Path, *, pinned_id: str | None = None) -> Bundle:
    """Read and verify a bundle folder; each file is read once, and only the verified bytes are kept.

    Reference and golden cases may still be missing: export asks such a draft for its answers.
    """
    if not folder.is_dir():
        known = ", ".join(sorted(PACKAGED_IDS))
        raise BundleError(f"bundle {str(folder)!r} is no folder; name one, or a packaged bundle: {known}")
    try:
        raw = (folder / MANIFEST).read_bytes()
        listed = json.loads(raw)
    except (OSError, ValueError) as fault:
        raise BundleError(f"{folder / MANIFEST} cannot be read ({type(fault).__name__}); export it again") from None
    bundle_id = hashlib.sha256(raw).hexdigest()
    if pinned_id is not None and bundle_id != pinned_id:
        raise BundleError(
            f"packaged bundle {folder.name} is {bundle_id[:12]}, not {pinned_id[:12]}; reinstall edge-cxr"
        )
    if not isinstance(listed, dict) or listed.get("format") != FORMAT:
        raise BundleError(f"{folder / MANIFEST} is not of format {FORMAT}; export the bundle with this version")
    with _complaints(str(folder / MANIFEST)):
        bundle = Bundle(bundle_id, _manifest(listed), _verified_files(folder, listed["files"]))
        for precision in bundle.manifest.precisions:
            bundle.model_bytes(precision)
        return bundle


@contextmanager
def _complaints(part: str) -> Iterator[None]:
    """What a part that is not what it should be raises, as one line. BundleErrors pass."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OSError, BadZipFile) as fault:
        raise BundleError(f"{part} is incomplete or damaged ({fault}); export the bundle again") from None


def _verified_files(folder: Path, digests: dict[str, str]) -> dict[str, bytes]:
    files = {}
    for name, digest in digests.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise BundleError(f"the manifest names {name!r}, outside the bundle; do not use this bundle")
        try:
            content = (folder / path).read_bytes()
        except OSError:
            raise BundleError(f"{folder / path} is missing; copy the whole bundle again") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise BundleError(f"{folder / path} does not match its digest; copy the bundle again")
        files[name] = content
    return files


def _manifest(listed: dict[str, Any]) -> Manifest:
    preprocessing = Preprocessing(**listed["preprocessing"])
    if preprocessing.digest != listed["preprocessing_digest"]:
        raise BundleError(
            f"the bundle needs preprocessing {listed['preprocessing_digest'][:12]}, this version does "
            f"{preprocessing.digest[:12]}; export the bundle again"
        )
    if any(temperature is not None for temperature in listed["temperatures"].values()):
        raise BundleError("the bundle sets temperatures, which this version does not apply; use a newer edge-cxr")
    if preprocessing.side != MODEL_INPUT_SIDE:
        raise BundleError(f"the bundle wants inputs of {preprocessing.side} pixels, this version makes "
                          f"{MODEL_INPUT_SIDE}; export the bundle again")  # fmt: skip
    negative, positive = listed["labels"]
    precisions, members = tuple(listed["precisions"]), tuple(listed["members"])
    if not precisions or not set(precisions) <= set(PRECISIONS):
        raise ValueError(f"precisions are {list(precisions)}")
    if listed["embedding_member"] not in members:
        raise ValueError(f"the embedding member {listed['embedding_member']!r} is no member")
    points = {name: None if point is None else float(point) for name, point in listed["operating_points"].items()}
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
        temperatures=dict(listed["temperatures"]),
        lung_limits=LungLimits(**{name: float(limit) for name, limit in listed["gates"]["lung_fraction"].items()}),
        metrics=dict(listed["metrics"]),
        intended_use=listed["intended_use"],
    )
