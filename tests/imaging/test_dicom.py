"""DICOM to grey levels: exact values. Header rules: test_header.py; damage and privacy: test_dicom_faults.py."""

import io
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, uid
from radiograph_files import chest, dicom_file, phantom_pixels, radiograph_of

from edge.errors import (
    Truncated,
)
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.values import Radiograph

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
CHEST = phantom_pixels()


def stretched(values: np.ndarray) -> np.ndarray:
    """What the levels must be: `values` over 0..65535."""
    low, high = values.min(), values.max()
    return np.rint(((values - low) * 65535 / (high - low)).round(6)).astype(np.uint16)


# --- grey levels: exact values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("center", "width"), [(1000, 401), (2048, 4096), (1000.5, 2), (40, 400), (1000, 1)])
def test_linear_window(center: float, width: float) -> None:
    """PS3.3 C.11.2.1.2.1, word for word, with 0 and 1 as the ends of the output."""
    levels = radiograph_of(RAMP, WindowCenter=center, WindowWidth=width).pixels

    def displayed(x: int) -> float:
        if x <= center - 0.5 - (width - 1) / 2:
            return 0.0
        if x > center - 0.5 + (width - 1) / 2:
            return 1.0
        return (x - (center - 0.5)) / (width - 1) + 0.5

    np.testing.assert_array_equal(levels.ravel(), stretched(np.array([displayed(x) for x in range(4096)])))


def test_the_first_of_several_windows_counts() -> None:
    several = radiograph_of(RAMP, WindowCenter=[1000, 3000], WindowWidth=[401, 100])
    np.testing.assert_array_equal(several.pixels, radiograph_of(RAMP, WindowCenter=1000, WindowWidth=401).pixels)


def test_linear_exact_window() -> None:
    """PS3.3 C.11.2.1.3.2."""
    window = {"WindowCenter": 1000, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"}
    expected = np.clip((np.arange(4096) - 1000) / 400 + 0.5, 0, 1)
    np.testing.assert_array_equal(radiograph_of(RAMP, **window).pixels.ravel(), stretched(expected))


def test_sigmoid_window() -> None:
    """PS3.3 C.11.2.1.3.1."""
    window = {"WindowCenter": 2000, "WindowWidth": 800, "VOILUTFunction": "SIGMOID"}
    expected = stretched(1 / (1 + np.exp(-4 * (np.arange(4096) - 2000.0) / 800)))
    away = np.abs(radiograph_of(RAMP, **window).pixels.ravel().astype(int) - expected)
    assert away.max() <= 1


def test_rescale_comes_before_the_window() -> None:
    rescaled = radiograph_of(RAMP, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=1900, WindowWidth=801)
    np.testing.assert_array_equal(
        rescaled.pixels.ravel(), stretched(np.clip((2.0 * np.arange(4096) - 100 - 1899.5) / 800 + 0.5, 0, 1))
    )


def test_a_negative_slope_inverts() -> None:
    np.testing.assert_array_equal(
        radiograph_of(RAMP, RescaleSlope=-1, RescaleIntercept=0).pixels, stretched(4095 - RAMP.astype(float))
    )


@pytest.mark.parametrize("photometric_interpretation", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": 1000, "WindowWidth": 900},
        {"WindowCenter": 1000, "WindowWidth": 900, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1000, "WindowWidth": 900, "VOILUTFunction": "SIGMOID"},
    ],
    ids=["none", "linear", "linear exact", "sigmoid"],
)
def test_a_negative_slope_inverts_whatever_the_window(
    window: dict[str, object], photometric_interpretation: str
) -> None:
    elements = {**window, "PhotometricInterpretation": photometric_interpretation}
    rescaled = radiograph_of(RAMP, RescaleSlope=-1, RescaleIntercept=4095, **elements).pixels
    np.testing.assert_array_equal(rescaled, radiograph_of(4095 - RAMP, **elements).pixels)
    assert (rescaled[0, 0] > rescaled[-1, -1]) == (photometric_interpretation == "MONOCHROME2")


@pytest.mark.parametrize(
    ("alone", "neutral"),
    [({"RescaleSlope": 2}, {"RescaleIntercept": 0}), ({"RescaleIntercept": 300}, {"RescaleSlope": 1})],
)
def test_half_a_rescale_leaves_the_other_half_neutral(alone: dict[str, object], neutral: dict[str, object]) -> None:
    window = {"WindowCenter": 1900, "WindowWidth": 801}
    half = radiograph_of(RAMP, **alone, **window).pixels
    np.testing.assert_array_equal(half, radiograph_of(RAMP, **alone, **neutral, **window).pixels)
    assert not np.array_equal(half, radiograph_of(RAMP, **window).pixels)  # or it would count for nothing


