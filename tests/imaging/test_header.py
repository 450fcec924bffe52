"""What a DICOM header alone says: which radiographs it rules out, view, age."""

import pytest
from pydicom import Sequence, uid
from radiograph_files import chest, code, dicom_file, phantom_pixels, radiograph_of

from edge.errors import (
    NoPixels,
    NotARadiograph,
    NotFrontalChest,
    RadiographError,
    TooLarge,
    Unreadable,
    UnsupportedSyntax,
)
from edge.imaging.limits import MAX_PIXELS
from edge.imaging.read import read

CHEST = phantom_pixels()


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "cr"])
def test_radiographs_by_modality(modality: str) -> None:
    assert radiograph_of(CHEST, Modality=modality).source.format == "dicom"


@pytest.mark.parametrize("sop_class", [uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation])
def test_an_empty_modality_is_told_by_the_class(sop_class: str) -> None:
    assert radiograph_of(CHEST, Modality="", SOPClassUID=sop_class).source.format == "dicom"
    assert radiograph_of(CHEST, Modality=None, SOPClassUID=sop_class).source.format == "dicom"


@pytest.mark.parametrize(
    ("elements", "error", "message"),
    [
        ({"Modality": "CT"}, NotARadiograph, "the modality is CT; send CR or DX"),
        ({"Modality": "MR"}, NotARadiograph, "the modality is MR"),
        ({"Modality": "", "SOPClassUID": uid.SecondaryCaptureImageStorage}, NotARadiograph, "modality"),
        ({"NumberOfFrames": 2}, NotARadiograph, "2 frames"),
        ({"SamplesPerPixel": 3}, NotARadiograph, "send MONOCHROME1 or MONOCHROME2"),
        ({"PhotometricInterpretation": "RGB"}, NotARadiograph, "the pixels are RGB"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, NotARadiograph, "send MONOCHROME1 or MONOCHROME2"),
        ({"PixelData": None}, NoPixels, "no pixel data; send the image itself"),
        ({"Rows": None}, Unreadable, "the header lacks"),
        ({"PhotometricInterpretation": None}, Unreadable, "the header lacks"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, UnsupportedSyntax, "32 bits are allocated; send 8"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, UnsupportedSyntax, "1 bits are allocated"),
        ({"BodyPartExamined": "KNEE"}, NotFrontalChest, "the body part is KNEE"),
        ({"BodyPartExamined": "HIP"}, NotFrontalChest, "send chest radiographs only"),
        ({"ViewPosition": "LL"}, NotFrontalChest, "the view in the header is not frontal"),
        ({"ViewPosition": "LATERAL"}, NotFrontalChest, "the view in the header is not frontal"),
        ({"PresentationIntentType": "FOR PROCESSING"}, NotARadiograph, "raw detector data"),
        ({"SOPClassUID": uid.DigitalXRayImageStorageForProcessing}, NotARadiograph, "raw detector data"),
        ({"ViewPosition": "LEFT LATERAL"}, NotFrontalChest, "the view in the header is not frontal"),
        ({"ViewPosition": "LLD"}, NotFrontalChest, "the view in the header is not frontal"),
        ({"ViewPosition": "LORDOTIC"}, NotFrontalChest, "the view in the header is not frontal"),
        (
            {"BodyPartExamined": "", "AnatomicRegionSequence": [code("Knee")]},
            NotFrontalChest,
            "body part is KNEE; send",
        ),
        (
            {"BodyPartExamined": "unknown", "AnatomicRegionSequence": [code("Thoracic spine")]},
            NotFrontalChest,
            "the body part is not a known code",
        ),
        ({"BitsStored": 12, "HighBit": 15}, UnsupportedSyntax, "HighBit is 15 for 12 bits stored"),
        ({"ViewPosition": "RLO"}, NotFrontalChest, "the view in the header is not frontal"),
        ({"Rows": 60000, "Columns": 60000}, TooLarge, "60000 x 60000 pixels; at most"),
        ({"Rows": 0}, RadiographError, "damaged"),
    ],
    ids=str,
)
def test_the_header_rules_out(elements: dict[str, object], error: type[RadiographError], message: str) -> None:
    with pytest.raises(error, match=message):
        radiograph_of(CHEST, **elements)


def test_float_pixel_data_are_no_pixels() -> None:
    dataset = chest(CHEST, PixelData=None, BitsAllocated=32)
    dataset.FloatPixelData = CHEST.astype("<f4").tobytes()
    with pytest.raises(NoPixels):
        read(dicom_file(dataset))


