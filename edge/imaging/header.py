"""What a DICOM header alone says: a frontal chest radiograph or not, of an adult, lossy, the shape of its pixels."""

import re

from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)

from edge.errors import NoPixels, NotARadiograph, NotFrontalChest, Unreadable, UnsupportedSyntax
from edge.imaging import pixel_data

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "DR", "RG"})
RADIOGRAPH_CLASSES = frozenset({ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation})
CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "TORACE", "LUNG")
UNSAID = ("", "-", "NONE", "UNKNOWN")
FRONTAL_VIEWS = ("AP", "PA")
OTHER_VIEWS = frozenset({"LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO", "LLAT", "RLAT"})
OTHER_PROJECTIONS = ("LAT", "OBL", "DECUB", "LORDO", "APIC", "AXIAL", "CRANIO", "CAUDO")  # how their words begin
# They leave AP and PA open, and the rest to the gates.
OPEN_VIEWS = frozenset({"FRONTAL", "CHEST", "ERECT", "UPRIGHT", "SUPINE", "PORTABLE", "MOBILE", "UNKNOWN", "NONE"})
ADULT_YEARS = 18
_AGE_UNITS = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
# Modality, PhotometricInterpretation and BodyPartExamined (PS3.3 C.7.3.1.1.1, C.7.6.3.1.2, PS3.16 annex L).
_DEFINED_TERMS = """
    AR AU BI BMD CR CT DG DR DX ECG EM ES GM HD IO IOL IVOCT IVUS KO LS MG MR NM OAM OCT OP OPT OPV OT PR PT PX REG RESP
    RF RG RTDOSE RTIMAGE RTPLAN RTRECORD RTSTRUCT SC SEG SM SR TG US VA XA XC
    MONOCHROME1 MONOCHROME2 RGB ARGB CMYK HSV YBR_FULL YBR_FULL_422 YBR_PARTIAL_420 YBR_PARTIAL_422 YBR_ICT YBR_RCT
    ABDOMEN ANKLE ARM BREAST CALCANEUS CLAVICLE COCCYX CSPINE ELBOW EXTREMITY FEMUR FINGER FOOT FOREARM HAND HEAD HEART
    HIP HUMERUS JAW KNEE LEG LSPINE NECK PATELLA PELVIS RIB SCAPULA SHOULDER SKULL SPINE STERNUM TIBIA TOE TSPINE WRIST
"""
_KNOWN_CODES = {"PALETTE COLOR", *_DEFINED_TERMS.split()}
_US_KEYWORDS = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
)
_MOST_US, _MANY_FRAMES = 0xFFFF, 10_000
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")  # the first that is there counts