def test_without_lut_the_values_present_are_stretched() -> None:
    part = (RAMP // 4 + 100).astype(np.uint16)
    np.testing.assert_array_equal(radiograph_of(part).pixels, stretched(part.astype(float)))


def lut(table: np.ndarray, first: int, *, bits: int = 16, entry: str = "<u2") -> Dataset:
    """A LUT sequence item (PS3.3 C.11.1.1.1). entry: the dtype that an entry is written as."""
    item = Dataset()
    item.ModalityLUTType = "US"
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table) % 65536, first, bits])
    packed = table.astype(entry).tobytes()
    item.add_new("LUTData", "OW", packed + b"\0" * (len(packed) % 2))
    return item


EACH_LUT = pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])


def test_modality_lut() -> None:
    table = (np.arange(4096, dtype=np.uint32) ** 2 >> 8).astype(np.uint16)
    levels = radiograph_of(RAMP, ModalityLUTSequence=Sequence([lut(table, 0)])).pixels
    np.testing.assert_array_equal(levels.ravel(), stretched(table.astype(float)))


def test_voi_lut_and_what_lies_outside_it() -> None:
    """Values below the first and beyond the last mapped value take the first and last entry (PS3.3 C.11.2.1.1)."""
    table = np.sqrt(np.linspace(0, 60000**2, 1024)).astype(np.uint16)
    levels = radiograph_of(RAMP, VOILUTSequence=Sequence([lut(table, 1000)])).pixels
    expected = table[np.clip(np.arange(4096) - 1000, 0, 1023)]
    np.testing.assert_array_equal(levels.ravel(), stretched(expected.astype(float)))


@EACH_LUT
@pytest.mark.parametrize("entry", ["u1", "<u2"], ids=["a byte", "a word"])
@pytest.mark.parametrize("entries", [4096, 4095])
def test_a_lut_of_8_bits(keyword: str, entry: str, entries: int) -> None:
    """An entry a byte, as the Standard has it, or a word, as some writers have it (PS3.3 C.11.1.1.1, note)."""
    table = np.sqrt(np.arange(entries) * 15).astype(np.uint8)
    levels = radiograph_of(RAMP, **{keyword: Sequence([lut(table, 0, bits=8, entry=entry)])}).pixels
    np.testing.assert_array_equal(levels.ravel()[:entries], stretched(table.astype(float)))
    assert levels[-1, -1] == 65535


@EACH_LUT
@pytest.mark.parametrize(("bits", "entry"), [(8, "u1"), (8, ">u2"), (16, ">u2")])
def test_a_lut_in_big_endian(keyword: str, bits: int, entry: str) -> None:
    table = np.sqrt(np.arange(4096) * 15)
    item = lut(table, 0, bits=bits, entry=entry)
    if entry == "u1":
        item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
    content = dicom_file(chest(RAMP, bits_stored=12, **{keyword: Sequence([item])}), uid.ExplicitVRBigEndian)
    np.testing.assert_array_equal(read(content).pixels.ravel(), stretched(np.floor(table)))


@EACH_LUT
def test_a_lut_as_numbers(keyword: str) -> None:
    """LUTData may be US instead of OW, with two entries of 8 bits in each number."""
    table = np.sqrt(np.arange(4096) * 15).astype(np.uint8)
    item = lut(table, 0, bits=8, entry="u1")
    item.add_new("LUTData", "US", np.frombuffer(item.LUTData, "<u2").tolist())
    levels = radiograph_of(RAMP, **{keyword: Sequence([item])}).pixels
    np.testing.assert_array_equal(levels.ravel(), stretched(table.astype(float)))


