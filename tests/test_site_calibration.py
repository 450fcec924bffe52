"""A site's calibration: kept as found, refused when it is not as the box sealed it, and what it does to a score."""

import itertools
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import scored
from site_calibrations import FOUND, UNSCALED, phantom_bundle

from edge.bundle import Bundle
from edge.decision import UNDECIDED, Decision
from edge.errors import BundleError, StateError
from edge.site_calibration import CalibrationStore, SiteCalibration, decide, network_score, untried
from edge.temperature import apply_temperature
from edge.values import Prediction

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return phantom_bundle()


def kept(bundle: Bundle, **precisions: object) -> SiteCalibration:
    labels = bundle.manifest.labels
    return SiteCalibration(bundle.id, bundle.manifest.preprocessing_digest, labels, precisions, "d" * 64)  # type: ignore[arg-type]


def predicted(score: float, *, precision: str = "int8", calibrated: bool = False, **members: float) -> Prediction:
    prediction = scored(1, score=score).prediction
    assert prediction is not None
    engine = replace(prediction.engine, precision=precision)
    return replace(prediction, engine=engine, calibrated=calibrated, members=members or {"one": score})


def test_what_is_kept_comes_back(tmp_path: Path, bundle: Bundle) -> None:
    store = CalibrationStore(tmp_path, site_key=KEY)
    assert store.find(bundle) is None
    first = store.keep(bundle, "int8", FOUND)
    assert first == store.find(bundle)
    assert first.precisions == {"int8": FOUND}
    assert (first.bundle_id, first.labels) == (bundle.id, ("other", "covid"))
    second = store.keep(bundle, "fp32", UNSCALED)
    assert second.precisions == {"int8": FOUND, "fp32": UNSCALED}
    assert second.digest != first.digest
    (file,) = (tmp_path / "calibration").iterdir()
    assert file.name == f"{bundle.id[:12]}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_bundle_knows_nothing_of_it(tmp_path: Path, bundle: Bundle) -> None:
    store = CalibrationStore(tmp_path, site_key=KEY)
    store.keep(bundle, "int8", FOUND)
    assert store.find(replace(bundle, id="a" * 64)) is None


def test_it_goes_with_its_diagrams(tmp_path: Path, bundle: Bundle) -> None:
    store = CalibrationStore(tmp_path, site_key=KEY)
    store.keep(bundle, "int8", FOUND)
    store.diagram_path(bundle.id, "int8").write_bytes(b"png")
    store.path(bundle.id).write_bytes(b"broken")
    assert store.remove(bundle.id)
    assert not list((tmp_path / "calibration").iterdir())
    assert not store.remove(bundle.id)


def lower_the_point(text: str) -> str:
    assert '"value": 0.25' in text
    return text.replace('"value": 0.25', '"value": 0.20')


def claim_more(text: str) -> str:
    return text.replace('"temperature": 2.0', '"temperature": null')


def relabel(text: str) -> str:
    listed = json.loads(text)
    listed["calibration"]["labels"].reverse()
    return json.dumps(listed, indent=1, sort_keys=True) + "\n"