def check_header(dataset: Dataset) -> None:
    """What the header alone rules out, before a pixel is decoded.

    Raises NoPixels, NotARadiograph, Unreadable, UnsupportedSyntax or NotFrontalChest. Minors are judged with the other
    gates, later.
    """
    # First, because it comes last: a file cut inside its header may read as another modality or body part.
    if "PixelData" not in dataset:
        raise NoPixels("the file has no pixel data; send the image itself")
    modality, sop_class = text(dataset, "Modality").upper(), dataset.get("SOPClassUID")
    if modality not in RADIOGRAPH_MODALITIES and not (modality == "" and sop_class in RADIOGRAPH_CLASSES):
        raise NotARadiograph(f"the modality is {_shown(modality)}; send CR or DX radiographs only")
    if sop_class == DigitalXRayImageStorageForProcessing or text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        raise NotARadiograph("the image is raw detector data (FOR PROCESSING); send the one FOR PRESENTATION")
    _check_numbers(dataset)
    if not all(keyword in dataset for keyword in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")):
        raise Unreadable("the header lacks Rows, Columns, BitsAllocated or PhotometricInterpretation; send it again")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        shown = frames if 0 <= frames < _MANY_FRAMES else "no sensible number of"
        raise NotARadiograph(f"the file holds {shown} frames; send single radiographs")
    photometric = str(dataset.PhotometricInterpretation)
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise NotARadiograph(f"the pixels are {_shown(photometric)}; send MONOCHROME1 or MONOCHROME2")
    if dataset.BitsAllocated not in (8, 16):
        raise UnsupportedSyntax(f"{dataset.BitsAllocated} bits are allocated; send 8 or 16")
    high_bit, bits_stored = dataset.get("HighBit"), dataset.get("BitsStored")
    if high_bit is not None and bits_stored is not None and high_bit != bits_stored - 1:  # PS3.5 8.1.1
        raise UnsupportedSyntax(f"HighBit is {high_bit} for {bits_stored} bits stored; send it right-justified")
    _check_body_part(dataset)
    view_position(dataset)


def _check_numbers(dataset: Dataset) -> None:
    """A file may give any element any VR: a text where a number must be could be a name, and is not repeated."""
    for keyword in _US_KEYWORDS:
        value = dataset.get(keyword)
        if value is not None and not (isinstance(value, int) and 0 <= value <= _MOST_US):
            raise Unreadable(f"{keyword} is not a number of 16 bits; send it again")


def _check_body_part(dataset: Dataset) -> None:
    """BodyPartExamined, and where it says nothing AnatomicRegionSequence (PS3.3 C.7.3.1, 10.5)."""
    named = [text(dataset, "BodyPartExamined").upper()]
    if named[0] in UNSAID:
        named = [text(region, "CodeMeaning").upper() for region in dataset.get("AnatomicRegionSequence") or ()]
    said = [body_part for body_part in named if body_part not in UNSAID]
    if said and not any(word in body_part for body_part in said for word in CHEST_WORDS):
        raise NotFrontalChest(f"the body part is {_shown(said[0])}; send chest radiographs only")


def _shown(code: str) -> str:
    """A coded header value for a message: only defined terms, so that no free text can leak."""
    return code if code in _KNOWN_CODES else "not a known code"


def text(dataset: Dataset, keyword: str) -> str:
    """An element as stripped text, empty when it is absent or empty."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def view_position(dataset: Dataset) -> str | None:
    """AP or PA, or None when the header does not say (PS3.3 C.8.7.1.1.1, C.8.11.7).

    Raises NotFrontalChest when ViewPosition or ViewCodeSequence names another view, or ViewPosition says what is no
    view that we know.
    """
    position = _view_words(text(dataset, "ViewPosition"))
    codes = dataset.get("ViewCodeSequence") or ()
    words = position + [word for code in codes for word in _view_words(text(code, "CodeMeaning"))]
    frontal = [word for word in words if word in FRONTAL_VIEWS]
    known = OPEN_VIEWS.issuperset(position) or not set(FRONTAL_VIEWS).isdisjoint(position)
    if not known or any(word in OTHER_VIEWS or word.startswith(OTHER_PROJECTIONS) for word in words):
        raise NotFrontalChest("the view in the header is not frontal; send frontal radiographs (AP or PA) only")
    return frontal[0] if frontal else None


def _view_words(written: str) -> list[str]:
    """Words in capitals; A.P. and antero-posterior as AP, P.A. and postero-anterior as PA."""
    spelled = written.upper().replace(".", "")
    spelled = re.sub("ANTERO[ -]?POSTERIOR", "AP", re.sub("POSTERO[ -]?ANTERIOR", "PA", spelled))
    return re.findall("[A-Z]+", spelled)


def is_minor(dataset: Dataset) -> bool:
    """True when PatientAge (PS3.5 AS, or a bare number of years), or birth date and date of the study, say under 18."""
    age = text(dataset, "PatientAge").upper()
    number = age.rstrip("DWMY").strip()
    if number.isdigit():
        return int(number) / _AGE_UNITS.get(age[-1:], 1.0) < ADULT_YEARS
    born = _date(text(dataset, "PatientBirthDate"))
    taken = [_date(text(dataset, keyword)) for keyword in _DATES]
    known = [date for date in taken if date is not None]
    if born is None or not known:
        return False
    return known[0] - born < ADULT_YEARS * 10_000  # dates as YYYYMMDD compare like ages


def _date(written: str) -> int | None:
    """YYYYMMDD as a number; the older form YYYY.MM.DD too (PS3.5 6.2, DA)."""
    digits = written.replace(".", "")
    return int(digits) if len(digits) == 8 and digits.isdigit() else None


def is_lossy(dataset: Dataset) -> bool:
    """LossyImageCompression (PS3.3 C.7.6.1.1.5), or pixel data that can only be lossy."""
    return text(dataset, "LossyImageCompression") == "01" or pixel_data.is_lossy(dataset)


def pixel_aspect(dataset: Dataset) -> tuple[float, float]:
    """Relative height and width of a pixel: from PixelAspectRatio, or the spacings; (1, 1) when unknown or absurd."""
    for keyword in ("PixelAspectRatio", "ImagerPixelSpacing", "PixelSpacing"):
        value = dataset.get(keyword)
        if isinstance(value, MultiValue) and len(value) == 2:
            vertical, horizontal = float(value[0]), float(value[1])
            if vertical > 0 and horizontal > 0 and 0.25 <= vertical / horizontal <= 4:
                return vertical / horizontal, 1.0
    return 1.0, 1.0