@EACH_LUT
@pytest.mark.parametrize(
    ("stored", "bits_stored", "entries", "first"),
    [
        (np.arange(-2048, 2048, dtype=np.int16), 12, 4096, -2048),
        (np.arange(-2048, 2048, dtype=np.int16), 12, 65536, -32768),
        (np.arange(-32768, 32768, dtype=np.int32).astype(np.int16), 16, 65536, -32768),
        (np.arange(65536, dtype=np.uint32).astype(np.uint16), 16, 65536, 0),
        (np.arange(4096, dtype=np.uint16), 12, 5000, -100),
        (np.arange(256, dtype=np.uint8), 8, 1000, -100),
        (np.arange(256, dtype=np.uint8), 8, 4096, 0),
        (np.arange(4096, dtype=np.uint16), 12, 1000, 3000),
    ],
)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian], ids=lambda s: s.keyword)
def test_where_a_lut_begins(
    keyword: str, stored: np.ndarray, bits_stored: int, entries: int, first: int, syntax: uid.UID
) -> None:
    """In implicit VR a negative first value of unsigned pixels is read as a great one."""
    table = np.arange(entries) ** 2 * 65535 // entries**2
    dataset = chest(stored.reshape(16, -1), bits_stored=bits_stored, **{keyword: Sequence([lut(table, first)])})
    expected = table[np.clip(stored.astype(int) - first, 0, entries - 1)]
    np.testing.assert_array_equal(read(dicom_file(dataset, syntax)).pixels.ravel(), stretched(expected.astype(float)))


@EACH_LUT
def test_a_lut_of_12_bits(keyword: str) -> None:
    table = np.arange(4096)[::-1]
    levels = radiograph_of(RAMP, **{keyword: Sequence([lut(table, 0, bits=12)])}).pixels
    np.testing.assert_array_equal(levels.ravel(), stretched(table.astype(float)))


def test_a_voi_lut_of_rescaled_values() -> None:
    table = np.arange(4096) ** 2 >> 8
    rescale = {"RescaleSlope": -0.5, "RescaleIntercept": 100}
    levels = radiograph_of(RAMP, **rescale, VOILUTSequence=Sequence([lut(table, -2000)])).pixels
    expected = table[np.floor(100 - np.arange(4096) / 2).astype(int) + 2000]
    np.testing.assert_array_equal(levels.ravel(), stretched(expected.astype(float)))


@EACH_LUT
def test_a_lut_cut_short_is_called_truncated(keyword: str) -> None:
    item = lut(np.arange(4096), 0)
    item.LUTData = item.LUTData[:4000]
    with pytest.raises(Truncated, match="a LUT holds 4000 of 4096 entries; send it again"):
        radiograph_of(RAMP, **{keyword: Sequence([item])})


def test_a_voi_lut_without_entries_is_none() -> None:
    empty, window = Dataset(), {"WindowCenter": 1000, "WindowWidth": 400}
    empty.LUTExplanation = "NORMAL"
    with_empty = radiograph_of(RAMP, VOILUTSequence=Sequence([empty]), **window).pixels
    np.testing.assert_array_equal(with_empty, radiograph_of(RAMP, **window).pixels)


