"""Writes a model bundle's manifest: what the bundle is, and the digest of every other file in it.

The reader is edge/bundle.py. The manifest is written last, so that it means complete.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge.bundle import FORMAT
from edge.calibration import Proof
from edge.errors import UsageError
from edge.gate_limits import GateLimits, as_listed, limits_of
from edge.imaging.preprocess import Preprocessing
from edge.reference_levels import Levels, levels_from_json
from edge.seal import MANIFEST, SIGNATURE
from edge.values import INTENDED_USE
from export.graph import OPSET


@dataclass(frozen=True)
class BundleContent:
    """All that stands in manifest.json besides the digests.

    operating_points, temperatures: per precision, None where there is none. metrics: figures per split.
    training: what made the weights, enough to repeat it. accuracy: the gate's outcome per precision, once it was run.
    calibration: what proves each temperature. drift: levels by signal, once the gate was fitted.
    """

    name: str
    role: str  # phantom | demonstration | site
    labels: tuple[str, str]
    members: tuple[str, ...]
    embedding_member: str
    network_input_size: int
    preprocessing: Preprocessing
    precisions: tuple[str, ...]
    operating_points: dict[str, float | None]
    temperatures: dict[str, float | None]
    gates: GateLimits
    metrics: dict[str, Any]
    training: dict[str, Any]
    calibration: dict[str, Proof] = field(default_factory=dict)
    accuracy: dict[str, dict[str, Any]] = field(default_factory=dict)
    drift: dict[str, Levels] = field(default_factory=dict)


def write_manifest(folder: Path, content: BundleContent) -> str:
    """Digest every file of `folder` into its manifest; returns the bundle id, the SHA-256 of the manifest.

    Raises UsageError when the folder lacks a model that the content names.
    """
    for precision in content.precisions:
        if not (folder / f"model.{precision}.onnx").is_file():
            raise UsageError(f"{folder.name} holds no model.{precision}.onnx; run: edge-cxr export, then calibrate")
    proofs = content.calibration
    manifest = {
        "format": FORMAT,
        "name": content.name,
        "role": content.role,
        "files": digests(folder),
        "labels": list(content.labels),
        "members": list(content.members),
        "embedding_member": content.embedding_member,
        "network_input_size": content.network_input_size,
        "preprocessing": asdict(content.preprocessing),
        "preprocessing_digest": content.preprocessing.digest,
        "precisions": list(content.precisions),
        "operating_points": content.operating_points,
        "temperatures": content.temperatures,
        "gates": as_listed(content.gates),
        "metrics": content.metrics,
        "intended_use": INTENDED_USE,
        "opset": OPSET,
        "training": content.training,
        **({"calibration": {name: asdict(proof) for name, proof in proofs.items()}} if proofs else {}),
        **({"accuracy": content.accuracy} if content.accuracy else {}),
        **({"drift": {name: levels.to_json() for name, levels in content.drift.items()}} if content.drift else {}),
    }
    written = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode("utf-8") + b"\n"
    (folder / SIGNATURE).unlink(missing_ok=True)  # it was of the manifest that is replaced here
    (folder / MANIFEST).write_bytes(written)
    return hashlib.sha256(written).hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below `folder` but the manifest and its signature, by POSIX path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path not in (folder / MANIFEST, folder / SIGNATURE)
    }


def read_content(folder: Path) -> BundleContent:
    """The content of a bundle that was written before, to amend it."""
    listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    negative, positive = listed["labels"]
    return BundleContent(
        name=listed["name"],
        role=listed["role"],
        labels=(negative, positive),
        members=tuple(listed["members"]),
        embedding_member=listed["embedding_member"],
        network_input_size=listed["network_input_size"],
        preprocessing=Preprocessing(**listed["preprocessing"]),
        precisions=tuple(listed["precisions"]),
        operating_points=listed["operating_points"],
        temperatures=listed["temperatures"],
        gates=limits_of(listed["gates"]),
        metrics=listed["metrics"],
        training=listed["training"],
        calibration={name: Proof(**proof) for name, proof in listed.get("calibration", {}).items()},
        accuracy=listed.get("accuracy", {}),
        drift={signal: levels_from_json(told) for signal, told in listed.get("drift", {}).items()},
    )
