"""What people read at the command line: tables on a terminal, plain lines in a pipe, JSON for machines."""

import datetime
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edge.audit_log import Entry
from edge.demo import DemoOutcome
from edge.doctor.check import Check, Outcome
from edge.lookup import Lookup, lookup_json
from edge.outputs.report_json import report_json
from edge.outputs.verdict import verdict
from edge.similarity import EarlierCase
from edge.values import Report, Sighting


def _console(width: int | None = None) -> Console:
    """Prints texts as they are: brackets are no markup, and `:bed:` in a note or a path is no picture of a bed."""
    return Console(highlight=False, markup=False, emoji=False, width=width)


class ReportPrinter:
    """Called with every report of a daemon: JSON lines, or a line each and a count at the end."""

    def __init__(self, *, as_json: bool, terminal: bool) -> None:
        self._as_json = as_json
        self._console = _console(width=None if terminal else 160)
        self._scored = self._refused = 0

    def __call__(self, sighting: Sighting, report: Report) -> None:
        self._scored += report.scored
        self._refused += not report.scored
        if self._as_json:
            sys.stdout.write(json.dumps(report_json(report)) + "\n")
            sys.stdout.flush()
        else:
            self._console.print(f"{report.case_id}  {_outcome(report)}", soft_wrap=True)

    def close(self) -> None:
        if not self._as_json:
            self._console.print(f"{self._scored} scored, {self._refused} not scored")


def _outcome(report: Report) -> str:
    if report.prediction is None:
        return f"{verdict(report)}: {report.detail}"
    nearest = ", ".join(f"{near.label or '?'} {near.distance:.2f}" for near in report.neighbours)
    warnings = f"  [{', '.join(report.warnings)}]" if report.warnings else ""
    return f"{verdict(report)}  lungs {report.lung_fraction:.2f}  near: {nearest}{warnings}"


def print_reports(files: Sequence[Path], reports: Sequence[Report], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([report_json(report) for report in reports], indent=1))
        return
    for path, report in zip(files, reports, strict=True):
        _console(width=200).print(f"{path}: {_outcome(report)}", soft_wrap=True)


def print_lookup(lookup: Lookup, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(lookup_json(lookup), indent=1))
        return
    table = Table("case", "distance", "label", "score", "view", "judged")
    table.columns[0].no_wrap = True
    for near in lookup.found:
        case = near.case
        score = "" if case.score is None else f"{case.score:.3f}"
        table.add_row(
            case.case_id, f"{near.distance:.3f}", case.label or "unknown", score, case.view or "", _judged(case)
        )
    console = _console()
    console.print(table)
    if not lookup.found:
        console.print("no case fits")
    asked, share = lookup.asked, lookup.knn_label_share
    console.print(
        f"network {_score(asked.case.score)}, neighbours' scores {_score(lookup.knn_score)}, "
        f"positive among their labels {'unknown' if share is None else f'{share:.0%}'}"
    )
    noted = [(asked.case, asked.note), *((near.case, near.note) for near in lookup.found)]
    for case, note in noted:
        if note:
            console.print(f"{case.case_id}: {note}", soft_wrap=True)
    if lookup.warnings:
        console.print(f"warnings: {', '.join(lookup.warnings)}")


def _score(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.3f}"


def _judged(case: EarlierCase) -> str:
    if case.judged_s is None:
        return "reference"
    return datetime.datetime.fromtimestamp(case.judged_s, datetime.UTC).strftime("%Y-%m-%d")


def print_demo(outcome: DemoOutcome) -> None:
    table = Table("file", "truth", "score", "answer", "nearest cases (distance)", title="Phantom radiographs")
    for row in outcome.rows:
        report = row.report
        if report.prediction is None:
            table.add_row(row.name, row.truth, "-", f"not scored: {report.reason}", "")
            continue
        nearest = ", ".join(f"{near.label} ({near.distance:.2f})" for near in report.neighbours[:2])
        answer = "positive" if report.positive else "negative"
        table.add_row(row.name, row.truth, f"{report.prediction.score:.3f}", answer, nearest)
    console = _console(width=None if sys.stdout.isatty() else 110)
    console.print(table)
    print(f"Results:       {outcome.results}/<case id>.json")
    print(f"Contact sheet: {outcome.contact_sheet}")
    print("These are synthetic phantoms. Research use only; not a medical device.")


def print_checks(checks: Sequence[Check], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
        return
    marks = {Outcome.PASSED: "ok", Outcome.WARNING: "warn", Outcome.FAILED: "FAIL"}
    for check in checks:
        print(f"{marks[check.outcome]:<4}  {check.name}: {check.finding}")
    count = {outcome: sum(check.outcome == outcome for check in checks) for outcome in Outcome}
    print(f"{len(checks)} checks: {', '.join(f'{number} {outcome}' for outcome, number in count.items())}")


def print_found(reports: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(reports, indent=1))
        return
    table = Table("case", "status", "score", "reason", "bundle", "precision")
    for report in reports:
        score = "" if report["score"] is None else f"{report['score']:.3f}"
        status, reason = report["status"], report["reason"] or ""
        table.add_row(report["case_id"], status, score, reason, report["bundle"][:12], report["precision"])
    _console().print(table)


def audit_line(entry: Entry) -> str:
    detail = "  ".join(f"{key}={value}" for key, value in entry.detail.items())
    return f"{entry.number}  {entry.at}  {entry.event}  {entry.case or '-'}  {detail}".rstrip()