def test_the_largest_header_that_is_read_is_not_decoded_for_its_claim() -> None:
    """A header may claim what it likes: memory is spent on what is there."""
    with pytest.raises(RadiographError, match="pixel data hold"):
        radiograph_of(CHEST, Rows=10000, Columns=MAX_PIXELS // 10000)


UNSAID = ["", None, "UNKNOWN", "NONE", "-"]


@pytest.mark.parametrize("body_part", ["CHEST", "THORAX", "TORACE", "chest", "CHESTABDOMEN", "LUNG", *UNSAID])
def test_chests_by_body_part(body_part: str | None) -> None:
    assert radiograph_of(CHEST, BodyPartExamined=body_part).pixels.any()


@pytest.mark.parametrize("body_part", UNSAID)
@pytest.mark.parametrize("meanings", [["Chest"], ["Thorax"], ["Lung"], [""], ["Abdomen", "Chest"], []], ids=str)
def test_chests_by_anatomic_region(body_part: str | None, meanings: list[str]) -> None:
    regions = Sequence([code(meaning) for meaning in meanings])
    assert radiograph_of(CHEST, BodyPartExamined=body_part, AnatomicRegionSequence=regions).pixels.any()


def test_the_body_part_is_believed_before_the_anatomic_region() -> None:
    assert radiograph_of(CHEST, AnatomicRegionSequence=Sequence([code("Knee")])).pixels.any()


@pytest.mark.parametrize(
    ("written", "view"),
    [
        ("AP", "AP"),
        ("PA", "PA"),
        ("pa", "PA"),
        ("AP SUPINE", "AP"),
        ("CHEST PA", "PA"),
        ("PORTABLE_AP", "AP"),
        ("A.P.", "AP"),
        ("P.A.", "PA"),
        ("ANTERO-POSTERIOR", "AP"),
        ("POSTERO-ANTERIOR", "PA"),
        ("ANTEROPOSTERIOR", "AP"),
        ("POSTEROANTERIOR", "PA"),
        ("W NIPPLES PA", "PA"),
        ("FRONTAL", None),
        ("ERECT", None),
        ("SUPINE PORTABLE", None),
        ("UNKNOWN", None),
        ("CHEST", None),
        ("", None),
        (None, None),
    ],
)
def test_view_position(written: str | None, view: str | None) -> None:
    assert radiograph_of(CHEST, ViewPosition=written).source.view_position == view


OTHER_VIEWS = ["LAT", "L LAT", "LATERAL", "LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "OBLIQUE", "OBL"]
OTHER_VIEWS += ["DECUBITUS", "L DECUB", "LORDOTIC", "AXIAL", "LAT."]


@pytest.mark.parametrize("other", [*OTHER_VIEWS, *(f"AP {other}" for other in OTHER_VIEWS), "LATERAL PA", "SWIMMERS"])
def test_other_views_are_refused(other: str) -> None:
    with pytest.raises(NotFrontalChest, match="the view in the header is not frontal; send frontal radiographs"):
        radiograph_of(CHEST, ViewPosition=other)


@pytest.mark.parametrize("position", [None, "", "PA", "FRONTAL"])
@pytest.mark.parametrize(
    "meaning",
    ["left lateral", "right oblique", "lateral decubitus", "AP Lordotic", "postero-anterior axial", "cranio-caudal"],
)
def test_the_view_code_refuses_whatever_the_position(position: str | None, meaning: str) -> None:
    with pytest.raises(NotFrontalChest, match="the view in the header is not frontal"):
        radiograph_of(CHEST, ViewPosition=position, ViewCodeSequence=Sequence([code(meaning)]))


@pytest.mark.parametrize(
    ("position", "meaning", "view"),
    [
        (None, "antero-posterior", "AP"),
        ("", "postero-anterior", "PA"),
        ("FRONTAL", "Postero-anterior", "PA"),
        ("AP", "postero-anterior", "AP"),
        (None, "frontal", None),
        (None, "a view of ours", None),
    ],
)
def test_the_view_code_says_what_the_position_does_not(position: str | None, meaning: str, view: str | None) -> None:
    radiograph = radiograph_of(CHEST, ViewPosition=position, ViewCodeSequence=Sequence([code(meaning)]))
    assert radiograph.source.view_position == view


@pytest.mark.parametrize(
    ("age", "minor"),
    [
        ("017Y", True),
        ("018Y", False),
        ("101Y", False),
        ("003D", True),
        ("051W", True),
        ("999W", False),
        ("030M", True),
        ("215M", True),
        ("216M", False),
        ("999M", False),
        ("17", True),
        ("18", False),
        ("7y", True),
        ("", False),
        (None, False),
        ("unknown", False),
    ],
)
def test_minors_by_age(age: str | None, minor: bool) -> None:
    assert radiograph_of(CHEST, PatientAge=age).source.minor == minor


def test_minors_by_the_date_of_the_acquisition_when_the_study_has_none() -> None:
    dates = {"PatientAge": None, "PatientBirthDate": "2015.01.01", "StudyDate": "", "AcquisitionDate": "20200101"}
    assert radiograph_of(CHEST, **dates).source.minor
    assert not radiograph_of(CHEST, **{**dates, "PatientBirthDate": "1950.01.01"}).source.minor
    assert radiograph_of(CHEST, PatientAge="10 Y").source.minor


@pytest.mark.parametrize(
    ("born", "studied", "minor"),
    [
        ("20020301", "20200229", True),
        ("20020301", "20200301", False),
        ("20020301", "20200302", False),
        ("19500101", "20200101", False),
        ("20191231", "20200101", True),
        ("", "20200101", False),
        ("20100101", "", False),
        ("2010", "20200101", False),
    ],
)
def test_minors_by_birth_date(born: str, studied: str, minor: bool) -> None:
    dates = {"PatientAge": "", "PatientBirthDate": born, "StudyDate": studied}
    assert radiograph_of(CHEST, **dates).source.minor == minor


def test_age_is_believed_before_the_birth_date() -> None:
    dates = {"PatientAge": "054Y", "PatientBirthDate": "20191231", "StudyDate": "20200101"}
    assert not radiograph_of(CHEST, **dates).source.minor
