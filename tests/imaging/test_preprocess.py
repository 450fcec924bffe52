"""Preprocessing: what is cropped, where things go, and a digest that changes when anything else does."""

import ast
import inspect
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from radiograph_files import phantom_pixels

from edge.imaging.grey import pixels_digest
from edge.imaging.preprocess import Preprocessing, code_fingerprint, content_box, fingerprint_of, preprocess
from edge.phantom import render
from edge.values import Crop, Radiograph, Source

PLAIN = Preprocessing()
OTHERS = {
    "side": 512,
    "framing": "stretch",
    "border_level": 0.06,
    "border_content": 0.1,
    "border_limit": 0.2,
    "low_percentile": 30.0,
    "high_percentile": 99.0,
    "clahe_clip_limit": 3.0,
    "clahe_tiles": 16,
}


def radiograph_of(pixels: np.ndarray, valid: np.ndarray | None = None, **spacing: float) -> Radiograph:
    source = Source("0" * 64, "dicom", *pixels.shape, pixels_digest(pixels))
    return Radiograph(source, pixels, valid, **spacing)


def chest(longest_side: int = 400) -> np.ndarray:
    """A chest that fills the picture: uint16 over the full range, no border, no text."""
    return (6000 + (phantom_pixels(3, longest_side=longest_side).astype(np.uint32) * 14)).astype(np.uint16)


# --- the digest --------------------------------------------------------------------------------------------------


def test_every_parameter_changes_the_digest() -> None:
    assert OTHERS.keys() == {field.name for field in fields(Preprocessing)}
    digests = {replace(PLAIN, **{name: value}).digest for name, value in OTHERS.items()}
    assert len(digests | {PLAIN.digest}) == len(OTHERS) + 1
    assert Preprocessing().digest == PLAIN.digest


def test_every_parameter_changes_the_output() -> None:
    """A parameter that changes nothing has no place in the digest."""
    framed = np.zeros((420, 400), np.uint16)
    framed[60:400, 50:350] = chest()[:340, :300]
    framed[30:60, 50:95] = 40000  # words
    framed[100:420, 0:50] = 2200  # a dim margin
    plain = preprocess(radiograph_of(framed), PLAIN).pixels
    for name, value in OTHERS.items():
        if name not in ("border_level", "border_content", "border_limit"):
            other = preprocess(radiograph_of(framed), replace(PLAIN, **{name: value})).pixels
            assert not np.array_equal(other, plain), name
    for name, value in {"border_level": 0.01, "border_content": 0.5, "border_limit": 0.05}.items():
        assert content_box(framed, replace(PLAIN, **{name: value})) != content_box(framed, PLAIN), name


CODE = '''
"""Docstring."""
STEP = 2

def shrink(pixels, rows):
    """Another."""
    # why
    return pixels[::STEP][:rows]
'''


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Docstring.", "Changed."),
        ("Another.", "Changed\n    over two lines."),
        ("# why", "# why not"),
        ("    # why\n", ""),
        ("STEP = 2\n", "STEP = 2  # pixels\n\n\n"),
        ("pixels[::STEP][:rows]", "pixels[ : : STEP ][ : rows ]"),
    ],
)
def test_words_and_layout_leave_the_fingerprint(before: str, after: str) -> None:
    assert before in CODE
    assert fingerprint_of(CODE.replace(before, after)) == fingerprint_of(CODE)


@pytest.mark.parametrize(
    ("before", "after"),
    [("STEP = 2", "STEP = 3"), ("[:rows]", "[rows:]"), ("return ", "yield "), ("rows]", '"rows"]'), ("STEP", "STRIDE")],
)
def test_code_changes_the_fingerprint(before: str, after: str) -> None:
    assert before in CODE
    assert fingerprint_of(CODE.replace(before, after)) != fingerprint_of(CODE)


def test_moving_a_line_out_of_a_block_changes_the_fingerprint() -> None:
    inside = "if dark:\n    invert()\n    stretch()\n"
    assert fingerprint_of(inside.replace("    stretch", "stretch")) != fingerprint_of(inside)


def test_a_docstring_more_or_less_changes_nothing() -> None:
    bare = "def look():\n    return 1\n"
    assert fingerprint_of(bare.replace("    return", '    """Why."""\n    return')) == fingerprint_of(bare)
    assert fingerprint_of('"""Why."""\n\n' + bare) == fingerprint_of(bare)


def test_the_module_holds_no_f_string() -> None:
    """Python 3.12 cuts them into other tokens, and a bundle must fit every version."""
    names = [
        node
        for node in ast.walk(ast.parse(Path(inspect.getfile(preprocess)).read_text()))
        if isinstance(node, ast.JoinedStr)
    ]
    assert names == []


def test_the_fingerprint_is_that_of_the_module() -> None:
    assert len(code_fingerprint()) == 64
    assert code_fingerprint() != fingerprint_of("")


