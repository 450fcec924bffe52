"""The result file, key by key: a public contract."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reports import BUNDLE, gated, refused, scored, sha

from edge.decision import UNDECIDED
from edge.outputs.report_json import encode, report_json, write_result
from edge.values import QUARANTINED, Finding, Reason

SCORED = {
    "schema": "edge-cxr/report/1",
    "case_id": sha(1)[:16],
    "source": {"sha256": sha(1), "format": "dicom", "view": "AP"},
    "status": "scored",
    "reason": None,
    "detail": None,
    "warnings": ["lossy_source"],
    "score": 0.75,
    "calibrated": False,
    "positive": True,
    "operating_point": 0.5,
    "decision": {"source": "bundle", "operating_point": 0.5, "temperature": None, "site_calibration": None},
    "members": {"resnet50": 0.75},
    "quality": [],
    "lung_fraction": 0.31,
    "neighbours": [{"case_id": "c" * 16, "distance": 0.5, "label": "covid", "score": 0.9}],
    "knn_score": 0.9,
    "knn_label_share": 0.75,
    "bundle": BUNDLE,
    "backend": "openvino",
    "precision": "int8",
    "timings_s": {"decode": 0.25, "total": 0.5},
    "intended_use": "Research use only. Not a medical device.",
}


def test_a_scored_report() -> None:
    assert report_json(scored(1)) == SCORED


def test_a_score_scaled_by_a_temperature_says_so() -> None:
    report = scored(1)
    assert report.prediction is not None
    scaled = replace(report, prediction=replace(report.prediction, calibrated=True))
    assert report_json(scaled) == {**SCORED, "calibrated": True}


def test_it_is_json_and_comes_back_the_same() -> None:
    assert json.loads(encode(scored(1))) == SCORED
    assert encode(scored(1)).endswith("}\n")


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_has_every_key_and_no_number(reason: Reason) -> None:
    result = json.loads(encode(refused(1, reason)))
    assert result.keys() == SCORED.keys()
    assert result["source"].keys() == SCORED["source"].keys()
    assert (result["status"], result["reason"], result["detail"]) == ("not_scored", reason.value, "send it again")
    assert not numbers_in(result)


def test_a_gated_radiograph_shows_what_the_gate_saw_and_no_score() -> None:
    result = json.loads(encode(gated(1)))
    assert numbers_in(result) == {"lung_fraction"}
    assert result["source"]["view"] == "AP"


def test_each_check_of_the_gate_is_told_with_its_limits() -> None:
    findings = (
        Finding("distance", 0.4, high=1.5),
        Finding("contrast", math.nan, low=0.1, reason=Reason.POOR_QUALITY),
    )
    result = json.loads(encode(replace(gated(1), findings=findings)))
    assert result["quality"] == [
        {"check": "distance", "value": 0.4, "low": None, "high": 1.5},
        {"check": "contrast", "value": None, "low": 0.1, "high": None},
    ]


def numbers_in(result: dict[str, Any]) -> set[str]:
    """Keys with anything that could be read as a score; timings are none."""
    empty = (None, [], {})
    names = (
        "score",
        "positive",
        "operating_point",
        "members",
        "lung_fraction",
        "neighbours",
        "knn_score",
        "knn_label_share",
    )
    return {name for name in names if result[name] not in empty}


def test_without_an_operating_point_nothing_is_positive() -> None:
    result = report_json(replace(scored(1), positive=None, operating_point=None, decision=UNDECIDED))
    assert (result["positive"], result["operating_point"], result["score"]) == (None, None, 0.75)


def test_the_file_is_named_by_the_case(tmp_path: Path) -> None:
    for report in (scored(2), scored(1), refused(3)):
        path = write_result(tmp_path / "results", report.case_id, encode(report))
        assert path.name == f"{report.case_id}.json"
        assert json.loads(path.read_bytes()) == json.loads(json.dumps(report_json(report)))
    assert len(list((tmp_path / "results").iterdir())) == 3


def test_reasons_are_the_closed_set() -> None:
    assert {reason.value for reason in Reason} == {
        *("unreadable", "truncated", "no_pixels", "unsupported_syntax", "too_large", "bomb", "decoder_died"),
        *("duplicate", "conflict", "not_a_radiograph", "not_frontal_chest", "no_lungs", "inverted", "poor_quality"),
        *("unlike_reference", "outside_intended_use"),
    }
    assert {reason.value for reason in QUARANTINED} == {
        *("unreadable", "truncated", "no_pixels", "unsupported_syntax", "too_large", "bomb", "decoder_died"),
        "conflict",
    }
