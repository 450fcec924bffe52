"""Small files that would take much memory, or time: refused by what they say of themselves, before they are decoded."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom import uid
from radiograph_files import (
    LOSSLESS,
    LOSSY,
    chest,
    chest_file,
    dicom_file,
    encapsulated_file,
    phantom_pixels,
)

from edge.errors import Bomb, RadiographError, TooLarge, Truncated, Unreadable, UnsupportedSyntax
from edge.imaging import jpeg2000
from edge.imaging.codestream import jpeg_size
from edge.imaging.file_meta import locate
from edge.imaging.inflate import inflate
from edge.imaging.limits import MAX_DATA_SET_BYTES
from edge.imaging.read import read

CHEST = phantom_pixels()
SHALLOW = (CHEST >> 4).astype(np.uint8)
ROWS, COLUMNS = CHEST.shape
MOST_BYTES = 160_000_000  # of memory: more than any of these files may take, less than they ask for


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """No Python object of the size that a bomb asks for is ever made."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES


def frame_of(syntax: uid.UID, stored: np.ndarray = CHEST, bits_stored: int = 12) -> bytes:
    return (LOSSLESS | LOSSY)[syntax](chest(stored, bits_stored=bits_stored))


def claiming(frame: bytes, marker: bytes, rows_at: int, form: str, *values: int) -> bytes:
    """A codestream whose own header says another size."""
    at = frame.index(marker) + rows_at
    return frame[:at] + struct.pack(form, *values) + frame[at + struct.calcsize(form) :]


JPEG_KINDS = [
    (uid.JPEGLosslessSV1, b"\xff\xc3", CHEST, 12),
    (uid.JPEGExtended12Bit, b"\xff\xc1", CHEST, 12),
    (uid.JPEGBaseline8Bit, b"\xff\xc0", SHALLOW, 8),
    (uid.JPEGLSLossless, b"\xff\xf7", CHEST, 12),
    (uid.JPEGLSNearLossless, b"\xff\xf7", CHEST, 12),
]


@pytest.mark.parametrize(
    ("syntax", "marker", "stored", "bits"), JPEG_KINDS, ids=lambda value: getattr(value, "keyword", "")
)
@pytest.mark.parametrize(
    ("rows", "columns", "error"),
    [(65535, 65535, Bomb), (ROWS + 1, COLUMNS, Bomb), (ROWS - 1, COLUMNS, Unreadable), (COLUMNS, ROWS - 2, Unreadable)],
)
def test_a_jpeg_of_another_size_than_the_header_says(
    syntax: uid.UID, marker: bytes, stored: np.ndarray, bits: int, rows: int, columns: int, error: type[RadiographError]
) -> None:
    frame = claiming(frame_of(syntax, stored, bits), marker, 5, ">HH", rows, columns)
    with pytest.raises(error, match="the header says"):
        read(encapsulated_file(chest(stored, bits_stored=bits), syntax, frame))


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless], ids=lambda s: s.keyword)
@pytest.mark.parametrize(
    ("rows", "columns", "error"),
    [(65535, 65535, Bomb), (2**31, 2**31, Bomb), (ROWS + 1, COLUMNS, Bomb), (ROWS - 1, COLUMNS, Unreadable)],
)
def test_a_jpeg_2000_of_another_size(syntax: uid.UID, rows: int, columns: int, error: type[RadiographError]) -> None:
    frame = frame_of(syntax)
    frame = claiming(frame, b"\xff\x4f\xff\x51", 8, ">II", columns, rows)
    frame = claiming(frame, b"\xff\x4f\xff\x51", 24, ">II", columns, rows)  # one tile
    with pytest.raises(error):
        read(encapsulated_file(chest(CHEST, bits_stored=12), syntax, frame))


def test_a_frame_of_more_samples_or_bits_than_the_header_says() -> None:
    three = imagecodecs.jpeg2k_encode(np.repeat(CHEST[..., None], 3, axis=2), codecformat="j2k", reversible=True)
    with pytest.raises(Bomb, match=f"unpacks to {ROWS} x {COLUMNS} x 3"):
        read(encapsulated_file(chest(CHEST, bits_stored=12), uid.JPEG2000Lossless, three))
    with pytest.raises(Bomb, match="of 12 bits, the header says"):
        read(encapsulated_file(chest(SHALLOW), uid.JPEGLosslessSV1, frame_of(uid.JPEGLosslessSV1)))