def test_an_unknown_framing_is_refused() -> None:
    with pytest.raises(ValueError, match="framing is 'crop'; it must be one of pad, stretch"):
        Preprocessing(framing="crop")


# --- the crop ----------------------------------------------------------------------------------------------------


def bordered(chest_pixels: np.ndarray, *, top: int, bottom: int, left: int, right: int, grey: int = 0) -> np.ndarray:
    return np.pad(chest_pixels, ((top, bottom), (left, right)), constant_values=grey)


@pytest.mark.parametrize("grey", [0, 65535], ids=["black", "white"])
def test_borders_are_cropped_to_the_pixel_or_nearly(grey: int) -> None:
    inner = chest()
    rows, columns = inner.shape
    framed = bordered(inner, top=40, bottom=25, left=0, right=60, grey=grey)
    box = content_box(framed, PLAIN)
    np.testing.assert_allclose(box, (40, 0, rows, columns), atol=2)


def test_a_margin_that_holds_only_words_is_cropped() -> None:
    inner = chest()
    framed = bordered(inner, top=50, bottom=0, left=45, right=0)
    framed[10:30, 60:90] = 60000
    framed[200:210, 5:40] = 60000
    np.testing.assert_allclose(content_box(framed, PLAIN), (50, 45, *inner.shape), atol=2)


def test_a_chest_without_borders_is_left_whole() -> None:
    assert content_box(chest(), PLAIN) == (0, 0, *chest().shape)


