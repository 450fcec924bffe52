"""Other cases that a report names, as neighbours or in its detail; and the report without one that was forgotten."""

import json
import re
from dataclasses import replace
from typing import Any

from edge.values import CASE_ID_DIGITS, Report

_GONE = "a case that was forgotten"
_CASE_ID = re.compile(rf"\b[0-9a-f]{{{CASE_ID_DIGITS}}}\b")


def named_in(report: Report) -> set[str]:
    """Case ids; in a detail also what only looks like one."""
    return {near.case_id for near in report.neighbours} | set(_CASE_ID.findall(report.detail or ""))


def without(case_id: str, report: Report) -> Report:
    """A report that was not yet written down, without the case. Its score stays."""
    neighbours = tuple(near for near in report.neighbours if near.case_id != case_id)
    return replace(report, neighbours=neighbours, detail=_unnamed(report.detail, case_id))


def result_without(case_id: str, result: str) -> str:
    """A result file's text without the case. All else stays word for word.

    Raises AttributeError, LookupError, TypeError or ValueError when this is no result.
    """
    told = json.loads(result)
    told["neighbours"] = [near for near in told["neighbours"] if near["case_id"] != case_id]
    return json.dumps(_blank(told, case_id), indent=1) + "\n"


def reason_without(case_id: str, reason: str) -> str:
    """As `result_without`, of the file that says why a radiograph is in quarantine; a result has all that it says."""
    told = {key: value for key, value in json.loads(reason).items() if key in ("case_id", "reason", "detail")}
    return json.dumps(_blank(told, case_id)) + "\n"


def _blank(told: dict[str, Any], case_id: str) -> dict[str, Any]:
    return told | {"detail": _unnamed(told["detail"], case_id)}


def _unnamed(detail: str | None, case_id: str) -> str | None:
    return detail and detail.replace(f"case {case_id}", _GONE).replace(case_id, "forgotten")
