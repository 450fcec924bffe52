"""Boxes drawn into phantoms are found through the whole preprocessing; phantoms alone, and what is no box, are not."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from radiograph_files import radiograph_of

from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.phantom import MAX_GREY, render
from edge.values import Crop
from training.artefacts import Rectangle, has_rectangle

SIDE = 640  # pixels of the phantoms' longer side
LOSS = 12  # pixels of the standardised radiograph that a found box may lack on each side
BLACK, WHITE, GREY = 0, MAX_GREY, MAX_GREY // 3


def pixels_of(seed: int) -> NDArray[np.uint16]:
    return render(seed, ("other", "covid")[seed % 2], longest_side=SIDE).pixels.copy()


def standardised(pixels: NDArray[np.uint16], framing: str = "pad") -> tuple[NDArray[np.uint8], Crop]:
    model_input = preprocess(radiograph_of(pixels), Preprocessing(framing=framing))
    return np.rint(model_input.pixels[0] * 255).astype(np.uint8), model_input.crop


def found_in(pixels: NDArray[np.uint16]) -> Rectangle | None:
    return has_rectangle(standardised(pixels)[0])


@pytest.mark.parametrize("variant", ["frontal", "lateral", "blank", "inverted"])
def test_phantoms_with_their_text_tubes_and_collimation_have_none(variant: str) -> None:
    for seed in range(12):
        assert found_in(render(seed, "covid", variant=variant, longest_side=SIDE).pixels) is None


@pytest.mark.parametrize(("seed", "framing"), [(2, "pad"), (6, "pad"), (7, "stretch")])  # padded above, beside, not
@pytest.mark.parametrize("grey", [BLACK, WHITE, GREY])
@pytest.mark.parametrize(("height", "width"), [(0.1, 0.12), (0.08, 0.3), (0.3, 0.2)])
def test_a_box_is_found_where_it_was_drawn(grey: int, height: float, width: float, seed: int, framing: str) -> None:
    pixels = pixels_of(seed)
    rows, columns = pixels.shape
    top, left, bottom, right = (round(share) for share in (
        0.35 * rows, 0.3 * columns, (0.35 + height) * rows, (0.3 + width) * columns))  # fmt: skip
    pixels[top:bottom, left:right] = grey
    array, crop = standardised(pixels, framing)
    box = has_rectangle(array)
    assert box is not None
    down, across = crop.model_height / crop.height, crop.model_width / crop.width
    edges = (crop.model_top + (top - crop.top) * down, crop.model_top + (bottom - crop.top) * down,
             crop.model_left + (left - crop.left) * across, crop.model_left + (right - crop.left) * across)  # fmt: skip
    seen = (box.top, box.top + box.height, box.left, box.left + box.width)
    assert np.abs(np.subtract(seen, edges)).max() <= LOSS


def test_a_box_with_a_name_on_it_in_a_corner_is_found() -> None:
    pixels = pixels_of(3)
    rows, columns = pixels.shape
    pixels[:, :] = np.maximum(pixels, MAX_GREY // 8)  # no air, so that the corner is not black anyway
    pixels[: rows // 8, : columns // 3] = BLACK
    name = np.zeros(pixels.shape, np.uint8)
    cv2.putText(name, "A. B.", (20, rows // 8 - 20), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1, 2)
    pixels[name > 0] = WHITE
    assert found_in(pixels) is not None


def test_the_largest_of_several_boxes_is_told() -> None:
    pixels = pixels_of(7)
    pixels[200:270, 100:170] = BLACK
    pixels[300:420, 250:400] = WHITE
    box = found_in(pixels)
    assert box is not None
    assert box.height * box.width > 150 * 200  # of 1024 x 1024 pixels; the smaller one has some 110 x 110


def drawn(shape: str) -> NDArray[np.uint16]:
    """A phantom with one flat or nearly flat shape that is no upright box."""
    pixels = pixels_of(7)
    rows, columns = pixels.shape
    corners = np.array([(0, 0), (140, 0), (140, 90), (0, 90)], np.float64)
    turn = np.array([[0.94, -0.34], [0.34, 0.94]])  # 20 degrees
    match shape:
        case "ellipse":
            cv2.ellipse(pixels, (columns // 2, rows // 2), (90, 60), 0, 0, 360, GREY, cv2.FILLED)
        case "turned":
            cv2.fillPoly(pixels, [np.rint(corners @ turn + (200, 200)).astype(np.int32)], GREY)
        case "angle":
            pixels[200:320, 200:240] = pixels[280:320, 200:340] = GREY
        case "collimation":
            pixels[:, : columns // 6] = GREY
        case "collimation that ends early":
            pixels[: round(0.93 * rows), : columns // 6] = GREY
        case "marker":
            pixels[60:84, 60:84] = WHITE
        case "noisy":
            pixels[200:320, 200:340] = GREY + np.random.default_rng(0).integers(-80, 80, (120, 140))
        case "soft":
            mask = cv2.GaussianBlur(cv2.rectangle(np.zeros(pixels.shape), (200, 200), (340, 320), 1.0, -1), (0, 0), 25)
            pixels[:] = np.rint(pixels * (1 - mask) + GREY * mask)
    return pixels


@pytest.mark.parametrize(
    "shape", ["ellipse", "turned", "angle", "collimation", "collimation that ends early", "marker", "noisy", "soft"]
)
def test_what_is_no_upright_flat_box_is_left_alone(shape: str) -> None:
    assert not np.array_equal(drawn(shape), pixels_of(7))
    assert found_in(drawn(shape)) is None


def test_a_flat_field_that_melts_into_its_surroundings_is_no_box() -> None:
    ramp = np.tile(np.linspace(40, 200, 1024).astype(np.uint8), (1024, 1))
    assert has_rectangle(ramp) is None
    ramp[400:600, 400:600] = 40
    assert has_rectangle(ramp) == Rectangle(405, 405, 190, 190)


def test_an_array_without_content_or_with_hardly_any_has_none() -> None:
    array = np.zeros((1024, 1024), np.uint8)
    assert has_rectangle(array) is None
    array[400:500, 300:400] = np.random.default_rng(0).integers(1, 255, (100, 100))
    array[406:494, 306:394] = 90  # nothing lies far enough beyond it to compare with
    assert has_rectangle(array) is None


@pytest.mark.real
def test_a_real_radiograph_has_a_box_only_when_one_is_drawn(real_data: Path) -> None:
    paths = sorted((real_data / "nih" / "images").glob("*.jpg"))[::60]
    found = 0
    for path in paths:
        radiograph = read(path.read_bytes())
        model_input = preprocess(radiograph, Preprocessing())
        assert has_rectangle(np.rint(model_input.pixels[0] * 255).astype(np.uint8)) is None
        pixels = radiograph.pixels.copy()
        pixels[180:280, 150:260] = 0
        covered, _ = standardised(pixels >> 4)
        found += has_rectangle(covered) is not None
    assert found >= 0.9 * len(paths)
