"""What the model card says of figures that need a caveat, and whom it credits."""

from pathlib import Path
from typing import Any

import pytest

from edge.bundle import LungLimits
from edge.imaging.preprocess import Preprocessing
from export.bundle_writer import BundleContent
from export.card import render_card
from export.recipes import RESEARCH
from training.manifest import read_manifest

CONTENT = BundleContent(
    name="research",
    role="demonstration",
    labels=("other", "covid"),
    members=("resnet34",),
    embedding_member="resnet34",
    network_input_size=320,
    preprocessing=Preprocessing(framing="stretch"),
    precisions=("int8",),
    operating_points={"int8": None},
    lung_limits=LungLimits(0.1, 0.6, 0.03),
    metrics={},
    training={},
)
RECORD = {"rows": {"train": 70, "val": 22}, "manifest": "lungs.csv", "preset": "lungs", "seed": 0}
PARITY = {
    "radiographs": 9, "score_change_max": 0.1, "score_change_mean": 0.1, "flipped": 1, "embedding_cosine_min": 0.9,
    "embedding_cosine_mean": 0.9, "lung_dice_min": 0.9, "auc_before": 0.7, "auc_after": 0.6,
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "lungs": RECORD,
    "members": {"resnet34": RECORD},
    "gate": {"refused": 0, "radiographs": 9},
    "commands": ["make it"],
    "lung_dice": {"test": {"median": 0.9, "tenth_percentile": 0.8, "n": 38, "n_radiographs": 25, "n_refused": 2}},
    "int8_against_fp32": PARITY,
}


def figures(auc: float, low: float, high: float, **more: object) -> dict[str, object]:
    return {
        "n_covid": 5,
        "n_other": 4,
        "n_refused": 1,
        "point": 0.5,
        "auc": auc,
        "auc_low": low,
        "auc_high": high,
        **more,
    }


def card_of(internal: dict[str, object], **training: object) -> str:
    metrics = {"test_internal": internal, "test_eurorad": figures(0.6, 0.4, 0.8)}
    return render_card(CONTENT, metrics, {**TRAINING, **training})


def test_shortcuts_have_their_intervals_and_say_what_they_were_fitted_on() -> None:
    areas = {"width": {"auc": 0.8, "auc_low": 0.61, "auc_high": 0.93}}
    card = card_of(figures(0.7, 0.5, 0.9, shortcuts={"n_fitted": 95, "areas": areas}))
    assert "fitted on the 95 readable train rows, over the radiographs that this model scored" in card
    row = "| test_internal | 0.70 (95% interval 0.50 to 0.90) | 0.80 (95% interval 0.61 to 0.93) |"
    assert row in card


@pytest.mark.parametrize(("auc", "told"), [(1.0, True), (0.0, True), (0.99, False)])
def test_an_interval_of_separated_scores_is_not_left_to_stand_alone(auc: float, told: bool) -> None:
    assert ("test_internal: every score of one label lies above" in card_of(figures(auc, auc, auc))) is told


def test_the_card_counts_groups_masks_and_radiographs() -> None:
    card = card_of(figures(0.7, 0.5, 0.9))
    assert "groups of patients where the manifest names them" in card
    assert "| masks | radiographs | masks refused |" in card
    assert "| test | 0.900 | 0.800 | 38 | 25 | 2 |" in card


def test_parity_without_labels_to_compare_by() -> None:
    assert "AUC 0.700 before, 0.600 after" in card_of(figures(0.7, 0.5, 0.9))
    parity = {**PARITY, "auc_before": None, "auc_after": None}
    assert "no AUC, for they bear one label only" in card_of(figures(0.7, 0.5, 0.9), int8_against_fp32=parity)


@pytest.mark.real
@pytest.mark.parametrize("name", ["lungs.csv", "covid.csv"])
def test_every_licence_that_the_weights_were_trained_under_is_credited(real_data: Path, name: str) -> None:
    labels = None if name == "lungs.csv" else ("other", "covid")
    rows = read_manifest(real_data / name, labels=labels, permitted_only=True)
    licences = {row.licence for row in rows if row.split in ("train", "val")}
    credits = " ".join(RESEARCH.credits)
    assert licences
    assert all(f"({licence})" in credits for licence in licences), licences
