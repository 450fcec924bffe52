"""The contact sheet of one look-up: its cases as cards, with their pictures and what is known of them in words."""

import datetime
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edge.case_pictures import CasePictures, of_case, sources_of
from edge.config import Config
from edge.errors import UsageError
from edge.lookup import Asked, Draws, Found, Lookup
from edge.outputs.similar_sheet import Card, CasePicture, Colour, draw_similar_sheet, write_similar_sheet
from edge.pipeline import Pipeline
from edge.similarity import EarlierCase
from edge.values import Warn

_DAY_S = 86_400.0
_MOST_LABEL = 16  # characters
_MOST_CASES = 99  # 20 rows, 180 MB while they are drawn


def sheet_drawer(
    sheet: Path, config: Config, *, reference_images: Path | None = None, now: Callable[[], float] = time.time
) -> Draws:
    """What draws a look-up into `sheet`, readable by this user alone. Raises UsageError when it could not be written,
    before anything is looked up.
    """
    if sheet.suffix.lower() != ".png" or not sheet.parent.is_dir() or sheet.is_dir():
        raise UsageError(f"{sheet} is no place for a contact sheet; name a .png file in a folder that is there")
    if config.neighbours > _MOST_CASES:
        raise UsageError(
            f"a contact sheet of {config.neighbours} cases is too large; draw at most {_MOST_CASES} with -k"
        )
    if reference_images is not None and not reference_images.is_dir():
        raise UsageError(f"{reference_images} is no folder; name the one with the reference images")

    def draw(lookup: Lookup, pipeline: Pipeline, file: Path | None) -> None:
        state = Path(config.state) if lookup.noted else None  # what is not noted shows nothing of the box's
        sources = sources_of(lookup.case_ids, pipeline.bundle, state, reference_images)
        if file is not None:
            asked = lookup.asked.case.case_id
            sources[asked].insert(0, partial(of_case, asked, file))  # it may be another since it was scored
        pictures = CasePictures(pipeline.bundle, pipeline.engine, pipeline.decoder, config).of(sources)
        write_similar_sheet(sheet, _drawn(lookup, pictures, pipeline.bundle.manifest.labels, now()))

    return draw


def _drawn(lookup: Lookup, pictures: dict[str, CasePicture], labels: tuple[str, str], now_s: float) -> Colour:
    asked = lookup.asked.case
    query = Card("Query", _query_lines(lookup.asked, now_s), pictures.get(asked.case_id), lookup.asked.note or "")
    similar = [_card(place, near, pictures.get(near.case.case_id), now_s) for place, near in enumerate(lookup.found, 1)]
    heading = f"Case {asked.case_id} and the {len(similar)} most similar"
    return draw_similar_sheet(query, similar, heading=heading, summary=summary(lookup, labels), finding=labels[1])


def _card(place: int, near: Found, picture: CasePicture | None, now_s: float) -> Card:
    label = near.case.label or "no label"
    short = label if len(label) <= _MOST_LABEL else f"{label[:_MOST_LABEL]}…"  # the distance must stay in view
    title = f"{place}. {short}, distance {near.distance:.2f}"
    return Card(title, _lines(near, now_s), picture, near.note or "")


def summary(lookup: Lookup, labels: tuple[str, str]) -> str:
    """Network and neighbours beside each other, in a line."""
    case = lookup.asked.case
    told = [f"network {_number(case.score)}", f"neighbours' scores {_number(lookup.knn_score)}"]
    share = lookup.knn_label_share
    told.append(f"{labels[1]} among their labels {'unknown' if share is None else f'{share:.0%}'}")
    if Warn.NEIGHBOURS_DISAGREE in lookup.warnings:
        told.append("the neighbours disagree with the network")
    return "   |   ".join(told)


def judged(case: EarlierCase, now_s: float) -> str:
    """When the box judged it, in UTC, and how long ago."""
    if case.judged_s is None:
        return "reference case"
    day = datetime.datetime.fromtimestamp(case.judged_s, datetime.UTC).date().isoformat()
    days = int(max(0.0, now_s - case.judged_s) // _DAY_S)
    return f"{day}, {'today' if days == 0 else f'{days} d ago'}"


def _query_lines(asked: Asked, now_s: float) -> list[str]:
    case = asked.case
    answer = {True: "positive", False: "negative", None: "no operating point"}[asked.positive]
    when = [f"judged {judged(case, now_s)}"] if case.judged_s is not None else []
    labelled = [f"labelled {case.label}"] if case.label else []
    return [f"score {_number(case.score)}, {answer}", f"view {case.view or 'unknown'}", *labelled, *when]


def _lines(near: Found, now_s: float) -> list[str]:
    case = near.case
    when = "reference case" if case.judged_s is None else f"judged {judged(case, now_s)}"
    return [f"score {_number(case.score)}", f"view {case.view or 'unknown'}", when, f"case {case.case_id}"]


def _number(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.2f}"
