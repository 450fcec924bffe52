"""Report -> the result file, schema edge-cxr/report/1. Keys may be added, never removed or given another meaning."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.outputs.durable import write_durably
from edge.values import INTENDED_USE, Finding, Report

SCHEMA = "edge-cxr/report/1"


def report_json(report: Report) -> dict[str, Any]:
    """The public form of a report. A report that is not scored carries no number that could be read as a score."""
    source, prediction = report.source, report.prediction
    return {
        "schema": SCHEMA,
        "case_id": report.case_id,
        "source": {
            "sha256": report.sha256,
            "format": report.format,
            "view": source.view_position if source else None,
        },
        "status": "scored" if report.scored else "not_scored",
        "reason": report.reason,
        "detail": report.detail,
        "warnings": list(report.warnings),
        "score": prediction.score if prediction else None,
        "calibrated": prediction is not None and prediction.calibrated,
        "positive": report.positive,
        "operating_point": report.operating_point,
        "decision": asdict(report.decision),
        "members": prediction.members if prediction else {},
        "quality": [_quality(finding) for finding in report.findings],
        "lung_fraction": report.lung_fraction,
        "neighbours": [
            {
                "case_id": neighbour.case_id,
                "distance": neighbour.distance,
                "label": neighbour.label,
                "score": neighbour.score,
            }
            for neighbour in report.neighbours
        ],
        "knn_score": report.knn_score,
        "knn_label_share": report.knn_label_share,
        "bundle": report.bundle_id,
        "backend": report.engine.backend,
        "precision": report.engine.precision,
        "timings_s": {stage: round(spent_s, 6) for stage, spent_s in report.timings_s.items()},
        "intended_use": INTENDED_USE,
    }


def _quality(finding: Finding) -> dict[str, Any]:
    """A limit of null: there is none on that side. A value of null was no number."""
    numbers = {"value": finding.value, "low": finding.low, "high": finding.high}
    return {"check": finding.check, **{name: one if math.isfinite(one) else None for name, one in numbers.items()}}


def encode(report: Report) -> str:
    return json.dumps(report_json(report), indent=1, allow_nan=False) + "\n"


def write_result(folder: Path, case_id: str, document: str) -> Path:
    """Write `<case id>.json`, complete the moment it is visible. Raises StateError when the disk fails."""
    path = folder / f"{case_id}.json"
    write_durably(path, document.encode())
    return path
