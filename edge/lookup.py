"""A look-up of similar cases: what was asked, what was found, and the note of it in the audit log.

The cases are the bundle's labelled reference set and, with `include_earlier_cases`, the ledger's, which are read whole
and ranked exactly. What is drawn of them is in outputs/similar_sheet.py.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge import similarity
from edge.audit import Event, operator
from edge.bundle import Bundle
from edge.config import Config
from edge.errors import DiskFailed, EdgeError, UsageError
from edge.ledger_reader import LedgerReader
from edge.pipeline import Pipeline
from edge.reading_room import existing, open_pipeline, site_key
from edge.shelf import open_configured
from edge.similarity import ANY, EarlierCase, ScannedCases, SimilarCases, Wanted
from edge.state import LEDGER, existing_state
from edge.temperature import rescaled
from edge.upkeep import Upkeep
from edge.values import CASE_ID_DIGITS, Neighbour, Report, Warn


@dataclass(frozen=True)
class Asked:
    """What others are compared with. operating_point, positive: as it was scored. note: where one was made.

    temperature: that scaled score and operating point; the bundle's for this precision, or what a site has set.
    """

    case: EarlierCase
    operating_point: float | None
    positive: bool | None
    precision: str = field(kw_only=True)
    temperature: float | None = field(default=None, kw_only=True)
    note: str | None = None


@dataclass(frozen=True)
class Found:
    """A similar case. note: where one was made."""

    distance: float
    case: EarlierCase
    note: str | None = None


@dataclass(frozen=True)
class Lookup:
    """knn_score: mean of the scores found; knn_label_share: share of the positive among the labels found.

    noted: the ledger was looked at, and its audit log tells of it.
    """

    asked: Asked
    found: tuple[Found, ...]
    knn_score: float | None
    knn_label_share: float | None
    warnings: tuple[Warn, ...]
    noted: bool = False

    @property
    def case_ids(self) -> list[str]:
        return [self.asked.case.case_id, *(near.case.case_id for near in self.found)]


Draws = Callable[[Lookup, Pipeline, Path | None], None]


def look_up(query: str, config: Config, wanted: Wanted = ANY, *, draw: Draws | None = None) -> Lookup:
    """The nearest cases of a file, or of a scored case in the ledger. Where the ledger's cases are looked at, its audit
    log tells of it before anything is returned or drawn. None is of the query's patient, as far as that is known,
    unless `same_patient` allows it.

    draw: called with what was found, the pipeline, and the file where one was asked for. Raises UsageError when `query`
    is neither, when a look-up among the ledger's cases cannot be written down, the file's patient cannot be recognised
    and must be, or no case could ever be found; EdgeError when the file cannot be scored.
    """
    has_ledger, is_file = Path(config.state, LEDGER).is_file(), Path(query).is_file()
    if not is_file and (len(query) != CASE_ID_DIGITS or not has_ledger):
        raise UsageError(f"{query} is neither a file nor a case of the ledger in {config.state}; check --state")
    searches = has_ledger and config.include_earlier_cases
    if wanted.only_judged_here and not searches:
        raise UsageError(
            "of the bundle's reference cases neither view nor time is known; set include_earlier_cases = true and "
            "check --state, or leave --view, --since, --until and --max-age-days out"
        )
    with contextlib.ExitStack() as opened:
        ledger = opened.enter_context(_noting_ledger(Path(config.state))) if searches or not is_file else None
        file = _checked_file(Path(query), config) if is_file else None
        pipeline = opened.enter_context(open_pipeline(config)) if is_file or draw is not None else None
        bundle = pipeline.bundle if pipeline else open_configured(config)
        _check_label(wanted, bundle)
        if file is not None:
            assert pipeline is not None
            asked = _asked_file(pipeline.report(file), query)
        else:
            assert ledger is not None
            asked = _asked_case(query, bundle, ledger)
        found = _found(asked, config, wanted, bundle, ledger if searches else None)
        if ledger is not None:
            told = {"by": operator(), "asked": "file" if is_file else "case", "k": config.neighbours,
                    "found": len(found.found), "sheet": draw is not None}  # fmt: skip
            ledger.note(Event.LOOKED_UP, told, case_id=asked.case.case_id)
            found = _with_what_was_said(found, bundle.id, ledger)
        if draw is not None:
            assert pipeline is not None
            draw(found, pipeline, file)
        return found


def lookup_json(lookup: Lookup) -> dict[str, Any]:
    """For machines. `judged_s` is null, and `reference` true, of a case of the bundle's reference set."""
    case = lookup.asked.case
    return {
        "case_id": case.case_id,
        "score": case.score,
        "operating_point": lookup.asked.operating_point,
        "positive": lookup.asked.positive,
        "knn_score": lookup.knn_score,
        "knn_label_share": lookup.knn_label_share,
        "warnings": list(lookup.warnings),
        **_told(case, lookup.asked.note),
        "neighbours": [
            {
                "case_id": near.case.case_id,
                "distance": near.distance,
                "score": near.case.score,
                "reference": near.case.judged_s is None,
                **_told(near.case, near.note),
            }
            for near in lookup.found
        ],
    }


