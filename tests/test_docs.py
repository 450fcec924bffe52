"""What the documents list is what there is: reasons, warnings, settings, metrics."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from edge.config import NEEDS_RESTART, Config
from edge.metrics import Metrics
from edge.values import Reason, Warn

DOCS = Path(__file__).parent.parent / "docs"


def listed(document: str) -> list[str]:
    """The first cell of every table row, where it is code."""
    return re.findall(r"^\| `([^`]+)` \|", (DOCS / document).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_reason_and_warning_is_explained_once() -> None:
    assert sorted(listed("reasons.md")) == sorted([*Reason, *Warn])


def test_every_setting_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", (DOCS / "configuration.md").read_text(), re.MULTILINE)
    shown = {field.name: json.dumps(field.default).strip('"') or '""' for field in fields(Config)}
    assert dict(rows) == shown
    assert len(rows) == len(shown)


def test_what_needs_a_restart_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `[^`]+` \|.* A change counts after a restart\. \|$",
                      (DOCS / "configuration.md").read_text(), re.MULTILINE)  # fmt: skip
    assert tuple(rows) == NEEDS_RESTART


def test_every_metric_is_documented_and_exists() -> None:
    families = Metrics().registry.collect()
    served = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert sorted(listed("metrics.md")) == sorted(served)


@pytest.mark.parametrize(
    "document",
    [
        "operations.md",
        "doctor.md",
        "security.md",
        "audit.md",
        "trust.md",
        "similar.md",
        "reasons.md",
        "configuration.md",
        "metrics.md",
        "logs.md",
        "installation.md",
        "monitoring.md",
        "runbook.md",
        "bundle.md",
        "engines.md",
        "training.md",
    ],
)
def test_the_readme_leads_to_every_document(document: str) -> None:
    assert f"docs/{document}" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
