"""A wheelhouse's software bill of materials, CycloneDX 1.5 in JSON: each wheel with version, digest and licence."""

import json
import re
from pathlib import Path
from typing import Any

from install.wheels import Wheel

_OURS = "edge-cxr"


def write_sbom(path: Path, wheels: list[Wheel]) -> None:
    """The same wheels give the same bytes: no time, no serial number."""
    (ours,) = [wheel for wheel in wheels if _normal(wheel.name) == _OURS]
    others = [wheel for wheel in wheels if wheel is not ours]
    known = {_normal(wheel.name): _reference(wheel) for wheel in wheels}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _component(ours, "application")},
        "components": [_component(wheel, "library") for wheel in others],
        "dependencies": [{"ref": _reference(wheel), "dependsOn": _needed(wheel, known)} for wheel in wheels],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _component(wheel: Wheel, kind: str) -> dict[str, Any]:
    return {
        "type": kind,
        "bom-ref": _reference(wheel),
        "name": _normal(wheel.name),
        "version": wheel.version,
        "purl": _reference(wheel),
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
        **({"licenses": [{"license": {"name": wheel.licence}}]} if wheel.licence else {}),
        "properties": [{"name": "edge-cxr:file", "value": wheel.file}],
    }


def _needed(wheel: Wheel, known: dict[str, str]) -> list[str]:
    """What it needs of that which is here; what it needs for an extra, or on another system, is not."""
    names = [re.match(r"[A-Za-z0-9._-]+", need) for need in wheel.needs if "extra ==" not in need]
    found = {known[_normal(name[0])] for name in names if name and _normal(name[0]) in known}
    return sorted(found - {_reference(wheel)})


def _reference(wheel: Wheel) -> str:
    return f"pkg:pypi/{_normal(wheel.name)}@{wheel.version}"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