def test_a_voi_lut_is_preferred_to_a_window() -> None:
    sequence = Sequence([lut(np.arange(4096, dtype=np.uint16) // 7, 0)])
    both = radiograph_of(RAMP, VOILUTSequence=sequence, WindowCenter=40, WindowWidth=400)
    np.testing.assert_array_equal(both.pixels, radiograph_of(RAMP, VOILUTSequence=sequence).pixels)


@pytest.mark.parametrize("constant", [0, 7, 4095])
@pytest.mark.parametrize("photometric_interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_a_constant_picture_is_black(constant: int, photometric_interpretation: str) -> None:
    flat = np.full((40, 30), constant, np.uint16)
    assert not radiograph_of(flat, PhotometricInterpretation=photometric_interpretation).pixels.any()


# --- MONOCHROME1 and MONOCHROME2 twins ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Twins:
    """One radiograph stored both ways: stored value v of the one is low + high - v of the other."""

    bits_stored: int
    signed: bool
    seed: int

    @property
    def mirror(self) -> int:
        """low + high of the stored values that the bits can hold."""
        return -1 if self.signed else (1 << self.bits_stored) - 1

    @property
    def stored(self) -> np.ndarray:
        low = -(1 << (self.bits_stored - 1)) if self.signed else 0
        rng = np.random.default_rng(self.seed)
        span = int(rng.integers(1, 1 << self.bits_stored))  # not always the full range
        values = rng.integers(0, span + 1, (24, 20)) + low + int(rng.integers(0, (1 << self.bits_stored) - span))
        kind = "i" if self.signed else "u"
        return values.astype(f"{kind}{1 if self.bits_stored == 8 else 2}")

    def read(self, bright: dict[str, object], dark: dict[str, object]) -> tuple[Radiograph, Radiograph]:
        stored = self.stored
        mirrored = (self.mirror - stored.astype(np.int64)).astype(stored.dtype)
        return (
            radiograph_of(stored, bits_stored=self.bits_stored, **bright),
            radiograph_of(mirrored, bits_stored=self.bits_stored, PhotometricInterpretation="MONOCHROME1", **dark),
        )


TWINS = st.builds(Twins, st.integers(8, 16), st.booleans(), st.integers(0, 2**32 - 1))
SLOPES = st.sampled_from([1, 2, 0.5, 0.1, 0.0244, -1, -0.3, 1.5])


def assert_same(twins: tuple[Radiograph, Radiograph]) -> None:
    bright, dark = twins
    np.testing.assert_array_equal(bright.pixels, dark.pixels)
    assert bright.source.pixels_sha256 == dark.source.pixels_sha256


@given(TWINS)
def test_twins_without_window(twins: Twins) -> None:
    assert_same(twins.read({}, {}))


@given(TWINS, st.integers(-3000, 70000), st.integers(1, 70000))
def test_twins_with_window(twins: Twins, center: int, width: int) -> None:
    other = twins.mirror + 1 - center  # the LINEAR window is centred half a value below its centre
    assert_same(
        twins.read({"WindowCenter": center, "WindowWidth": width}, {"WindowCenter": other, "WindowWidth": width})
    )


@given(TWINS, SLOPES, st.sampled_from([0, -1024, 0.5, 17]))
def test_twins_with_rescale(twins: Twins, slope: float, intercept: float) -> None:
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    assert_same(twins.read(rescale, rescale))


@given(TWINS, st.sampled_from([1, 2, -1, 4]), st.integers(-2000, 2000), st.integers(0, 5000), st.integers(1, 9000))
def test_twins_with_rescale_and_window(twins: Twins, slope: int, intercept: int, center: int, width: int) -> None:
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
    other = slope * twins.mirror + 2 * intercept + 1 - center
    bright = {**rescale, "WindowCenter": center, "WindowWidth": width}
    assert_same(twins.read(bright, {**bright, "WindowCenter": other}))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["ModalityLUTSequence", "VOILUTSequence"]))
def test_twins_with_lut(seed: int, keyword: str) -> None:
    rng = np.random.default_rng(seed)
    table = np.sort(rng.integers(0, 65536, 1024)).astype(np.uint16)
    items = [lut(table, 0), lut(65535 - table[::-1], 0)]
    bright, dark = ({keyword: Sequence([item])} for item in items)
    assert_same(Twins(10, False, seed).read(bright, dark))


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 1800, "WindowWidth": 2000}], ids=["plain", "window"])
def test_twins_give_the_same_model_input(window: dict[str, object]) -> None:
    bright = radiograph_of(CHEST, **window)
    mirrored = {**window, "WindowCenter": 4096 - 1800} if window else {}
    dark = radiograph_of(4095 - CHEST, PhotometricInterpretation="MONOCHROME1", **mirrored)
    inputs = [preprocess(radiograph, Preprocessing()) for radiograph in (bright, dark)]
    np.testing.assert_array_equal(inputs[0].pixels, inputs[1].pixels)
    assert inputs[0].crop == inputs[1].crop
    inverted = preprocess(radiograph_of(4095 - CHEST, **mirrored), Preprocessing())
    assert not np.array_equal(inverted.pixels, inputs[0].pixels)  # or the twins would prove nothing


# --- padding and pixel aspect ------------------------------------------------------------------------------------


def padded(padding: int, dtype: type = np.uint16) -> np.ndarray:
    stored = CHEST.astype(dtype)
    stored[:10] = padding
    return stored


def test_padding_is_zero_and_counts_for_nothing() -> None:
    """Were 65535 counted, the radiograph would be squeezed into the lowest sixteenth of the levels."""
    radiograph = radiograph_of(padded(65535), bits_stored=16, PixelPaddingValue=65535)
    expected = stretched(CHEST[10:].astype(float))
    np.testing.assert_array_equal(radiograph.pixels[10:], expected)
    assert not radiograph.pixels[:10].any()
    assert radiograph.valid is not None
    assert not radiograph.valid[:10].any()
    assert radiograph.valid[10:].all()


