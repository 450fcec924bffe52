"""What the gate sees of a picture: finite whatever it is, the same mirrored; and the rule that reads it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.bundle import PACKAGED_FOLDER, Bundle, open_bundle
from edge.errors import BundleError
from edge.frontal import FEATURES, LENGTH, PICTURE_SIDE, likeness, look, look_small
from edge.quality import Gate
from edge.values import Crop

WHOLE = Crop(0, 0, 100, 100, 0, 0, 1024, 1024)
COARSE = arrays(np.float32, (8, 8), elements=st.floats(0, 1, width=32))
LUNGS = {"lung_fraction": {"low": 0.0, "high": 1.0, "margin": 0.0}}
FRONTAL = {**LUNGS, "not_frontal": {"high": 0.0, "margin": 1.0}}


def enlarged(cells: np.ndarray, side: int) -> np.ndarray:
    return np.kron(cells, np.ones((side // len(cells), side // len(cells)), np.float32))


@given(COARSE, COARSE)
@settings(max_examples=40, deadline=None)
def test_what_is_seen_is_finite_and_the_same_mirrored(mask: np.ndarray, picture: np.ndarray) -> None:
    mask, picture = enlarged(mask, 128), enlarged(picture, 128)
    seen, mirrored = look_small(mask, picture), look_small(mask[:, ::-1].copy(), picture[:, ::-1].copy())
    assert seen.features.shape == (LENGTH,)
    assert seen.features.dtype == np.float32
    assert np.isfinite(seen.features).all()
    # But for the two greatest parts (4 to 16): of two of the same size either may be called the greater.
    same = np.r_[0:4, 16:LENGTH]
    assert np.allclose(seen.features[same], mirrored.features[same], atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_an_even_picture_and_an_empty_or_full_mask_are_seen_too(level: float) -> None:
    pixels = np.full((1, 1024, 1024), level, np.float32)
    seen = look(np.full((256, 256), level, np.float32), pixels, WHOLE)
    assert np.isfinite(seen.features).all()
    assert seen.contrast == pytest.approx(0, abs=1e-6)


@given(st.integers(0, 1000), st.integers(8, 1024))
@settings(max_examples=20, deadline=None)
def test_padding_is_not_seen(left: int, width: int) -> None:
    """The same content in any place, with noise around it instead of padding, is the same to the gate."""
    width = min(width, 1024 - left)
    crop = replace(WHOLE, model_left=left, model_width=width)
    pixels = np.random.default_rng(0).random((1, 1024, 1024)).astype(np.float32)
    pixels[:, :, left : left + width] = 0.5
    assert look(np.zeros((256, 256), np.float32), pixels, crop).contrast == pytest.approx(0, abs=1e-6)


def test_likeness_of_itself_its_inverse_and_nothing() -> None:
    picture = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    assert likeness(picture, picture) == pytest.approx(1)
    assert likeness(1 - picture, picture) == pytest.approx(-1)
    assert likeness(np.zeros((32, 32), np.float32), picture) == 0


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def with_gate(pristine: Path, folder: Path, *, gates: object = FRONTAL, **changes: object) -> Path:
    shutil.copytree(pristine, folder)
    parts = {
        "features": np.int64(FEATURES),
        "weights": np.zeros(LENGTH, np.float32),
        "mean": np.zeros(LENGTH, np.float32),
        "scale": np.ones(LENGTH, np.float32),
        "bias": np.float32(2.5),
        "template": np.zeros((PICTURE_SIDE, PICTURE_SIDE), np.float32),
        **changes,
    }
    np.savez(folder / "gate.npz", **{name: part for name, part in parts.items() if part is not None})
    write_manifest(folder, gates=gates)
    return folder


def test_a_bundle_without_a_gate_opens_and_checks_the_lungs_alone(pristine: Path) -> None:
    gate = Gate.of(open_bundle(str(pristine)))
    assert gate.rule is None
    assert not gate.limits.need_rule
    assert gate.limits.contrast is None


def test_a_gate_is_read_with_its_limits(pristine: Path, tmp_path: Path) -> None:
    gate = Gate.of(open_bundle(str(with_gate(pristine, tmp_path / "bundle"))))
    assert gate.rule is not None
    assert gate.rule.distance(np.ones(LENGTH, np.float32)) == 2.5
    assert gate.limits.not_frontal is not None
    assert gate.limits.not_frontal.allow(-1e9)
    assert not gate.limits.not_frontal.allow(0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": np.int64(FEATURES + 1)},
        {"weights": np.zeros(LENGTH - 1, np.float32)},
        {"weights": np.zeros(LENGTH, np.float64)},
        {"weights": np.full(LENGTH, np.nan, np.float32)},
        {"mean": np.full(LENGTH, np.inf, np.float32)},
        {"scale": np.zeros(LENGTH, np.float32)},
        {"template": np.zeros((16, 16), np.float32)},
        {"bias": None},
        {"weights": np.array([print] * LENGTH, object)},
    ],
)
def test_a_gate_that_is_not_what_it_should_be_is_refused(
    pristine: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    folder = with_gate(pristine, tmp_path / "bundle", **changes)
    with pytest.raises(BundleError, match=r"gate\.npz is incomplete or damaged"):
        open_bundle(str(folder))


def test_a_gate_that_was_changed_is_refused(pristine: Path, tmp_path: Path) -> None:
    folder = with_gate(pristine, tmp_path / "bundle")
    content = bytearray((folder / "gate.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "gate.npz").write_bytes(content)
    with pytest.raises(BundleError, match=r"gate\.npz"):
        open_bundle(str(folder))


@pytest.mark.parametrize(
    "gates",
    [
        {**LUNGS, "smell": {"high": 1.0}},
        {"contrast": {"low": 0.1}},
        {**LUNGS, "contrast": {"low": 0.3, "high": 0.1}},
        {**LUNGS, "contrast": {"low": 0.1, "margin": -1}},
        {**LUNGS, "contrast": {"low": "0.1"}},
        {**LUNGS, "contrast": {"least": 0.1}},
    ],
)
def test_limits_without_sense_are_refused(pristine: Path, tmp_path: Path, gates: object) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is incomplete or damaged"):
        open_bundle(str(with_gate(pristine, tmp_path / "bundle", gates=gates)))


def test_a_check_of_a_newer_version_is_named(pristine: Path, tmp_path: Path) -> None:
    folder = with_gate(pristine, tmp_path / "bundle", gates={**LUNGS, "smell": {"high": 1.0}})
    with pytest.raises(BundleError, match="gates name smell, which this version cannot check"):
        open_bundle(str(folder))


def test_a_limit_needs_its_rule(pristine: Path, tmp_path: Path) -> None:
    folder = with_gate(pristine, tmp_path / "bundle")
    (folder / "gate.npz").unlink()
    write_manifest(folder, gates=FRONTAL)
    with pytest.raises(BundleError, match=r"holds no gate\.npz"):
        open_bundle(str(folder))


@pytest.mark.parametrize("name", ["phantom", "research"])
def test_packaged_bundles_have_every_check(name: str) -> None:
    bundle: Bundle = open_bundle(name)
    gate = Gate.of(bundle)
    assert gate.rule is not None
    for check in ("contrast", "inverted", "not_frontal", "distance"):
        assert getattr(gate.limits, check) is not None
    assert (PACKAGED_FOLDER / name / "gate.npz").stat().st_size < 100_000
    card = (PACKAGED_FOLDER / name / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## What the gate refuses" in card
