"""What the model card says of figures that need a caveat, and whom it credits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.calibration import Proof
from edge.gate_limits import GateLimits, Limits
from edge.imaging.preprocess import Preprocessing
from export.bundle_writer import BundleContent
from export.card import first_line, render_card
from export.recipes import RESEARCH, site_recipe
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
    temperatures={"int8": None},
    gates=GateLimits(Limits(0.1, 0.6, 0.03)),
    metrics={},
    training={},
)
RECORD = {"rows": {"train": 70, "val": 22}, "manifest": "lungs.csv", "preset": "lungs", "seed": 0}
OUTCOME: dict[str, Any] = {
    "passed": True, "failures": [], "radiographs": 322, "flipped": 0, "flipped_upper": 0.0093, "auc": 0.6,
    "auc_fp32": 0.7, "recall": 0.97, "score_change_max": 0.1, "score_change_mean": 0.1, "embedding_cosine_min": 0.9,
    "lung_dice_min": 0.9, "decisions_judged": True,
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "lungs": RECORD,
    "members": {"resnet34": RECORD},
    "gate": {"refused": 0, "radiographs": 9},
    **RESEARCH.terms,
    "commands": ["make it"],
    "lung_dice": {"test": {"median": 0.9, "tenth_percentile": 0.8, "n": 38, "n_radiographs": 25, "n_refused": 2}},
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


def card_of(internal: dict[str, object], **accuracy: dict[str, Any]) -> str:
    metrics = {"test_internal": internal, "test_eurorad": figures(0.6, 0.4, 0.8)}
    return render_card(replace(CONTENT, accuracy=accuracy), metrics, TRAINING)


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


def test_the_card_says_how_each_precision_did_at_the_gate() -> None:
    assert "No precision went through the accuracy gate." in card_of(figures(0.7, 0.5, 0.9))
    failed = {**OUTCOME, "passed": False, "failures": ["AUC falls by 0.1, more than 0.005"]}
    card = card_of(figures(0.7, 0.5, 0.9), fp32=OUTCOME, fp16=OUTCOME, int8=failed)
    assert "fp16 against fp32 on 322 radiographs: the accuracy gate holds. 0 decisions flip (at most 0.93%" in card
    assert "int8 against fp32 on 322 radiographs: the gate fails: AUC falls by 0.1, more than 0.005." in card
    assert "fp32 against fp32" not in card


def test_flips_that_were_only_counted_are_told_as_such() -> None:
    assert "not judged" not in card_of(figures(0.7, 0.5, 0.9), int8=OUTCOME)
    card = card_of(figures(0.7, 0.5, 0.9), int8={**OUTCOME, "flipped": 5, "decisions_judged": False})
    assert "5 decisions flip (at most 0.93% by the 95% bound; counted, not judged)" in card


def test_a_sites_card_speaks_of_its_own_radiographs_and_needs_no_masks_and_no_commands() -> None:
    site = replace(CONTENT, name="ward-3", role="site", operating_points={"int8": 0.4})
    bare = {name: TRAINING[name] for name in ("lungs", "members", "gate")}
    terms = site_recipe(
        "ward-3", "pad", ("int8",), labels=("other", "covid"), licence="ours", credits=("Ward 3",)
    ).terms
    assert render_card(site, {}, {**bare, **terms}).startswith("**Nobody has measured its scores")
    card = render_card(site, {"test": figures(0.7, 0.5, 0.9)}, {**bare, **terms})
    assert card.startswith("**On test (5 covid, 4 other) the AUC is 0.70 (95% interval 0.50 to 0.90); of other")
    assert "Operating points: 0.400 (int8). The scores are not calibrated" in card
    assert "- Ward 3" in card and "embeddings: ours." in card and "```" not in card and "Dice" not in card
    scaled = render_card(
        replace(site, temperatures={"int8": 1.5}, calibration={"int8": Proof(5000, 0.01, 0.027)}), {}, {**bare, **terms}
    )
    assert "temperatures: 1.50 (int8; expected calibration error of 5000 radiographs 0.010, at most 0.027 by" in scaled


def test_a_sites_card_calls_the_labels_as_the_site_does() -> None:
    site = replace(CONTENT, role="site", labels=("no_finding", "pneumonia"))
    card = render_card(site, {"test": figures(0.7, 0.5, 0.9)}, TRAINING)
    assert card.startswith("**On test (5 pneumonia, 4 no_finding) the AUC")
    assert "| split | what it is | pneumonia / no_finding / refused |" in card
    assert "COVID-19" not in card.split("## Licence")[0]
    assert "| split | what it is | COVID-19 / other / refused |" in card_of(figures(0.7, 0.5, 0.9))


def test_a_split_of_one_label_has_no_auc_and_says_so() -> None:
    internal = {name: value for name, value in figures(0.7, 0.5, 0.9).items() if not name.startswith("auc")}
    assert "| not known, of one label only |" in card_of(internal)
    told = first_line("demonstration", {"test_eurorad": internal})
    assert "not known, of one label only: not distinguishable from chance" in told


@pytest.mark.real
@pytest.mark.parametrize("name", ["lungs.csv", "covid.csv"])
def test_every_licence_that_the_weights_were_trained_under_is_credited(real_data: Path, name: str) -> None:
    labels = None if name == "lungs.csv" else ("other", "covid")
    rows = read_manifest(real_data / name, labels=labels, permitted_only=True)
    licences = {row.licence for row in rows if row.split in ("train", "val")}
    credits = " ".join(RESEARCH.credits)
    assert licences
    assert all(f"({licence})" in credits for licence in licences), licences
