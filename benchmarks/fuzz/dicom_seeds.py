"""Small phantom DICOM files: one in every transfer syntax, one for each way a header is written, and some refused."""

from collections.abc import Callable, Iterator

import numpy as np
from pydicom import Dataset, Sequence, uid
from pydicom.dataset import FileMetaDataset

from benchmarks.fuzz.canary import NUMBER, WORD
from benchmarks.fuzz.dicom_files import Stored, chest, dicom_file, phantom, without_meta
from benchmarks.fuzz.seed import Seed
from edge.imaging.pixel_data import NATIVE, PLUGINS
from edge.imaging.read import quiet
from edge.values import Reason


def dicom_seeds() -> Iterator[Seed]:
    """One for each transfer syntax, then the headers of HEADERS, then files that are no proper Part 10 file."""
    with quiet():
        yield from list(_seeds(phantom()))


def _seeds(twelve: Stored) -> Iterator[Seed]:
    for syntax in sorted(NATIVE | PLUGINS.keys()):
        stored = (twelve >> 4).astype(np.uint8) if syntax == uid.JPEGBaseline8Bit else twelve
        yield Seed(f"syntax-{syntax.keyword}", dicom_file(chest(stored), syntax))
    for name, make in HEADERS.items():
        yield Seed(f"header-{name}", dicom_file(make(twelve)))
    yield Seed("signed-big-endian", dicom_file(_signed(twelve), uid.ExplicitVRBigEndian))
    yield Seed("mono1-jpeg-2000", dicom_file(_inverted(twelve), uid.JPEG2000Lossless))
    yield Seed("lut-implicit", dicom_file(_modality_lut(twelve), uid.ImplicitVRLittleEndian))
    yield Seed("nested-implicit", dicom_file(_nested(twelve), uid.ImplicitVRLittleEndian))
    whole = dicom_file(chest(twelve))
    yield Seed("no-preamble", whole[132:])
    yield Seed("no-meta", without_meta(chest(twelve)))
    yield Seed("many-fragments", dicom_file(chest(twelve), uid.JPEG2000Lossless, fragments=5))

    yield from _refused(twelve)


def _refused(twelve: Stored) -> Iterator[Seed]:
    """Words that say no by themselves, each a canary where one may stand."""
    for keyword, reason in {
        "BodyPartExamined": Reason.NOT_FRONTAL_CHEST,
        "ViewPosition": Reason.NOT_FRONTAL_CHEST,
        "Modality": Reason.NOT_A_RADIOGRAPH,
        "PhotometricInterpretation": Reason.NOT_A_RADIOGRAPH,
    }.items():
        yield Seed(
            f"refused-{keyword}", dicom_file(chest(twelve, **{keyword: f"{WORD}^{keyword[:8].upper()}"})), reason
        )
    raw = dicom_file(chest(twelve, PresentationIntentType="FOR PROCESSING"))
    yield Seed("refused-raw", raw, Reason.NOT_A_RADIOGRAPH)
    yield Seed("refused-syntax", dicom_file(chest(twelve), f"2.25.{NUMBER}"), Reason.UNSUPPORTED_SYNTAX)
    yield Seed("refused-no-pixels", dicom_file(chest(twelve, PixelData=None)), Reason.NO_PIXELS)


def _inverted(stored: Stored) -> Dataset:
    return chest((4095 - stored).astype(np.uint16), PhotometricInterpretation="MONOCHROME1")


def _signed(stored: Stored) -> Dataset:
    return chest((stored.astype(np.int32) - 2048).astype(np.int16), WindowCenter=0)


