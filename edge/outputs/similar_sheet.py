"""The contact sheet of a look-up: a radiograph and its most similar cases side by side, for a reader's eye.

Each case is a column: the radiograph, below it the same with the outline of the lungs and the evidence map, and what
is known of it. Nothing is stretched. Where the pictures come from is in case_pictures.py.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import StateError
from edge.outputs.durable import write_durably
from edge.values import INTENDED_USE

Grey = NDArray[np.uint8]  # [rows, columns]
Colour = NDArray[np.uint8]  # BGR [rows, columns, 3]
_Part = TypeVar("_Part", NDArray[np.uint8], NDArray[np.float32])

_TILE, _GAP, _COLUMNS = 480, 16, 5
_HEADER, _FOOTER, _TITLE, _LINE = 96, 74, 38, 27
_GROUND, _EMPTY, _INK, _DIM = (22, 20, 18), (48, 45, 42), (240, 240, 240), (178, 178, 178)
_OUTLINE = (235, 190, 90)  # sky blue: told from the map's orange by every kind of colour blindness
_HALO = (40, 25, 0)
_FRAME = (120, 200, 255)  # the query's
_MOST_NOTE_LINES = 3
_STRONGEST = 0.5  # how much of the radiograph the map covers at most


@dataclass(frozen=True)
class CasePicture:
    """grey: the radiograph in its own proportions, uint8 [rows, columns].

    lungs, evidence: float32 [rows, columns] in 0..1, as the network answers to it.
    """

    grey: Grey
    lungs: NDArray[np.float32]
    evidence: NDArray[np.float32]


@dataclass(frozen=True)
class Card:
    """One case. lines: what is known of it, each on a line of its own. note: last, and broken where it is long."""

    title: str
    lines: Sequence[str]
    picture: CasePicture | None
    note: str = ""


def draw_similar_sheet(query: Card, similar: Sequence[Card], *, heading: str, summary: str, finding: str) -> Colour:
    """The sheet as BGR [rows, columns, 3]: the query first, five columns in a row. finding: what the maps speak for."""
    cards = [query, *similar]
    lines = max(len(card.lines) + len(_broken(card.note)) for card in cards)
    card_height = _TITLE + 2 * _TILE + _GAP + lines * _LINE + 2 * _GAP
    rows, columns = -(-len(cards) // _COLUMNS), min(len(cards), _COLUMNS)
    width = max(_GAP + columns * (_TILE + _GAP), 3 * (_TILE + _GAP))
    sheet = np.full((_HEADER + rows * card_height + _FOOTER, width, 3), _GROUND, np.uint8)
    _write(sheet, heading, (_GAP, 40), size=30, weight=600)
    _write(sheet, summary, (_GAP, 76), size=22, ink=_DIM)
    for place, card in enumerate(cards):
        top, left = _HEADER + place // _COLUMNS * card_height, _GAP + place % _COLUMNS * (_TILE + _GAP)
        _draw_card(sheet, card, top, left, is_query=place == 0)
    _draw_legend(sheet, sheet.shape[0] - _FOOTER, finding)
    return sheet


def write_similar_sheet(path: Path, sheet: Colour) -> None:
    """Readable by this user alone: it is patient data. Raises StateError when the disk fails."""
    encoded, content = cv2.imencode(".png", sheet)
    if not encoded:
        raise StateError("the contact sheet cannot be encoded as PNG; report this")
    write_durably(path, content.tobytes())


def _draw_card(sheet: Colour, card: Card, top: int, left: int, *, is_query: bool) -> None:
    title = _cut(card.title, size=24, weight=600)
    _write(sheet, title, (left, top + 26), size=24, weight=600, ink=_FRAME if is_query else _INK)
    plain, marked = _tiles(card.picture)
    top += _TITLE
    for tile in (plain, marked):
        sheet[top : top + _TILE, left : left + _TILE] = tile
        if is_query:
            cv2.rectangle(sheet, (left - 3, top - 3), (left + _TILE + 2, top + _TILE + 2), _FRAME, 2)
        top += _TILE + _GAP
    for number, line in enumerate([*card.lines, *_broken(card.note)]):
        ink = _INK if number < len(card.lines) else _FRAME
        _write(sheet, _cut(line), (left, top + 18 + number * _LINE), size=20, ink=ink)


def _tiles(picture: CasePicture | None) -> tuple[Colour, Colour]:
    """The radiograph as it is, and marked; both [tile, tile, 3]."""
    if picture is None:
        empty = np.full((_TILE, _TILE, 3), _EMPTY, np.uint8)
        _write(empty, "no picture at hand", (130, _TILE // 2), size=24, ink=_DIM)
        return empty, np.full_like(empty, _EMPTY)
    scale = _TILE / max(picture.grey.shape)
    rows, columns = (max(1, round(side * scale)) for side in picture.grey.shape)
    grey = cv2.cvtColor(_resized(picture.grey, rows, columns), cv2.COLOR_GRAY2BGR)
    marked = _with_evidence(grey, _resized(picture.evidence, rows, columns))
    marked = _with_outline(marked, _resized(picture.lungs, rows, columns))
    return _centred(grey), _centred(marked)


def _resized(part: _Part, rows: int, columns: int) -> _Part:
    shrinks = rows * columns < part.shape[0] * part.shape[1]
    resized = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cast(_Part, resized)


def _centred(drawn: Colour) -> Colour:
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    rows, columns = drawn.shape[:2]
    top, left = (_TILE - rows) // 2, (_TILE - columns) // 2
    tile[top : top + rows, left : left + columns] = drawn
    return tile


def _with_evidence(grey: Colour, evidence: NDArray[np.float32]) -> Colour:
    """What speaks for the finding glows: brighter is more, so that the order is seen without colours too."""
    strength = np.clip(evidence, 0, 1)
    glow = cv2.applyColorMap(np.rint(strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    share = (_STRONGEST * strength)[..., None]
    return np.rint(grey * (1 - share) + glow * share).astype(np.uint8)


def _with_outline(picture: Colour, lungs: NDArray[np.float32]) -> Colour:
    """With a dark rim, so that it is seen on bright bone and on dark lung."""
    inside = (lungs > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, _HALO, 4, cv2.LINE_AA)
    return cv2.drawContours(picture, outlines, -1, _OUTLINE, 2, cv2.LINE_AA)


def _draw_legend(sheet: Colour, top: int, finding: str) -> None:
    cv2.line(sheet, (_GAP, top + 22), (_GAP + 40, top + 22), _OUTLINE, 3, cv2.LINE_AA)
    _write(sheet, "outline of the lungs", (_GAP + 52, top + 28), size=20, ink=_DIM)
    left, width = _GAP + 300, 240
    ramp = np.tile(np.linspace(0, 255, width, dtype=np.uint8), (20, 1))
    sheet[top + 12 : top + 32, left : left + width] = cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)
    _write(sheet, f"evidence for {finding}, from none to most", (left + width + 12, top + 28), size=20, ink=_DIM)
    told = f"Radiographs are standardised as for the network, not for reading. {INTENDED_USE}"
    _write(sheet, told, (_GAP, top + 60), size=20, ink=_DIM)


def _broken(note: str) -> list[str]:
    """A note in lines that fit a tile, a word only where it is wider than that; what is too long ends in dots."""
    lines = [""]
    for word in note.split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer) <= _TILE:
            lines[-1] = longer
            continue
        lines.append(word)
        while (fits := _fitting(lines[-1])) < len(lines[-1]):
            lines[-1:] = lines[-1][:fits], lines[-1][fits:]
    lines = [line for line in lines if line]
    if len(lines) > _MOST_NOTE_LINES:
        lines = [*lines[: _MOST_NOTE_LINES - 1], _dotted(lines[_MOST_NOTE_LINES - 1])]
    return lines


def _cut(text: str, *, size: int = 20, weight: int = 400) -> str:
    """No wider than a tile: beside it is another case's."""
    return text if _width(text, size, weight) <= _TILE else _dotted(text, size, weight)


def _dotted(text: str, size: int = 20, weight: int = 400) -> str:
    return text[: _fitting(text, size, weight, end=" …")].rstrip() + " …"


def _fitting(text: str, size: int = 20, weight: int = 400, *, end: str = "") -> int:
    """How many characters fit a tile, one at least, with `end` behind them."""
    lengths = range(len(text) + 1)
    return max(1, bisect_right(lengths, _TILE, key=lambda count: _width(text[:count] + end, size, weight)) - 1)


def _font() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _width(text: str, size: int = 20, weight: int = 400) -> int:
    box = cv2.getTextSize((1, 1), text, (0, 0), _font(), size, weight)
    return int(box[2])


def _write(
    sheet: Colour,
    text: str,
    place: tuple[int, int],
    *,
    size: int,
    weight: int = 400,
    ink: tuple[int, int, int] = _INK,
) -> None:
    cv2.putText(sheet, text, place, ink, _font(), size, weight)
