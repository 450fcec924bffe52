"""A bundle's thumbnails: small, in the radiograph's proportions, known by the digest of the file they are of."""

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.imaging.read import read
from edge.phantom import render
from edge.phantom_dicom import write_png
from export.thumbnails import LONGEST_SIDE, thumbnail, write_thumbnails


def test_each_file_has_one_by_its_case_id(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.png" for seed in (1, 2)]
    for seed, path in enumerate(paths, start=1):
        write_png(render(seed, "covid", longest_side=1200), path)
    size_bytes = write_thumbnails(tmp_path / "bundle", paths)
    written = sorted((tmp_path / "bundle" / "thumbnails").iterdir())
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    assert [path.name for path in written] == [f"{digest[:16]}.png" for digest in digests]
    assert sum(path.stat().st_size for path in written) == size_bytes
    for path in written:
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        assert (picture.dtype, picture.ndim, max(picture.shape)) == (np.uint8, 2, LONGEST_SIDE)
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("row_spacing", "expected"), [(1.0, 1.0), (2.0, 2.0), (0.5, 0.5)])
def test_pixels_that_are_not_square_are_shown_as_they_are(tmp_path: Path, row_spacing: float, expected: float) -> None:
    write_png(render(1, "covid", longest_side=300), tmp_path / "a.png")
    radiograph = replace(read((tmp_path / "a.png").read_bytes()), row_spacing=row_spacing)
    given, shown = radiograph.pixels.shape, thumbnail(radiograph).shape
    assert shown[0] / shown[1] == pytest.approx(expected * given[0] / given[1], rel=0.02)
    assert max(shown) <= max(given)  # nothing is made up
