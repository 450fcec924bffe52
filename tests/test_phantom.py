"""Phantoms: the same bytes from the same seed, exact lungs, and a label that shows in the lungs and nowhere else."""

import hashlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.pixels import apply_windowing

from edge.phantom import LABELS, MAX_GREY, render
from edge.phantom_dicom import write_dicom, write_png

SIDE = 256
SEEDS = range(8)
SYNTAXES = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
)
IN_A_WORKER = """
import hashlib, cv2
from edge.phantom import render
cv2.setNumThreads(1)
print(hashlib.sha256(render(7, "covid", longest_side=256).pixels.tobytes()).hexdigest())
"""


def displayed(path: Path) -> np.ndarray:
    """float64 [rows, columns] in 0..4095, as a viewer shows the file, bright = dense."""
    dataset = pydicom.dcmread(path)
    shown = apply_windowing(dataset.pixel_array, dataset)
    return MAX_GREY - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


def test_another_process_draws_the_same_bytes() -> None:
    here = hashlib.sha256(render(7, "covid", longest_side=SIDE).pixels.tobytes()).hexdigest()
    there = subprocess.run([sys.executable, "-c", IN_A_WORKER], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == here


def test_seeds_differ() -> None:
    assert len({render(seed, "other", longest_side=64).pixels.tobytes() for seed in SEEDS}) == len(SEEDS)


@pytest.mark.parametrize("variant", ["frontal", "lateral", "blank", "inverted"])
def test_pixels_are_12_bit_and_as_long_as_asked(variant: str) -> None:
    phantom = render(3, "covid", variant=variant, longest_side=SIDE)
    assert phantom.pixels.dtype == np.uint16
    assert phantom.pixels.max() <= MAX_GREY
    assert max(phantom.pixels.shape) == SIDE
    assert phantom.lung_mask.shape == phantom.pixels.shape
    assert phantom.lung_mask.any() == (variant != "blank")


def test_longer_side_shows_the_same_anatomy_and_findings() -> None:
    shape = render(5, "other", longest_side=SIDE).pixels.shape

    def reduced(field: np.ndarray) -> np.ndarray:
        return cv2.resize(field.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)

    small, large = ([render(5, label, longest_side=side) for label in LABELS] for side in (SIDE, 3 * SIDE))
    for few, many in zip(small, large, strict=True):
        assert np.corrcoef(reduced(many.pixels).ravel(), few.pixels.ravel())[0, 1] > 0.99
        mask = reduced(many.lung_mask) > 0.5
        assert (mask & few.lung_mask).sum() / (mask | few.lung_mask).sum() > 0.96
    opacities = [reduced(covid.pixels.astype(int) - other.pixels).ravel() for other, covid in (small, large)]
    assert np.corrcoef(*opacities)[0, 1] > 0.97


@pytest.mark.parametrize(
    ("label", "variant", "message"),
    [
        ("pneumonia", "frontal", "'pneumonia'.*other, covid"),
        ("covid", "oblique", "'oblique'.*frontal, lateral, blank, inverted"),
    ],
)
def test_what_cannot_be_drawn_is_named(label: str, variant: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(0, label, variant=variant)


@pytest.mark.parametrize("seed", SEEDS)
def test_lungs_are_two_dark_regions_within_the_radiograph(seed: int) -> None:
    phantom = render(seed, "other", longest_side=SIDE)
    lungs = phantom.lung_mask
    components, _, stats, centroids = cv2.connectedComponentsWithStats(lungs.astype(np.uint8), connectivity=8)
    assert components == 3  # background and two lungs
    assert 0.12 < lungs.mean() < 0.5
    assert stats[1:, cv2.CC_STAT_AREA].min() > 0.3 * stats[1:, cv2.CC_STAT_AREA].max()
    assert abs(centroids[1, 0] - centroids[2, 0]) > 0.2 * phantom.pixels.shape[1]
    border = np.concatenate([lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1]])
    assert not border.any()
    around = cv2.dilate(lungs.astype(np.uint8), np.ones((9, 9))).astype(bool) & ~lungs
    assert np.median(phantom.pixels[lungs]) < 0.85 * np.median(phantom.pixels[around])


def test_heart_takes_room_from_the_left_lung() -> None:
    masks = [render(seed, "other", longest_side=64).lung_mask for seed in SEEDS]
    middles = [int(np.nonzero(mask)[1].mean()) for mask in masks]
    right = sum(mask[:, :middle].sum() for mask, middle in zip(masks, middles, strict=True))
    assert sum(mask.sum() for mask in masks) - right < 0.95 * right


def test_mask_follows_the_edge_of_the_lung() -> None:
    """Shifted by a hundredth of the radiograph either way, the mask fits the grey levels worse."""
    phantom = render(2, "other", longest_side=512)

    def step_across(shift: int) -> float:
        lungs = np.roll(phantom.lung_mask, shift, axis=1).astype(np.uint8)
        inside = lungs - cv2.erode(lungs, np.ones((5, 5)))
        outside = cv2.dilate(lungs, np.ones((5, 5))) - lungs
        return float(phantom.pixels[outside > 0].mean() - phantom.pixels[inside > 0].mean())

    assert step_across(0) > max(step_across(-5), step_across(5))


@pytest.mark.parametrize("seed", SEEDS)
def test_label_shows_in_the_lungs_and_nowhere_else(seed: int) -> None:
    other, covid = (render(seed, label, longest_side=SIDE) for label in LABELS)
    lungs = other.lung_mask
    assert np.array_equal(covid.lung_mask, lungs)
    assert np.array_equal(covid.pixels[~lungs], other.pixels[~lungs])  # borders, words, tubes, noise
    assert (covid.pixels[lungs] != other.pixels[lungs]).mean() > 0.05


def test_ground_glass_lies_in_both_lungs_and_low() -> None:
    low = []
    for seed in SEEDS:
        other, covid = (render(seed, label, longest_side=SIDE) for label in LABELS)
        denser = np.maximum(covid.pixels.astype(float) - other.pixels, 0)
        rows, columns = np.nonzero(covid.lung_mask)
        middle = int(columns.mean())
        assert denser[:, :middle].sum() > 0.1 * denser.sum()
        assert denser[:, middle:].sum() > 0.1 * denser.sum()
        low.append(denser[int(np.median(rows)) :].sum() / denser.sum())
    assert np.mean(low) > 0.6


def test_grey_level_alone_does_not_give_the_label_away() -> None:
    means = {label: [render(s, label, longest_side=64).pixels.mean() for s in range(24)] for label in LABELS}
    above = np.mean(np.array(means["covid"])[:, None] > np.array(means["other"]))  # the area under the ROC curve
    assert 0.35 < above < 0.65


def test_inverted_is_the_negative() -> None:
    frontal, inverted = (render(4, "covid", variant=v, longest_side=SIDE) for v in ("frontal", "inverted"))
    assert np.array_equal(frontal.pixels + inverted.pixels, np.full_like(frontal.pixels, MAX_GREY))


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("photometric_interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_dicom_displays_the_phantom(tmp_path: Path, syntax: uid.UID, photometric_interpretation: str) -> None:
    phantom = render(9, "covid", longest_side=SIDE - 1)
    path = tmp_path / "phantom.dcm"
    write_dicom(phantom, path, photometric_interpretation=photometric_interpretation, transfer_syntax=syntax)
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert dataset.PhotometricInterpretation == photometric_interpretation
    assert (dataset.pixel_array == phantom.pixels).all() == (photometric_interpretation == "MONOCHROME2")
    np.testing.assert_allclose(displayed(path), phantom.pixels, atol=0.5)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_dicom_is_the_same_bytes_twice(tmp_path: Path, syntax: uid.UID) -> None:
    for name in ("a", "b"):
        write_dicom(render(9, "other", longest_side=64), tmp_path / name, transfer_syntax=syntax)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_dicom_identity_follows_the_phantom(tmp_path: Path) -> None:
    wanted = [(1, "other", "frontal"), (2, "other", "frontal"), (1, "covid", "frontal"), (1, "other", "lateral")]
    path = tmp_path / "phantom.dcm"
    instances = set()
    for seed, label, variant in wanted:
        write_dicom(render(seed, label, variant=variant, longest_side=64), path, view_position="PA", patient_age="007Y")
        dataset = pydicom.dcmread(path)
        instances.add(dataset.SOPInstanceUID)
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert (dataset.ViewPosition, dataset.PatientAge) == ("PA", "007Y")
        assert str(dataset.PatientName) == f"PHANTOM^{seed}"
    assert len(instances) == len(wanted)
    write_dicom(render(1, "covid", longest_side=64), path, sop_instance_uid="2.25.1")
    assert pydicom.dcmread(path).SOPInstanceUID == "2.25.1"


def test_dicom_refuses_colour(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'RGB'.*MONOCHROME1, MONOCHROME2"):
        write_dicom(render(1, "covid", longest_side=64), tmp_path / "x", photometric_interpretation="RGB")


def test_png_spans_the_range_of_its_bits(tmp_path: Path) -> None:
    phantom = render(6, "covid", longest_side=SIDE)
    path = tmp_path / "phantom.png"
    write_png(phantom, path)
    deep = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert deep.dtype == np.uint16
    np.testing.assert_allclose(deep, phantom.pixels * (65535 / MAX_GREY), atol=1)
    write_png(phantom, path, bits=8)
    shallow = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert shallow.dtype == np.uint8
    assert np.array_equal(shallow, phantom.pixels >> 4)
    with pytest.raises(ValueError, match=r"10 bits.*8, 16"):
        write_png(phantom, path, bits=10)
