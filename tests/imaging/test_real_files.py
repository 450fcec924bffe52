"""The real radiographs of ../shared/data, read as the box reads them; every test skips where they are absent."""

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from radiograph_files import LOSSLESS, NATIVE, dicom_file, encapsulated_file

from edge.errors import NotARadiograph, RadiographError
from edge.imaging.pixel_data import decode
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.values import Reason

pytestmark = pytest.mark.real
BY_OTHERS = {Reason.DUPLICATE, Reason.CONFLICT}  # the ledger's to tell
BY_THE_ENGINE = {Reason.NO_LUNGS, Reason.UNLIKE_REFERENCE, Reason.POOR_QUALITY, Reason.INVERTED}
SCORED_SPLITS = ("train", "val", "test_")
TINTED = {"000005-5-a.jpg", "000005-5-b.jpg"}
# The decoders of lossy syntaxes differ by rounding: their stored values are those of another library in dicom.csv.
LOSSY_FILES = {"chest_cr_pa_mono1_15bit_j2k_lossy.dcm", "ts_jpeg_extended12_cr_hip_mono2_10bit.dcm"}


def rows_of(real_data: Path, name: str) -> list[dict[str, str]]:
    with (real_data / name).open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_every_dicom_row_gets_its_reason_or_is_read(real_data: Path) -> None:
    judged = 0
    for row in rows_of(real_data, "dicom.csv"):
        reasons = {Reason(reason) for reason in row["expected_reasons"].split("|") if reason}
        if row["needs_gate"] or (reasons and reasons <= BY_THE_ENGINE):
            continue
        judged += 1
        try:
            radiograph = read((real_data / row["path"]).read_bytes())
        except RadiographError as refusal:
            assert refusal.reason in reasons - BY_OTHERS, f"{row['path']}: {refusal.reason}, {refusal}"
        else:
            assert "scored" in row["expected_status"].split("|"), f"{row['path']} was read; expected {reasons}"
            assert radiograph.pixels.shape == (int(row["rows"]), int(row["columns"]))
    assert judged > 30


def test_stored_values_are_those_of_the_index(real_data: Path) -> None:
    """pixel_sha256: of the stored values in little endian, as another library decoded them."""
    compared = 0
    for row in rows_of(real_data, "dicom.csv"):
        path = real_data / row["path"]
        if not row["pixel_sha256"] or row["modality"] not in ("CR", "DX") or path.name in LOSSY_FILES:
            continue
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
            continue
        stored = decode(dataset)
        digest = hashlib.sha256(np.ascontiguousarray(stored).tobytes()).hexdigest()
        assert digest.startswith(row["pixel_sha256"]), row["path"]
        compared += 1
    assert compared >= 12


def test_lossy_copies_decode_close_to_the_original(real_data: Path) -> None:
    stem = "chest_cr_pa_mono1_15bit"
    original = read((real_data / "dicom" / f"{stem}_explicitLE.dcm").read_bytes())
    assert not original.source.lossy
    for name, within in (("j2k_lossy", 0.01), ("jpegls_near", 0.001)):
        copy = read((real_data / "dicom" / f"{stem}_{name}.dcm").read_bytes())
        away = np.abs(copy.pixels.astype(np.int32) - original.pixels) / 65535
        assert 0 < away.mean() < within, name
        assert copy.source.lossy


@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS], ids=lambda syntax: syntax.keyword)
def test_transcoded_copies_give_identical_pixels(real_data: Path, syntax: uid.UID) -> None:
    content = (real_data / "dicom" / "chest_cr_pa_mono1_15bit_explicitLE.dcm").read_bytes()
    original = pydicom.dcmread(io.BytesIO(content))
    dataset = pydicom.Dataset(original)  # pydicom refuses to swap the bytes of one that it read from a file
    dataset.file_meta = original.file_meta
    encode = LOSSLESS.get(syntax)
    copy = dicom_file(dataset, syntax) if encode is None else encapsulated_file(dataset, syntax, encode(dataset))
    assert read(copy).source.pixels_sha256 == read(content).source.pixels_sha256


def test_every_tenth_covid_row_is_read_and_the_tinted_ones_refused(real_data: Path) -> None:
    wanted = [row for row in rows_of(real_data, "covid.csv") if row["split"].startswith(SCORED_SPLITS)]
    tinted = [row for row in rows_of(real_data, "covid.csv") if Path(row["path"]).name in TINTED]
    assert len(tinted) == len(TINTED)
    for row in tinted:
        with pytest.raises(NotARadiograph, match="in colour"):
            read((real_data / row["path"]).read_bytes())
    for row in wanted[::10]:
        if Path(row["path"]).name not in TINTED:
            radiograph = read((real_data / row["path"]).read_bytes())
            assert radiograph.pixels.shape == (int(row["height"]), int(row["width"])), row["path"]


def test_the_crop_keeps_the_lungs(real_data: Path) -> None:
    """No lung pixel of an annotator's mask is cropped away, but for slivers at the edge."""
    seen = 0
    for row in rows_of(real_data, "lungs.csv")[::12]:
        try:
            radiograph = read((real_data / row["path"]).read_bytes())
        except NotARadiograph:  # two or three are tinted
            continue
        mask = read((real_data / row["mask_path"]).read_bytes()).pixels == 65535
        crop = preprocess(radiograph, Preprocessing()).crop
        rows, columns = (size / of for size, of in zip(radiograph.pixels.shape, mask.shape, strict=True))
        top, left = int(crop.top / rows), int(crop.left / columns)
        bottom, right = -(-(crop.top + crop.height) // rows), -(-(crop.left + crop.width) // columns)
        kept = mask[top : int(bottom), left : int(right)].sum() / mask.sum()
        assert kept > 0.99, f"{row['path']}: {kept:.3f} of the lungs kept"
        seen += 1
    assert seen > 20