@given(st.integers(0, 2**32 - 1), st.integers(8, 900), st.integers(8, 900), st.floats(0, 0.45))
def test_never_more_than_the_limit_is_cropped(seed: int, rows: int, columns: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.zeros((rows, columns), np.uint16)
    top, left = rng.integers(0, rows), rng.integers(0, columns)
    pixels[top : top + rng.integers(1, rows), left : left + rng.integers(1, columns)] = 50000
    box_top, box_left, height, width = content_box(pixels, replace(PLAIN, border_limit=limit))
    slack_rows, slack_columns = (max(1, max(rows, columns) // 512) + 1,) * 2
    assert 0 <= box_top <= rows * limit + slack_rows
    assert 0 <= box_left <= columns * limit + slack_columns
    assert rows * (1 - limit) - slack_rows <= box_top + height <= rows
    assert columns * (1 - limit) - slack_columns <= box_left + width <= columns


@pytest.mark.parametrize("grey", [0, 1, 30000, 65535])
def test_a_blank_picture_is_left_whole(grey: int) -> None:
    flat = np.full((300, 200), grey, np.uint16)
    assert content_box(flat, PLAIN) == (0, 0, 300, 200)
    pixels = preprocess(radiograph_of(flat), replace(PLAIN, side=128)).pixels
    assert np.isfinite(pixels).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (2000, 3), (5, 5)])
def test_tiny_and_thin_pictures_have_a_model_input(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    assert preprocess(radiograph_of(pixels), PLAIN).pixels.shape == (1, 1024, 1024)


# --- the model input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["pad", "stretch"])
def test_shape_range_and_digest(framing: str) -> None:
    parameters = Preprocessing(framing=framing)
    model_input = preprocess(radiograph_of(chest()), parameters)
    assert model_input.pixels.shape == (1, 1024, 1024)
    assert model_input.pixels.dtype == np.float32
    assert 0 <= model_input.pixels.min() < 0.1
    assert 0.9 < model_input.pixels.max() <= 1
    assert model_input.preprocessing_digest == parameters.digest


def test_padding_is_exactly_zero_and_centred() -> None:
    model_input = preprocess(radiograph_of(chest()[:, :200]), PLAIN)
    crop = model_input.crop
    assert crop.model_height == 1024
    assert crop.model_width == round(1024 * 200 / chest().shape[0])
    assert abs(2 * crop.model_left + crop.model_width - 1024) <= 1
    inside = np.zeros((1024, 1024), bool)
    inside[:, crop.model_left : crop.model_left + crop.model_width] = True
    assert not model_input.pixels[0][~inside].any()
    assert (model_input.pixels[0][inside] > 0).mean() > 0.9


def test_stretch_fills_the_square() -> None:
    crop = preprocess(radiograph_of(chest()[:, :200]), Preprocessing(framing="stretch")).crop
    assert (crop.model_top, crop.model_left, crop.model_height, crop.model_width) == (0, 0, 1024, 1024)


def test_inputs_are_not_modified() -> None:
    pixels, valid = chest(), np.ones(chest().shape, bool)
    valid[:30] = False
    kept, kept_valid = pixels.copy(), valid.copy()
    pixels.setflags(write=False)
    valid.setflags(write=False)
    preprocess(radiograph_of(pixels, valid), PLAIN)
    np.testing.assert_array_equal(pixels, kept)
    np.testing.assert_array_equal(valid, kept_valid)


def test_what_is_not_valid_is_zero_and_sets_no_level() -> None:
    pixels = chest()
    valid = np.ones(pixels.shape, bool)
    valid[150:200, 100:150] = False
    patched = np.where(valid, pixels, np.uint16(0))
    model_input = preprocess(radiograph_of(patched, valid), PLAIN)
    crop = model_input.crop
    scale = crop.model_height / crop.height
    rows = slice(int(crop.model_top + 155 * scale), int(crop.model_top + 195 * scale))
    columns = slice(int(crop.model_left + 105 * scale), int(crop.model_left + 145 * scale))
    assert not model_input.pixels[0, rows, columns].any()


def test_brightness_is_standardised() -> None:
    """Another exposure of the same body gives the same picture, but for rounding."""
    darker = (chest() * 0.4).astype(np.uint16)
    one, other = (preprocess(radiograph_of(pixels), PLAIN).pixels for pixels in (chest(), darker))
    assert np.abs(one - other).mean() < 0.01


def test_wide_pixels_make_a_wide_picture() -> None:
    crop = preprocess(radiograph_of(chest(), row_spacing=0.5), PLAIN).crop
    assert crop.model_height / crop.model_width == pytest.approx(0.5 * crop.height / crop.width, rel=0.01)


def test_the_same_phantom_gives_the_same_picture() -> None:
    """Means of 8 x 8 blocks, so that a build of OpenCV that rounds otherwise still agrees."""
    phantom = render(11, "covid", longest_side=700)
    levels = (phantom.pixels.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
    model_input = preprocess(radiograph_of(levels), PLAIN)
    blocks = model_input.pixels.reshape(8, 128, 8, 128).mean(axis=(1, 3))
    np.testing.assert_allclose(blocks, GOLDEN, atol=0.015)
    assert model_input.crop == GOLDEN_CROP


GOLDEN_CROP = Crop(top=0, left=0, height=594, width=700, model_top=77, model_left=0, model_height=869, model_width=1024)
GOLDEN = [
    [
        0.009,
        0.006,
        0.014,
        0.128,
        0.156,
        0.079,
        0.059,
        0.005,
    ],
    [
        0.280,
        0.359,
        0.399,
        0.484,
        0.502,
        0.361,
        0.331,
        0.190,
    ],
    [
        0.525,
        0.601,
        0.296,
        0.468,
        0.472,
        0.240,
        0.591,
        0.541,
    ],
    [
        0.521,
        0.689,
        0.251,
        0.485,
        0.556,
        0.329,
        0.690,
        0.530,
    ],
    [
        0.538,
        0.626,
        0.410,
        0.561,
        0.709,
        0.367,
        0.628,
        0.579,
    ],
    [
        0.585,
        0.581,
        0.577,
        0.692,
        0.811,
        0.623,
        0.569,
        0.536,
    ],
    [
        0.632,
        0.728,
        0.691,
        0.722,
        0.794,
        0.659,
        0.652,
        0.631,
    ],
    [
        0.283,
        0.319,
        0.302,
        0.308,
        0.306,
        0.281,
        0.317,
        0.281,
    ],
]


# --- the way back ------------------------------------------------------------------------------------------------

SPANS = st.tuples(st.integers(0, 3000), st.integers(1, 3000))


@given(SPANS, SPANS, SPANS, SPANS, st.floats(0, 1), st.floats(0, 1))
def test_the_crop_maps_back(
    rows: tuple[int, int],
    columns: tuple[int, int],
    model_rows: tuple[int, int],
    model_columns: tuple[int, int],
    down: float,
    across: float,
) -> None:
    """A point at one share of the model's box lies at that share of the radiograph's box."""
    crop = Crop(
        rows[0], columns[0], rows[1], columns[1], model_rows[0], model_columns[0], model_rows[1], model_columns[1]
    )
    row, column = crop.to_radiograph(
        crop.model_top + down * crop.model_height, crop.model_left + across * crop.model_width
    )
    assert row == pytest.approx(crop.top + down * crop.height, abs=1e-6)
    assert column == pytest.approx(crop.left + across * crop.width, abs=1e-6)


@pytest.mark.parametrize("framing", ["pad", "stretch"])
def test_a_mark_is_found_where_the_crop_says(framing: str) -> None:
    """A bright square, wherever it lies, comes back to where it was drawn."""
    for row, column in ((100, 80), (250, 200), (380, 290)):
        pixels = bordered(np.full((400, 300), 20000, np.uint16), top=50, bottom=30, left=20, right=40)
        pixels[row - 3 : row + 4, column - 3 : column + 4] = 65000
        model_input = preprocess(radiograph_of(pixels), Preprocessing(framing=framing, high_percentile=100))
        bright = np.argwhere(model_input.pixels[0] > 0.95)
        found = model_input.crop.to_radiograph(*(bright.mean(axis=0) + 0.5))
        assert found == pytest.approx((row + 0.5, column + 0.5), abs=1)
