"""The two bundles that ship: what was promised of them, and reference cases that can be drawn again."""

import hashlib
import io
from pathlib import Path

import pydicom
import pytest

from edge.bundle import PACKAGED_FOLDER, Bundle, read_bundle
from edge.known_answer import SCORE_TOLERANCE
from edge.phantom import render
from edge.phantom_dicom import write_dicom
from edge.values import case_id_of
from export.card import first_line
from export.drift_levels import OF_PICTURES
from export.recipes import RECIPES


@pytest.fixture(scope="module", params=sorted(RECIPES))
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return read_bundle(PACKAGED_FOLDER / request.param)


def test_it_is_what_its_recipe_says(bundle: Bundle) -> None:
    recipe = RECIPES[bundle.manifest.name]
    manifest = bundle.manifest
    assert (manifest.role, manifest.precisions) == (recipe.role, recipe.precisions)
    assert manifest.preprocessing.framing == recipe.framing
    assert all((point is not None) == recipe.decides for point in manifest.operating_points.values())
    assert sum(len(content) for content in bundle.files.values()) < 30e6


def test_the_card_opens_with_the_figure_that_matters_and_names_the_licence(bundle: Bundle) -> None:
    card = bundle.files["MODEL_CARD.md"].decode()
    assert card.splitlines()[0] == first_line(bundle.manifest.role, bundle.manifest.metrics)
    assert RECIPES[bundle.manifest.name].licence in card


def test_three_golden_cases_one_of_them_monochrome1(bundle: Bundle) -> None:
    cases = bundle.golden_cases()
    found = [pydicom.dcmread(io.BytesIO(case.content)).PhotometricInterpretation for case in cases]
    assert sorted(found) == ["MONOCHROME1", "MONOCHROME2", "MONOCHROME2"]
    assert all(set(case.expected) == set(bundle.manifest.precisions) for case in cases)


def test_golden_scores_are_mid_range_and_that_of_monochrome1_lies_between_the_others(bundle: Bundle) -> None:
    """A score near 0 or 1 hardly moves: what a file that is not inverted does to it might be overlooked."""
    for precision in bundle.manifest.precisions:
        low, middle, high = (case.expected[precision]["score"] for case in bundle.golden_cases())
        assert 0.1 < low < middle < high < 0.9
    assert b"MONOCHROME1" in bundle.golden_cases()[1].content


def test_it_brings_what_drift_of_pictures_is_measured_from(bundle: Bundle) -> None:
    assert bundle.manifest.drift.keys() == {*OF_PICTURES}
    cases = len(bundle.reference().case_ids)
    assert all(levels.count > cases for levels in bundle.manifest.drift.values())


def test_no_constant_network_gives_the_golden_answers(bundle: Bundle) -> None:
    for precision in bundle.manifest.precisions:
        scores = [case.expected[precision]["score"] for case in bundle.golden_cases()]
        assert max(scores) - min(scores) > 2 * SCORE_TOLERANCE[precision], precision


def test_no_trace_of_the_machine_that_made_it(bundle: Bundle) -> None:
    written = (PACKAGED_FOLDER / bundle.manifest.name / "manifest.json").read_text()
    for place in ("/home/", "/root/", "/tmp/"):
        assert place not in written
        assert all(place.encode() not in content for content in bundle.files.values())


def test_phantoms_are_told_apart_and_drawn_again_from_their_origin(tmp_path: Path) -> None:
    phantom = read_bundle(PACKAGED_FOLDER / "phantom")
    assert phantom.manifest.metrics["test"]["auc"] >= 0.95
    reference = phantom.reference()
    assert set(reference.labels) == {"other", "covid"}
    _, seed, label = reference.origins[0].split(":")
    write_dicom(render(int(seed), label), tmp_path / "again.dcm")
    assert case_id_of(hashlib.sha256((tmp_path / "again.dcm").read_bytes()).hexdigest()) == reference.case_ids[0]
    assert reference.labels[0] == label