@pytest.mark.parametrize(("value", "limit"), [(60000, 65535), (65535, 60000)])
def test_padding_range(value: int, limit: int) -> None:
    stored = padded(60000)
    stored[5:10] = 65000
    radiograph = radiograph_of(stored, bits_stored=16, PixelPaddingValue=value, PixelPaddingRangeLimit=limit)
    np.testing.assert_array_equal(radiograph.pixels[10:], stretched(CHEST[10:].astype(float)))
    assert not radiograph.pixels[:10].any()


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian], ids=lambda s: s.keyword)
@pytest.mark.parametrize("representation", ["SS", "US"])
def test_padding_of_signed_pixels(syntax: uid.UID, representation: str) -> None:
    """Some writers give the padding of signed pixels as an unsigned number."""
    dataset = chest(padded(-2000, np.int16))
    dataset.add_new("PixelPaddingValue", representation, -2000 if representation == "SS" else 65536 - 2000)
    radiograph = read(dicom_file(dataset, syntax))
    np.testing.assert_array_equal(radiograph.pixels[10:], stretched(CHEST[10:].astype(float)))
    assert not radiograph.pixels[:10].any()


def test_padding_of_monochrome1_is_zero_too() -> None:
    stored = 4095 - CHEST
    stored[:10] = 65535
    dark = radiograph_of(stored, bits_stored=16, PixelPaddingValue=65535, PhotometricInterpretation="MONOCHROME1")
    bright = radiograph_of(padded(65535), bits_stored=16, PixelPaddingValue=65535)
    np.testing.assert_array_equal(dark.pixels, bright.pixels)


def test_a_padding_value_that_no_pixel_has_marks_nothing() -> None:
    radiograph = radiograph_of(CHEST, bits_stored=16, PixelPaddingValue=65535)
    assert radiograph.valid is None
    np.testing.assert_array_equal(radiograph.pixels, radiograph_of(CHEST).pixels)


def test_nothing_but_padding_is_black() -> None:
    radiograph = radiograph_of(np.full((30, 30), 9, np.uint16), PixelPaddingValue=9)
    assert not radiograph.pixels.any()
    assert not preprocess(radiograph, Preprocessing(side=64)).pixels.any()


@pytest.mark.parametrize(
    ("elements", "aspect"),
    [
        ({}, 1.0),
        ({"PixelAspectRatio": [2, 1]}, 2.0),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, 0.5),
        ({"PixelSpacing": [0.2, 0.1]}, 2.0),
        ({"PixelAspectRatio": [3, 2], "ImagerPixelSpacing": [0.1, 0.2]}, 1.5),
        ({"PixelAspectRatio": [0, 1]}, 1.0),
        ({"ImagerPixelSpacing": [1, 1000]}, 1.0),
    ],
    ids=str,
)
def test_pixel_aspect(elements: dict[str, object], aspect: float) -> None:
    radiograph = radiograph_of(CHEST, **elements)
    assert radiograph.row_spacing / radiograph.column_spacing == pytest.approx(aspect)


def test_tall_pixels_make_a_tall_picture() -> None:
    """Every second row left out and the pixels called twice as tall: the same body, in the same proportions."""
    whole = preprocess(radiograph_of(CHEST), Preprocessing()).crop
    half = preprocess(radiograph_of(CHEST[::2], PixelAspectRatio=[2, 1]), Preprocessing()).crop
    assert half.model_height / half.model_width == pytest.approx(whole.model_height / whole.model_width, rel=0.05)


@pytest.mark.parametrize(
    "elements",
    [
        {"VOILUTFunction": "", "WindowCenter": 1000, "WindowWidth": 400},
        {"RescaleSlope": "", "RescaleIntercept": 0, "WindowCenter": 1000, "WindowWidth": 400},
    ],
    ids=["function", "rescale"],
)
def test_an_empty_element_means_that_there_is_none(elements: dict[str, object]) -> None:
    plain = radiograph_of(RAMP, WindowCenter=1000, WindowWidth=400).pixels
    np.testing.assert_array_equal(radiograph_of(RAMP, **elements).pixels, plain)


def test_a_window_of_no_width_is_no_window() -> None:
    np.testing.assert_array_equal(
        radiograph_of(RAMP, WindowCenter=1000, WindowWidth=0).pixels, radiograph_of(RAMP).pixels
    )


@pytest.mark.parametrize("implicit_vr", [True, False])
def test_a_file_without_preamble_and_meta_is_read(implicit_vr: bool) -> None:
    opened = io.BytesIO()
    dataset = chest(CHEST, bits_stored=12)
    del dataset.file_meta
    dataset.save_as(opened, implicit_vr=implicit_vr, little_endian=True)
    content = opened.getvalue()
    assert b"DICM" not in content
    np.testing.assert_array_equal(read(content).pixels, radiograph_of(CHEST).pixels)