def j2k(**changes: tuple[int, str, int]) -> bytes:
    """A good codestream with fields of SIZ or COD changed: offset from its marker, format, value."""
    frame = frame_of(uid.JPEG2000Lossless)
    for name, (offset, form, value) in changes.items():
        frame = claiming(frame, b"\xff\x51" if name.startswith("siz") else b"\xff\x52", offset, form, value)
    return frame


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (j2k(siz_x=(22, ">I", 1), siz_y=(26, ">I", 1)), Bomb, "tiles; at most"),
        (j2k(siz_x=(22, ">I", 0)), Unreadable, "no size that makes sense"),
        (j2k(siz_step=(41, "B", 2)), UnsupportedSyntax, "subsampled"),
        (j2k(cod_layers=(6, ">H", 65535), siz_x=(22, ">I", 4), siz_y=(26, ">I", 4)), Bomb, "packets"),
        (j2k(cod_levels=(9, "B", 200)), Unreadable, "makes no sense"),
        (frame_of(uid.JPEG2000Lossless).replace(b"\xff\x52", b"\xff\x64", 1), Unreadable, "no coding style"),
    ],
    ids=["tiles", "no tile", "subsampled", "layers", "levels", "no coding style"],
)
def test_a_jpeg_2000_that_asks_for_more_than_its_pixels(
    frame: bytes, error: type[RadiographError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(encapsulated_file(chest(CHEST, bits_stored=12), uid.JPEG2000Lossless, frame))


def test_small_code_blocks_and_precincts_of_a_large_picture_are_a_bomb() -> None:
    """Nothing is decoded: the picture is only claimed."""
    large = claiming(j2k(), b"\xff\x4f\xff\x51", 8, ">II", 6000, 6000)
    large = claiming(large, b"\xff\x4f\xff\x51", 24, ">II", 6000, 6000)
    assert jpeg2000.picture_size(large).rows == 6000
    with pytest.raises(Bomb, match="blocks"):
        jpeg2000.picture_size(claiming(large, b"\xff\x52", 10, "BB", 0, 0))  # 4 x 4
    at = large.index(b"\xff\x52")
    levels = large[at + 9]
    cod = bytearray(large[at : at + 14]) + bytes([0x00] * (levels + 1))  # precincts of one pixel
    cod[2:4], cod[4] = struct.pack(">H", 12 + levels + 1), cod[4] | 1
    with pytest.raises(Bomb, match="precincts"):
        jpeg2000.picture_size(large[:at] + cod + large[at + 14 :])


def test_a_palette_in_a_jp2_file_is_refused() -> None:
    frame = frame_of(uid.JPEG2000Lossless)
    box = lambda kind, body: struct.pack(">I4s", len(body) + 8, kind) + body  # noqa: E731
    jp2 = box(b"jP  ", b"\r\n\x87\n") + box(b"jp2h", box(b"pclr", b"\0" * 8)) + box(b"jp2c", frame)
    with pytest.raises(UnsupportedSyntax, match="palette"):
        read(encapsulated_file(chest(CHEST, bits_stored=12), uid.JPEG2000Lossless, jp2))
    assert jpeg2000.picture_size(jp2.replace(b"pclr", b"bpcc")).rows == ROWS


def rle(*segments: bytes, count: int | None = None) -> bytes:
    offsets = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = [len(segments) if count is None else count, *offsets, *[0] * (15 - len(segments))]
    return struct.pack("<16L", *header) + b"".join(segments)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (rle(b"\x81\x07" * 2_000_000, b"\x81\x07" * 72), "ImcdError while decoding"),  # 256 MB
        (rle(b"\x81\x07"), "1 segments for 16 bits"),
        (rle(b"\0\0", b"\0\0", count=15), "15 segments for 16 bits"),
        (rle(b"\0\0", b"\0\0"), "holds 1 of"),
        (b"\2\0\0\0", "inside its header"),
        (rle(b"\0\0", b"\0\0")[:64], "beyond the end"),
    ],
)
def test_run_lengths_unpack_to_the_picture_and_no_further(frame: bytes, message: str) -> None:
    with pytest.raises((Unreadable, Truncated), match=message):
        read(encapsulated_file(chest(CHEST, bits_stored=12), uid.RLELossless, frame))


def test_run_lengths_with_some_padding_are_read() -> None:
    frame = frame_of(uid.RLELossless)
    segments = struct.unpack_from("<3L", frame)
    padded = rle(frame[segments[1] : segments[2]] + b"\xf9\0" * 2, frame[segments[2] :] + b"\xf9\0" * 2)
    content = encapsulated_file(chest(CHEST, bits_stored=12), uid.RLELossless, padded)
    np.testing.assert_array_equal(read(content).pixels, read(dicom_file(chest(CHEST, bits_stored=12))).pixels)