def _told(case: EarlierCase, note: str | None) -> dict[str, Any]:
    return {"label": case.label, "view": case.view, "judged_s": case.judged_s, "note": note}


def _noting_ledger(root: Path) -> Upkeep:
    """Raises UsageError when nothing can be written there, as in another user's folder or on a read-only disk."""
    try:
        state = existing_state(root)
        return Upkeep(state.ledger, site_key=state.site_key)
    except DiskFailed:
        raise
    except EdgeError as fault:
        raise UsageError(
            f"a look-up of the box's cases must be noted in its audit log, and cannot be: {fault}"
        ) from None


def _checked_file(query: Path, config: Config) -> Path:
    (file,) = existing([query])
    if not config.same_patient and site_key(config) is None:
        raise UsageError(
            f"state folder {config.state} holds no site key that can be read, and without it no patient is recognised; "
            "check --state, or leave --other-patients out"
        )
    return file


def _check_label(wanted: Wanted, bundle: Bundle) -> None:
    negative, positive = bundle.manifest.labels
    if wanted.label not in (None, negative, positive):
        raise UsageError(f"{wanted.label!r} is no label of the bundle; say --label {positive} or {negative}")


def _asked_file(report: Report, query: str) -> Asked:
    if report.prediction is None or report.source is None:
        raise EdgeError(f"{query} is not scored ({report.reason}): {report.detail}")
    source, prediction = report.source, report.prediction
    case = EarlierCase(
        report.case_id,
        prediction.embedding,
        None,
        prediction.score,
        patient_key=source.patient_key,
        view=source.view_position,
    )
    return Asked(
        case,
        report.operating_point,
        report.positive,
        precision=report.engine.precision,
        temperature=report.decision.temperature,
    )


def _asked_case(case_id: str, bundle: Bundle, ledger: LedgerReader) -> Asked:
    cases = ledger.earlier_cases(bundle.id, case_id=case_id)
    if not cases:
        raise UsageError(f"case {case_id} has no score from bundle {bundle.manifest.name}; check --bundle and --state")
    report = next(told for told in ledger.reports(case_id) if told["bundle"] == bundle.id)
    precision = report["precision"]
    by_bundle = {"temperature": bundle.manifest.temperatures.get(precision)}  # older reports tell of no other
    return Asked(
        cases[0],
        report["operating_point"],
        report["positive"],
        precision=precision,
        temperature=report.get("decision", by_bundle)["temperature"],
    )


def _found(asked: Asked, config: Config, wanted: Wanted, bundle: Bundle, ledger: LedgerReader | None) -> Lookup:
    case = asked.case
    similar = SimilarCases.of_bundle(bundle, None if ledger is None else ScannedCases(ledger, bundle.id))
    wanted = wanted if config.same_patient else replace(wanted, not_of=case.patient_key)
    near = similar.closest(case.embedding, config.neighbours, without=case.case_id, wanted=wanted)
    neighbours = [similarity.neighbour(one) for one in near]
    score = similarity.knn_score(neighbours)
    share = similarity.knn_label_share(neighbours, bundle.manifest.labels)
    warnings = (Warn.NEIGHBOURS_DISAGREE,) if _disagree(asked, neighbours, bundle) else ()
    return Lookup(asked, tuple(Found(*one) for one in near), score, share, warnings)


def _disagree(asked: Asked, neighbours: Sequence[Neighbour], bundle: Bundle) -> bool:
    """As in a report: all on the bundle's own scale, as the reference cases' scores are."""
    temperatures = {"of": asked.temperature, "to": bundle.manifest.temperatures.get(asked.precision)}
    score, point = asked.case.score, asked.operating_point
    if score is None:
        return False
    point = None if point is None else rescaled(point, **temperatures)
    return similarity.disagree(rescaled(score, **temperatures), neighbours, bundle.manifest.labels, point)


def _with_what_was_said(lookup: Lookup, bundle_id: str, ledger: LedgerReader) -> Lookup:
    """With the notes, and with the label of a file that the box has scored."""
    notes, case = ledger.notes(lookup.case_ids), lookup.asked.case
    found = tuple(replace(near, note=notes.get(near.case.case_id)) for near in lookup.found)
    for known in ledger.earlier_cases(bundle_id, case_id=case.case_id):
        case = replace(case, label=known.label, judged_s=known.judged_s)
    asked = replace(lookup.asked, case=case, note=notes.get(case.case_id))
    return replace(lookup, asked=asked, found=found, noted=True)
