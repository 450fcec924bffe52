"""A report without a case that was forgotten: in all forms that a report has, and word for word but for the name."""

import json
from dataclasses import replace

import pytest
from reports import gated, refused, scored

from edge.mentions import named_in, reason_without, result_without, without
from edge.outputs.report_json import encode
from edge.values import Neighbour, Report

GONE, NEAR = "0123456789abcdef", "c" * 16
DETAIL = f"the same radiograph has its result as case {GONE}"
UNNAMED = "the same radiograph has its result as a case that was forgotten"


def naming() -> Report:
    report = scored(1)
    return replace(report, neighbours=(Neighbour(GONE, 0.25, None, 0.5), *report.neighbours))


def test_cases_are_named_as_neighbours_and_in_details() -> None:
    assert named_in(naming()) == {GONE, NEAR}
    assert named_in(replace(refused(1), detail=DETAIL)) == {GONE}
    assert named_in(replace(refused(1), detail=f"{GONE}0 is longer")) == set()
    assert named_in(gated(1)) == set()


def test_a_report_and_its_result_lose_the_same() -> None:
    detailed = replace(refused(1), detail=DETAIL)
    assert encode(without(GONE, naming())) == result_without(GONE, encode(naming())) == encode(scored(1))
    assert encode(without(GONE, detailed)) == result_without(GONE, encode(detailed))
    assert without(GONE, detailed) == replace(detailed, detail=UNNAMED)
    assert without(GONE, scored(1)).neighbours == scored(1).neighbours


def test_a_reason_is_told_from_the_file_or_from_the_result() -> None:
    told = {"case_id": NEAR, "reason": "conflict", "detail": UNNAMED}
    assert json.loads(reason_without(GONE, json.dumps({**told, "detail": DETAIL}))) == told
    report = replace(refused(1), detail=DETAIL)
    expected = {"case_id": report.case_id, "reason": "truncated", "detail": UNNAMED}
    assert json.loads(reason_without(GONE, encode(report))) == expected


@pytest.mark.parametrize("damaged", ['{"neighbours": [', "[]", "{}", '{"neighbours": [1], "detail": null}', "1"])
def test_what_is_no_result_is_refused(damaged: str) -> None:
    with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
        result_without(GONE, damaged)
