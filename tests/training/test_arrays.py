"""Standardised arrays: made once, and lung masks that follow their radiograph's crop."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from edge.values import Crop
from training.arrays import load, load_mask, readable, reduce_pixels, standardise
from training.manifest import of_split, read_manifest
from training.row import Row


def test_arrays_are_made_once_and_masks_follow_the_crop(phantom_manifest: Path, tmp_path: Path) -> None:
    rows = of_split(read_manifest(phantom_manifest), "val")
    preprocessing = Preprocessing()
    _, kept = readable(standardise(rows, preprocessing, tmp_path, workers=1))
    times = [path.stat().st_mtime_ns for path in kept]
    _, again = readable(standardise(rows, preprocessing, tmp_path, workers=1))
    assert (again, [path.stat().st_mtime_ns for path in again]) == (kept, times)
    for row, path in zip(rows, kept, strict=True):
        standardised = load(path)
        mask = load_mask(row, standardised.crop, 1024, 1024) > 127
        surround = ~mask & (standardised.pixels > 0)
        assert standardised.pixels[mask].mean() < standardised.pixels[surround].mean()  # lungs are darker


@pytest.fixture
def drawn(tmp_path: Path) -> Row:
    """A radiograph with black margins and, off its centre, a bright figure; its mask is that figure."""
    radiograph, mask = np.zeros((500, 760), np.uint16), np.zeros((500, 760), np.uint8)
    radiograph[60:480, 90:700] = 9000
    cv2.fillPoly(mask, [np.array([[150, 120], [420, 150], [380, 400], [300, 260], [170, 380]])], 255)
    radiograph[mask > 0] = 40000
    cv2.imwrite(str(tmp_path / "chest.png"), radiograph)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    return Row(2, tmp_path / "chest.png", "p1", "other", "train", "AP", "", tmp_path / "mask.png")


@pytest.mark.parametrize("framing", ["pad", "stretch"])
@pytest.mark.parametrize("side", [1024, 256])
def test_a_mask_lies_where_its_radiograph_shows_it(drawn: Row, tmp_path: Path, framing: str, side: int) -> None:
    preprocessing = Preprocessing(framing=framing)
    _, (kept,) = readable(standardise([drawn], preprocessing, tmp_path / "arrays"))
    standardised = load(kept)
    assert standardised.crop.top > 40 and standardised.crop.left > 70  # without margins the test would prove less
    shown = reduce_pixels(standardised.pixels, side)[0, 0].numpy() > 150
    mask = load_mask(drawn, standardised.crop, side, preprocessing.side) > 127
    assert 2 * (shown & mask).sum() / (shown.sum() + mask.sum()) > 0.98


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mask: mask[:-1], "499 x 760 pixels, its radiograph 500 x 760"),
        (lambda mask: np.pad(mask, ((0, 40), (0, 40))), "540 x 800 pixels, its radiograph 500 x 760"),
        (lambda mask: mask // 255, "1 other values, such as 1"),
        (lambda mask: cv2.GaussianBlur(mask, (9, 9), 3), "other values"),
    ],
)
def test_a_mask_of_another_size_or_with_other_values_is_an_error(drawn: Row, change: object, message: str) -> None:
    mask = cv2.imread(str(drawn.mask_path), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(drawn.mask_path), change(mask))  # type: ignore[operator]
    with pytest.raises(UsageError, match=message):
        load_mask(drawn, Crop(60, 90, 420, 610, 0, 0, 1024, 1024), 64, 1024)


def test_an_unreadable_mask_is_an_error(drawn: Row) -> None:
    assert drawn.mask_path is not None
    drawn.mask_path.write_text("no mask")
    with pytest.raises(UsageError, match=r"mask\.png cannot be read"):
        load_mask(drawn, Crop(60, 90, 420, 610, 0, 0, 1024, 1024), 64, 1024)


def test_an_unreadable_radiograph_is_named(phantom_manifest: Path, tmp_path: Path) -> None:
    row = replace(read_manifest(phantom_manifest)[0], path=tmp_path / "broken.dcm", line=7)
    row.path.write_bytes(b"no radiograph")
    with pytest.raises(UsageError, match=r"line 7: broken\.dcm is refused"):
        readable(standardise([row], Preprocessing(), tmp_path / "arrays", workers=1))