def _lut(entries: int, *, bits: int = 16) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [entries, 0, bits]
    item.LUTData = (np.arange(entries) * ((1 << bits) - 1) // (entries - 1)).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    item.LUTExplanation = f"{WORD}^LUT"
    return item


def _modality_lut(stored: Stored) -> Dataset:
    item = _lut(256)
    item.ModalityLUTType = "US"
    return chest((stored >> 4).astype(np.uint16), ModalityLUTSequence=[item], WindowCenter=None, WindowWidth=None)


def _nested(stored: Stored) -> Dataset:
    dataset = chest(stored)
    inner = Dataset()
    inner.PatientName = f"{WORD}^INNER"
    for depth in range(4):
        outer = Dataset()
        outer.ReferencedSOPInstanceUID = f"2.25.{NUMBER}{depth}"
        outer.ReferencedStudySequence = Sequence([inner, Dataset()])
        outer["ReferencedStudySequence"].is_undefined_length = depth % 2 == 0
        inner = outer
    dataset.RequestAttributesSequence = Sequence([inner])
    return dataset


def _coded(stored: Stored) -> Dataset:
    def code(value: str, meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SRT", meaning
        return item

    regions, views = [code("T-D3000", "Chest")], [code("R-10214", "postero-anterior")]
    return chest(
        stored, BodyPartExamined=None, ViewPosition=None, AnatomicRegionSequence=regions, ViewCodeSequence=views
    )


def _private(stored: Stored) -> Dataset:
    dataset = chest(stored)
    for group in (0x0009, 0x0019, 0x0055):
        block = dataset.private_block(group, f"{WORD} PRIVATE", create=True)
        block.add_new(0x01, "LO", f"{WORD}^PRIVATE")
        block.add_new(0x02, "UN", f"{WORD}^UNKNOWN".encode())
        block.add_new(0x03, "SQ", Sequence([chest(stored[:2, :2], file_meta=FileMetaDataset())]))
    return dataset


def _odd_elements(stored: Stored) -> Dataset:
    """An overlay, an icon with pixels of its own, and values of the rarer kinds."""
    icon = Dataset()
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.Rows, icon.Columns = 1, "MONOCHROME2", 4, 4
    icon.BitsAllocated, icon.BitsStored, icon.HighBit, icon.PixelRepresentation = 8, 8, 7, 0
    icon.PixelData = bytes(16)
    icon["PixelData"].VR = "OB"
    dataset = chest(stored, IconImageSequence=[icon], StudyTime="120000.5", PixelAspectRatio=["1", "1"])
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000011, "US", 8)
    dataset.add_new(0x60003000, "OW", bytes(8))
    dataset.add_new(0x00189074, "DT", "20200101120000.000000+0100")
    dataset.add_new(0x00186050, "UL", 7)
    dataset.add_new(0x0040A30A, "DS", ["1.5", "2.5"])
    dataset.add_new(0x00081197, "UT", f"{WORD}^TEXT" * 4)
    return dataset


def _eight_bit(stored: Stored) -> Dataset:
    return chest((stored >> 4).astype(np.uint8), WindowCenter=128, WindowWidth=256)


# How a header may be written -> a dataset around the pixels.
HEADERS: dict[str, Callable[[Stored], Dataset]] = {
    "mono1": _inverted,
    "signed": _signed,
    "eight-bit": _eight_bit,
    "sixteen-bit": lambda stored: chest(stored << 4, BitsStored=16, HighBit=15),
    "padding": lambda stored: chest(stored, PixelPaddingValue=0, PixelPaddingRangeLimit=40),
    "rescale": lambda stored: chest(stored, RescaleSlope="2", RescaleIntercept="-1024"),
    "windows": lambda stored: chest(stored, WindowCenter=[2048, 100], WindowWidth=[4096, 50]),
    "sigmoid": lambda stored: chest(stored, VOILUTFunction="SIGMOID", WindowWidth="900.5"),
    "modality-lut": _modality_lut,
    "voi-lut": lambda stored: chest(stored, VOILUTSequence=[_lut(4096, bits=12)]),
    "nested": _nested,
    "coded": _coded,
    "private": _private,
    "odd-elements": _odd_elements,
    "latin": lambda stored: chest(stored, SpecificCharacterSet="ISO_IR 100", PatientName=f"{WORD}^Müller"),
    "utf-8": lambda stored: chest(stored, SpecificCharacterSet="ISO_IR 192", PatientName=f"{WORD}^山田=太郎"),
    "japanese": lambda stored: chest(
        stored, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=f"{WORD}^Tarou=山田^太郎"
    ),
    "korean": lambda stored: chest(
        stored, SpecificCharacterSet=["", "ISO 2022 IR 149"], PatientName=f"{WORD}^Gildong=洪^吉洞"
    ),
    "gb18030": lambda stored: chest(stored, SpecificCharacterSet="GB18030", PatientName=f"{WORD}^王"),
    "unknown-characters": lambda stored: chest(stored, SpecificCharacterSet=f"{WORD}-8859"),
    "dates-are-names": lambda stored: chest(stored, PatientBirthDate=f"{WORD}^BORN", PatientAge=f"{WORD}Y"),
}