CHANGES: list[Callable[[str], str]] = [
    lower_the_point,
    claim_more,
    relabel,
    lambda text: text + " ",  # the same values, and not what the box wrote
    lambda text: text.replace("hmac-sha256:", "hmac-sha256:0"),
    lambda text: text[: len(text) // 2],
    lambda text: "",
    lambda text: "[]",
    lambda text: '{"calibration": ' * 5000,
    lambda text: json.dumps({"calibration": json.loads(text)["calibration"]}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_refused_and_told_how_to_mend(
    tmp_path: Path, bundle: Bundle, change: Callable[[str], str]
) -> None:
    store = CalibrationStore(tmp_path, site_key=KEY)
    store.keep(bundle, "int8", FOUND)
    path = store.path(bundle.id)
    path.write_text(change(path.read_text()))
    with pytest.raises(BundleError, match=r"was changed since this box sealed it.* calibrate-site --remove"):
        store.find(bundle)
    with pytest.raises(BundleError, match="was changed"):  # nor is it quietly mended
        store.keep(bundle, "fp32", FOUND)


def test_another_boxs_file_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    CalibrationStore(tmp_path, site_key=bytes(32)).keep(bundle, "int8", FOUND)
    with pytest.raises(BundleError, match="or is another box's"):
        CalibrationStore(tmp_path, site_key=KEY).find(bundle)


def test_the_file_of_another_bundle_under_this_ones_name_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    store, twin = CalibrationStore(tmp_path, site_key=KEY), replace(bundle, id=bundle.id[:12] + "0" * 52)
    store.keep(twin, "int8", FOUND)
    with pytest.raises(BundleError, match="is the calibration of another bundle"):
        store.find(bundle)
    other = replace(twin, manifest=replace(twin.manifest, preprocessing_digest="e" * 64))
    with pytest.raises(BundleError, match="is the calibration of another bundle"):
        store.find(other)


def test_what_cannot_be_read_stops_too(tmp_path: Path, bundle: Bundle) -> None:
    store = CalibrationStore(tmp_path, site_key=KEY)
    store.path(bundle.id).mkdir(parents=True)
    with pytest.raises(StateError, match="cannot be read"):
        store.find(bundle)


def test_without_a_site_the_bundle_decides(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, operating_points={"int8": 0.5}, temperatures={"int8": None})
    for score, positive in ((0.5, True), (0.49, False)):
        prediction = predicted(score)
        assert decide(prediction, manifest, None) == (prediction, positive, Decision("bundle", 0.5))
    scaled = replace(manifest, temperatures={"int8": 1.5})
    assert decide(predicted(0.7, calibrated=True), scaled, None)[1:] == (True, Decision("bundle", 0.5, 1.5))
    silent = replace(manifest, operating_points={"int8": None})
    assert decide(predicted(0.7), silent, None)[1:] == (None, UNDECIDED)


def test_where_a_site_has_calibrated_its_values_alone_count(bundle: Bundle) -> None:
    manifest = replace(bundle.manifest, operating_points={"int8": 0.9, "fp32": 0.9}, temperatures={})
    site = kept(bundle, int8=FOUND)
    prediction, positive, decision = decide(predicted(0.2), manifest, site)
    assert prediction.score == pytest.approx(1 / 3)  # the odds 1:4 become their root, 1:2
    assert (prediction.calibrated, positive) == (True, True)
    assert decision == Decision("site", 0.25, 2.0, "d" * 12)
    assert not decide(predicted(0.05), manifest, site)[1]
    other, verdict, decision = decide(predicted(0.95, precision="fp32"), manifest, site)
    assert (other.score, other.calibrated, verdict, decision) == (0.95, False, None, UNDECIDED)


def test_a_precision_without_a_verdict_is_told(bundle: Bundle) -> None:
    site = kept(bundle, int8=FOUND)
    assert "for int8 and not for fp32, which scores: results have no verdict" in str(untried(site, "fp32"))
    assert untried(site, "int8") is None and untried(None, "fp32") is None


def test_a_point_without_a_temperature_leaves_the_score_alone_and_claims_nothing(bundle: Bundle) -> None:
    prediction, positive, decision = decide(predicted(0.3), bundle.manifest, kept(bundle, int8=UNSCALED))
    assert (prediction.score, prediction.calibrated, positive) == (0.3, False, True)
    assert decision == Decision("site", 0.25, None, "d" * 12)


def test_the_bundles_temperature_is_not_applied_twice(bundle: Bundle) -> None:
    """A score that the bundle scaled to nearly 1 comes back from its members."""
    manifest = replace(bundle.manifest, temperatures={"int8": 0.05})
    scaled = predicted(float(apply_temperature(0.2, 0.05)), calibrated=True, one=0.1, two=0.3)
    assert network_score(scaled) == pytest.approx(0.2)
    prediction, _, _ = decide(scaled, manifest, kept(bundle, int8=FOUND))
    assert prediction.score == pytest.approx(1 / 3)
    prediction, positive, _ = decide(scaled, manifest, kept(bundle, int8=UNSCALED))
    assert (prediction.score, prediction.calibrated, positive) == (pytest.approx(0.2), False, False)


@given(st.lists(st.integers(1, 999), min_size=2, max_size=10), st.floats(0.2, 20))
def test_a_sites_temperature_never_changes_an_order_or_members(scores: list[int], temperature: float) -> None:
    bundle = phantom_bundle()
    site = kept(bundle, int8=replace(FOUND, temperature=temperature))
    plain = [predicted(score / 1000) for score in scores]
    shown = [decide(prediction, bundle.manifest, site)[0] for prediction in plain]
    order = sorted(range(len(scores)), key=lambda place: scores[place])
    for low, high in itertools.pairwise(order):
        assert (shown[low].score < shown[high].score) == (scores[low] < scores[high])
    assert [prediction.members for prediction in shown] == [prediction.members for prediction in plain]
