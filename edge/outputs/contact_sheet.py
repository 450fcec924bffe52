"""A contact sheet: each radiograph with its lungs, its evidence map, its score and its most similar cases."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.errors import StateError
from edge.outputs.verdict import verdict
from edge.values import INTENDED_USE, Report

Picture = NDArray[np.uint8]  # grey [rows, columns]
Colour = NDArray[np.uint8]  # BGR [rows, columns, 3]

_TILE, _GAP, _CAPTION, _HEADER = 256, 10, 46, 64
_BACKGROUND, _INK, _DIM = (24, 22, 20), (235, 235, 235), (165, 165, 165)
_LUNG_TINT = (210, 170, 60)  # a blue that colour-blind readers tell from the evidence map's orange
_COLUMNS = ("radiograph", "lungs", "evidence", "similar 1", "similar 2")


@dataclass(frozen=True)
class SheetRow:
    """One radiograph. standardised: float32 [side, side] in 0..1. similar: grey pictures, None where there is none."""

    title: str
    standardised: NDArray[np.float32]
    report: Report
    similar: Sequence[Picture | None]


def draw_contact_sheet(rows: Sequence[SheetRow], *, heading: str) -> Colour:
    """The sheet as BGR [rows, columns, 3]. A radiograph without score shows its reason instead."""
    width = _GAP + len(_COLUMNS) * (_TILE + _GAP)
    height = _HEADER + len(rows) * (_TILE + _CAPTION + _GAP) + 40
    sheet = np.full((height, width, 3), _BACKGROUND, np.uint8)
    _write(sheet, heading, (_GAP, 26), size=0.62)
    for column, name in enumerate(_COLUMNS):
        _write(sheet, name, (_GAP + column * (_TILE + _GAP), 54), size=0.46, ink=_DIM)
    for number, row in enumerate(rows):
        _draw_row(sheet, row, top=_HEADER + number * (_TILE + _CAPTION + _GAP))
    _write(sheet, INTENDED_USE, (_GAP, height - 14), size=0.46, ink=_DIM)
    return sheet


def write_contact_sheet(path: Path, sheet: Colour) -> None:
    encoded, content = cv2.imencode(".png", sheet)
    if not encoded:
        raise StateError(f"{path} cannot be encoded as PNG; report this with the file that was drawn")
    path.write_bytes(content.tobytes())


def _draw_row(sheet: Colour, row: SheetRow, *, top: int) -> None:
    radiograph = _tile(row.standardised)
    prediction = row.report.prediction
    tiles: list[Colour] = [cv2.cvtColor(radiograph, cv2.COLOR_GRAY2BGR)]
    captions = [(row.title, verdict(row.report))]
    if prediction is not None:
        tiles += [lung_overlay(radiograph, prediction.lung_mask), evidence_overlay(radiograph, prediction.evidence_map)]
        captions += [
            (f"{row.report.lung_fraction:.0%} of the picture", ""),
            ("where the evidence lies", "bright = more"),
        ]
        for near, picture in zip(row.report.neighbours, row.similar, strict=False):
            tiles.append(_similar_tile(picture))
            score = "" if near.score is None else f", score {near.score:.2f}"
            captions.append((f"{near.label or 'unlabelled'}{score}", f"distance {near.distance:.2f}"))
    for column, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left = _GAP + column * (_TILE + _GAP)
        sheet[top : top + _TILE, left : left + _TILE] = tile
        _write(sheet, caption[0], (left, top + _TILE + 17), size=0.46)
        _write(sheet, caption[1], (left, top + _TILE + 37), size=0.46, ink=_DIM)


def lung_overlay(radiograph: Picture, lung_mask: NDArray[np.float32]) -> Colour:
    """The lungs tinted and outlined. radiograph: uint8 square; lung_mask: float32 over the same square."""
    inside = cv2.resize(lung_mask, radiograph.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    overlay = cv2.cvtColor(radiograph, cv2.COLOR_GRAY2BGR)
    tinted = (0.65 * overlay + 0.35 * np.array(_LUNG_TINT)).astype(np.uint8)
    overlay = np.where(inside[..., None], tinted, overlay)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(overlay, outlines, -1, _LUNG_TINT, 1, cv2.LINE_AA)


def evidence_overlay(radiograph: Picture, evidence_map: NDArray[np.float32]) -> Colour:
    """The evidence map over the radiograph: what speaks for COVID-19 glows, what does not stays grey."""
    strength = np.clip(cv2.resize(evidence_map, radiograph.shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    glow = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    share = (0.65 * strength)[..., None]
    return (cv2.cvtColor(radiograph, cv2.COLOR_GRAY2BGR) * (1 - share) + glow * share).astype(np.uint8)


def _tile(standardised: NDArray[np.float32]) -> Picture:
    small = cv2.resize(standardised, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    return np.rint(small * 255).astype(np.uint8)


def _similar_tile(picture: Picture | None) -> Colour:
    if picture is None:
        tile = np.full((_TILE, _TILE, 3), (44, 42, 40), np.uint8)
        _write(tile, "no picture at hand", (56, _TILE // 2), size=0.46, ink=_DIM)
        return tile
    return cv2.cvtColor(cv2.resize(picture, (_TILE, _TILE), interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR)


def _write(sheet: Colour, text: str, place: tuple[int, int], *, size: float, ink: tuple[int, int, int] = _INK) -> None:
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
