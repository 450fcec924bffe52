"""What leaves the DICOM reader: no text of a header, and for a damaged file a reason and nothing else."""

import hmac
import logging
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, uid
from radiograph_files import chest, code, dicom_file, encapsulated_file, phantom_pixels

from edge.errors import (
    RadiographError,
)
from edge.imaging.read import read

CHEST = phantom_pixels()


CANARIES = {
    "PatientName": "CANARY^NAME",
    "PatientID": "CANARY-ID",
    "PatientComments": "CANARY comment",
    "ImageComments": "CANARY image",
    "AccessionNumber": "CANARY-ACC",
    "InstitutionName": "CANARY hospital",
    "StudyInstanceUID": "2.25.777000777",
    "SOPInstanceUID": "2.25.777000778",
    "DerivationDescription": "CANARY derivation",
    "SpecificCharacterSet": "CANARY_SET",
}
FAULTS: list[dict[str, object]] = [
    {"Modality": "CANARY MODALITY 1"},
    {"PhotometricInterpretation": "CANARY^PHOTO"},
    {"BodyPartExamined": "CANARY^BODY PART"},
    *(
        {keyword: word}
        for keyword in ("Modality", "PhotometricInterpretation", "BodyPartExamined")
        for word in ("CANARY", "CANARYJOHN", "77700012")
    ),
    {"BodyPartExamined": "", "AnatomicRegionSequence": [code("CANARY")]},
    {"ViewPosition": "LL"},
    {"VOILUTFunction": "CANARY^FUNCTION", "WindowCenter": 1, "WindowWidth": 10},
    {"PixelRepresentation": 77},
    {"PixelData": b"CANARY"},
    {"PixelData": None},
]


def secrets_in(text: str) -> bool:
    return "CANARY" in text.upper() or "777000" in text


def canary_chest(**elements: object) -> Dataset:
    dataset = chest(CHEST, bits_stored=12, **CANARIES)
    dataset.add_new(0x00111001, "LO", "CANARY private")
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            dataset.add_new(keyword, dataset[keyword].VR if keyword in dataset else _VRS[keyword], value)
    return dataset


_VRS = {"AnatomicRegionSequence": "SQ", "WindowCenter": "DS", "WindowWidth": "DS", "VOILUTFunction": "CS"}


def test_nothing_of_a_patient_is_in_the_source() -> None:
    key = bytes(range(32))
    source = read(dicom_file(canary_chest()), site_key=key).source
    assert not secrets_in(repr(asdict(source)))
    assert source.patient_key == hmac.new(key, b"patient:CANARY-ID", "sha256").hexdigest()
    assert source.instance_key == hmac.new(key, b"instance:2.25.777000778", "sha256").hexdigest()
    other = read(dicom_file(canary_chest()), site_key=bytes(32)).source
    assert other.patient_key != source.patient_key


def test_no_identifier_means_no_key() -> None:
    source = read(dicom_file(chest(CHEST, PatientID="", SOPInstanceUID="2.25.1"))).source
    assert source.patient_key is None
    assert source.instance_key is not None


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_no_header_text_is_in_an_error_or_a_log(fault: dict[str, object], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    content = dicom_file(canary_chest(**fault))
    caplog.clear()  # of what the writer had to say
    with pytest.raises(RadiographError) as refusal:
        read(content)
    assert not secrets_in(str(refusal.value))
    assert refusal.value.__cause__ is None
    assert not secrets_in(caplog.text)


@given(st.floats(0, 1, exclude_max=True))
def test_no_header_text_is_in_the_error_of_a_file_cut_short(share: float) -> None:
    whole = dicom_file(canary_chest())
    with pytest.raises(RadiographError) as refusal:
        read(whole[: int(share * len(whole))])
    assert not secrets_in(str(refusal.value))


@given(st.binary(max_size=400))
def test_garbage_after_the_prefix_is_a_radiographs_fault(garbage: bytes) -> None:
    with pytest.raises(RadiographError):
        read(b"\0" * 128 + b"DICM" + garbage)


@given(st.data())
def test_a_flipped_byte_never_raises_anything_else(data: st.DataObject) -> None:
    whole = bytearray(dicom_file(canary_chest()))
    whole[data.draw(st.integers(0, 900))] ^= data.draw(st.integers(1, 255))
    try:
        read(bytes(whole))
    except RadiographError as refusal:
        assert not secrets_in(str(refusal))


def test_a_frame_that_is_no_jpeg_is_a_radiographs_fault() -> None:
    for syntax in (uid.JPEGLosslessSV1, uid.JPEG2000Lossless, uid.JPEGExtended12Bit, uid.JPEGLSLossless):
        with pytest.raises(RadiographError):
            read(encapsulated_file(chest(CHEST, bits_stored=12), syntax, b"CANARY" * 40 + b"\xff\xd9"))
