"""The sheet of a look-up: nothing stretched, everything in its place, and readable by nobody else."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.outputs.similar_sheet import Card, CasePicture, draw_similar_sheet, write_similar_sheet

TOP, TILE, STEP = 96 + 38, 480, 496


def picture(rows: int, columns: int) -> CasePicture:
    """A disc in the middle, whose lungs are the right half and whose evidence is the upper."""
    grey, lungs, evidence = (np.zeros((rows, columns)) for _ in range(3))
    cv2.circle(grey, (columns // 2, rows // 2), min(rows, columns) // 4, 255.0, -1)
    lungs[:, columns // 2 :] = 1
    evidence[: rows // 2] = 1
    return CasePicture(grey.astype(np.uint8), lungs.astype(np.float32), evidence.astype(np.float32))


def sheet_of(*cards: Card) -> np.ndarray:
    return draw_similar_sheet(cards[0], cards[1:], heading="h", summary="s", finding="covid")


def tile(sheet: np.ndarray, place: int, *, marked: bool = False) -> np.ndarray:
    top = TOP + (STEP if marked else 0)
    return sheet[top : top + TILE, 16 + place * STEP :][:, :TILE]


@pytest.mark.parametrize(("rows", "columns"), [(300, 200), (200, 300), (1000, 700), (250, 250), (1, 900)])
def test_a_circle_stays_a_circle(rows: int, columns: int) -> None:
    sheet = sheet_of(Card("q", (), picture(rows, columns)), Card("1", (), picture(rows, columns)))
    shown = tile(sheet, 1)[..., 0] > 128
    height, width = shown.any(axis=1).sum(), shown.any(axis=0).sum()
    assert abs(int(height) - int(width)) <= 2
    if min(rows, columns) > 1:
        scale = TILE / max(rows, columns)
        assert height == pytest.approx(min(rows, columns) // 4 * 2 * scale, abs=0.02 * TILE)


def test_the_map_and_the_outline_lie_where_the_network_saw_them() -> None:
    card = Card("1", (), picture(400, 400))
    sheet = sheet_of(card, card)
    marked, plain = tile(sheet, 1, marked=True).astype(int), tile(sheet, 1).astype(int)
    changed = np.abs(marked - plain).sum(axis=2) > 30
    assert changed[: TILE // 2 - 8].mean() > 0.9  # the upper half glows
    assert changed[TILE // 2 + 8 :, : TILE // 2 - 8].mean() < 0.02
    blue = (marked[..., 0] > 200) & (marked[..., 2] < 140)  # the outline, in the lower half where nothing glows
    places = np.flatnonzero(blue[TILE // 2 + 20 : -20].any(axis=0))
    assert places.min() in range(TILE // 2 - 4, TILE // 2 + 5)


def test_the_order_of_evidence_is_seen_without_colours() -> None:
    strength = np.broadcast_to(np.linspace(0, 1, 400, dtype=np.float32), (400, 400))
    dark = CasePicture(np.zeros((400, 400), np.uint8), np.zeros((400, 400), np.float32), strength)
    sheet = sheet_of(Card("q", (), None), Card("1", (), dark))
    brightness = cv2.cvtColor(tile(sheet, 1, marked=True), cv2.COLOR_BGR2GRAY)[200].astype(int)
    assert (np.diff(brightness) >= -1).all()
    assert brightness[-1] > 80


def test_every_case_has_its_column_and_a_placeholder_where_it_has_no_picture() -> None:
    cards = [Card(str(number), ("one", "two"), None if number == 1 else picture(90, 80)) for number in range(7)]
    sheet = sheet_of(*cards)
    assert sheet.shape[1] == 16 + 5 * STEP
    placeholder = tile(sheet, 1)
    assert placeholder.max() > 150  # it says so
    assert np.median(placeholder) == 45
    assert tile(sheet, 0).std() > 20


def test_a_long_note_of_any_script_is_broken_and_cut() -> None:
    short = sheet_of(Card("q", ("score 0.9",), None))
    noted = sheet_of(Card("q", ("score 0.9",), None, note="Größe 4711, ПЦР положительный, 阳性 " * 20))
    assert noted.shape[0] == short.shape[0] + 3 * 27
    unbroken = sheet_of(Card("q", ("score 0.9",), None, note="x" * 500))
    assert unbroken.shape[0] == short.shape[0] + 3 * 27


@pytest.mark.parametrize(
    "card",
    [
        Card("q", (), None, note="A" * 120 + " tail " + "W" * 300),
        Card("q", (), None, note="record 4711, PCR positive on the second swab " * 9),
        Card("q", ("view AP", "labelled " + "an unusual interstitial pneumonia " * 3), None),
        Card("1. " + "an unusual interstitial pneumonia " * 3, (), None),
        Card("q", (), None, note="漢" * 400),
    ],
)
def test_nothing_of_a_case_is_written_over_the_next(card: Card) -> None:
    beside = sheet_of(card, Card("", (), None))[96:-74, STEP + 8 :]
    for strip in (beside[: TOP - 96], beside[TOP - 96 + 2 * STEP :]):  # above its tiles, and below
        assert (strip == strip[0, -1]).all()


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(b"an earlier one, open to all")
    path.chmod(0o644)
    sheet = sheet_of(Card("q", (), picture(90, 80)))
    write_similar_sheet(path, sheet)
    assert path.stat().st_mode & 0o777 == 0o600
    read = cv2.imread(str(path))
    assert read is not None
    assert (read == sheet).all()
    assert list(tmp_path.iterdir()) == [path]
