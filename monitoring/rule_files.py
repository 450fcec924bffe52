"""The rules as they lie in monitoring/prometheus/rules."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "prometheus" / "rules"


def rules() -> list[dict[str, Any]]:
    """Recording and alerting ones, as Prometheus reads them."""
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """By name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> dict[str, str]:
    """Expression by name."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
