"""Pictures of cases: found by their bytes, in their own proportions, with what the network answers in its place."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_bundle import write_manifest, write_tiny_bundle

from edge.bundle import Bundle, read_bundle
from edge.case_pictures import CasePictures, sources_of
from edge.config import Config
from edge.engines import Engine, open_engine
from edge.imaging.decoder import Decoder
from edge.imaging.preprocess import Preprocessing
from edge.phantom import render
from edge.phantom_dicom import write_png


@pytest.fixture(scope="module", params=["pad", "stretch"])
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CasePictures]:
    """Of a bundle with each framing, whose evidence map is the brightness that its network saw."""
    framed = Preprocessing(framing=request.param)
    folder = write_tiny_bundle(tmp_path_factory.mktemp("framed") / "tiny")
    write_manifest(folder, preprocessing=asdict(framed), preprocessing_digest=framed.digest)
    bundle = read_bundle(folder)
    engine: Engine = open_engine(bundle)
    with Decoder(framed, site_key=bytes(32)) as decoder:
        yield CasePictures(bundle, engine, decoder, Config())
    engine.close()


@pytest.fixture
def bundle(pictures: CasePictures) -> Bundle:
    return pictures._bundle


def write_wide(path: Path) -> str:
    """A radiograph twice as high as wide or so, written as PNG; returns its case id."""
    pixels = render(1, "covid", longest_side=512).pixels
    narrow = cv2.resize(pixels, (256, 512), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), narrow)
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_proportions_are_kept_and_the_map_lies_where_it_was_seen(
    pictures: CasePictures, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    case_id = write_wide(tmp_path / "images" / "any.png")
    (picture,) = pictures.of(sources_of([case_id], bundle, tmp_path / "state", tmp_path / "images")).values()
    rows, columns = picture.grey.shape
    assert rows / columns == pytest.approx(2, rel=0.25)  # margins are cut off
    assert picture.lungs.shape == picture.evidence.shape == picture.grey.shape
    seen = cv2.resize(picture.grey, (32, 32), interpolation=cv2.INTER_AREA).ravel()
    told = cv2.resize(picture.evidence, (32, 32), interpolation=cv2.INTER_AREA).ravel()
    assert np.corrcoef(seen, told)[0, 1] > 0.95
    assert np.corrcoef(picture.lungs.ravel(), picture.grey.ravel())[0, 1] < -0.9


def test_the_first_source_that_is_the_case_is_taken(pictures: CasePictures, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "state" / "archive").mkdir(parents=True)
    case_id = write_wide(tmp_path / "images" / "any.png")
    write_png(render(2, "other", longest_side=192), tmp_path / "state" / "archive" / f"{case_id}.png")
    (tmp_path / "images" / "a-link.png").symlink_to(tmp_path / "images" / "any.png")
    sources = sources_of([case_id, "0" * 16], bundle, tmp_path / "state", tmp_path / "images")
    assert {name: len(places) for name, places in sources.items()} == {case_id: 2, "0" * 16: 0}
    assert pictures.of(sources).keys() == {case_id}
    assert pictures.of(sources_of([case_id], bundle, tmp_path / "state", None)) == {}


def test_a_bundles_thumbnail_is_the_last_resort(pictures: CasePictures, bundle: Bundle, tmp_path: Path) -> None:
    write_wide(tmp_path / "any.png")
    listed = {f"thumbnails/{'a' * 16}.png": (tmp_path / "any.png").read_bytes(), f"thumbnails/{'b' * 16}.png": b"?"}
    local = replace(bundle, files=bundle.files | listed)
    found = pictures.of(sources_of(["a" * 16, "b" * 16, "c" * 16], local, tmp_path / "state", None))
    assert found.keys() == {"a" * 16}