def test_a_progressive_jpeg_of_endless_scans_is_a_bomb() -> None:
    whole = cv2.imencode(".jpg", SHALLOW, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    at = whole.rindex(b"\xff\xda")
    with pytest.raises(Bomb, match="scans; at most 100"):
        read(whole[:at] + whole[at:-2] * 200 + whole[-2:])


def test_fill_bytes_and_markers_before_the_frame_header_come_to_an_end() -> None:
    with pytest.raises(Unreadable, match="no frame header"):
        jpeg_size(b"\xff\xd8" + b"\xff" * 1_000_000)
    with pytest.raises(UnsupportedSyntax, match="hierarchical"):
        jpeg_size(b"\xff\xd8\xff\xc5\0\x0b\x08\xff\xff\xff\xff\1\0\0\0")


def deflated_zeros(megabytes: int) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return b"".join(engine.compress(bytes(1_000_000)) for _ in range(megabytes)) + engine.flush()


def test_a_deflated_data_set_that_inflates_without_end_is_a_bomb() -> None:
    whole = dicom_file(chest(CHEST, bits_stored=12), uid.DeflatedExplicitVRLittleEndian)
    content = whole[: locate(whole).start] + deflated_zeros(MAX_DATA_SET_BYTES // 1_000_000 + 50)
    assert len(content) < 200_000
    with pytest.raises(Bomb, match=f"inflates to more than {MAX_DATA_SET_BYTES} bytes; find out who sent it"):
        read(content)


def test_no_more_than_a_step_is_inflated_beyond_the_limit() -> None:
    tracemalloc.reset_peak()
    with pytest.raises(Bomb):
        inflate(memoryview(deflated_zeros(60)), limit_bytes=3_000_000)
    assert tracemalloc.get_traced_memory()[1] < 12_000_000


@pytest.mark.parametrize("compressed", [b"", b"\x03", zlib.compress(b"abc" * 99)[2:-8]])
def test_a_deflated_data_set_cut_short_is_truncated(compressed: bytes) -> None:
    with pytest.raises(Truncated, match="ends before its last block"):
        inflate(memoryview(compressed))


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless], ids=lambda s: s.keyword
)
def test_a_header_of_65535_x_65535_takes_no_memory(syntax: uid.UID) -> None:
    with pytest.raises(TooLarge, match="65535 x 65535 pixels; at most"):
        read(chest_file_claiming(syntax, 65535))


def chest_file_claiming(syntax: uid.UID, side: int) -> bytes:
    encode: Callable[..., bytes] | None = LOSSLESS.get(syntax)
    dataset = chest(CHEST, bits_stored=12)
    frame = encode(dataset) if encode else None
    dataset.Rows = dataset.Columns = side
    return encapsulated_file(dataset, syntax, frame) if frame else dicom_file(dataset, syntax)


def test_pixel_data_far_longer_than_any_picture_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.imaging.pixel_data.MAX_DATA_SET_BYTES", 1000)
    with pytest.raises(TooLarge, match="at most 1000 are read"):
        read(chest_file(CHEST, uid.JPEG2000Lossless))


@pytest.mark.parametrize(
    "elements",
    [
        {"Rows": 0},
        {"Columns": 0},
        {"BitsStored": 0, "HighBit": None},
        {"BitsStored": 17, "HighBit": 16},
        {"PixelRepresentation": 2},
    ],
    ids=str,
)
def test_sizes_and_bits_that_make_no_sense_reach_no_decoder(elements: dict[str, int | None]) -> None:
    dataset = chest(CHEST, bits_stored=12)
    frame = LOSSLESS[uid.RLELossless](dataset)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    with pytest.raises(Unreadable, match="PixelRepresentation make no sense"):
        read(encapsulated_file(dataset, uid.RLELossless, frame))


@pytest.mark.parametrize("frames", [2, 3])
def test_pixel_data_of_several_frames_under_a_header_of_one(frames: int) -> None:
    with pytest.raises(Unreadable, match="the header says one frame"):
        read(dicom_file(chest(CHEST, bits_stored=12, PixelData=CHEST.tobytes() * frames)))


@pytest.mark.parametrize("bits", [0, 1, 17, 76, 255])
def test_a_jpeg_of_bits_that_none_has(bits: int) -> None:
    """A native decoder crashed on these."""
    baseline = frame_of(uid.JPEGBaseline8Bit, SHALLOW, 8)
    odd = claiming(baseline, b"\xff\xc0", 4, "B", bits)
    for content in (odd, encapsulated_file(chest(SHALLOW), uid.JPEGBaseline8Bit, odd)):
        with pytest.raises(Unreadable, match="no number of bits"):
            read(content)
