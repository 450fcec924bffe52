"""Decoding and preprocessing of one uncompressed DICOM on one core: the box, and what people write by hand.

The hand-written pipelines take the steps of edge.imaging.preprocess in its order with the libraries' own defaults:
window, crop black margins, resize to 1024 keeping the aspect ratio, stretch between percentiles, pad, equalise.
"""

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.pictures import COLUMNS, ROWS, dicom_bytes, stored_values
from benchmarks.race import Race
from benchmarks.resident import Opened, Peer
from edge.config import Config
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.values import Report

OURS, BOX, WHOLE = "edge.imaging", "the box's decode worker", "the box, path to report"
PARAMETERS = Preprocessing()
_SEEN = 64  # pixels of a side at which pictures are compared


def open_ours(path: Path) -> Opened:
    cv2.setNumThreads(1)

    def call(number: int) -> NDArray[np.float32]:
        return preprocess(read(path.read_bytes()), PARAMETERS).pixels[0]

    return Opened(call, told=seen)


def open_box(path: Path) -> Opened:
    """As `watch` does it: the file frozen and hashed, decoded in a confined process, the pixels checked and copied."""
    from edge.imaging.decoder import Decoder  # noqa: PLC0415
    from edge.snapshot import snapshot  # noqa: PLC0415

    decoder = Decoder(PARAMETERS, site_key=bytes(32))

    def call(number: int) -> NDArray[np.float32]:
        with snapshot(path) as frozen:
            return decoder.decode(frozen).model_input.pixels[0]

    return Opened(call, told=seen, close=decoder.close)


def open_whole(path: Path) -> Opened:
    """All but the engine: gates, earlier cases and the report too. The phantom bundle's engine is left out of it."""
    from edge.reading_room import open_pipeline  # noqa: PLC0415

    held = contextlib.ExitStack()
    pipeline = held.enter_context(open_pipeline(Config(bundle="phantom"), by_site=False))

    def call(number: int) -> Report:
        return pipeline.report(path)

    return Opened(call, left_out_s=lambda report: report.timings_s["infer"], close=held.close)


def open_skimage(path: Path) -> Opened:
    from skimage import exposure, transform  # noqa: PLC0415 - optional

    def call(number: int) -> NDArray[np.float32]:
        content = displayed(path)
        resized = transform.resize(content, fitted(content.shape), order=1, anti_aliasing=True, preserve_range=True)
        low, high = np.percentile(resized, (PARAMETERS.low_percentile, PARAMETERS.high_percentile))
        stretched = exposure.rescale_intensity(resized, in_range=(low, high), out_range=(0.0, 1.0))
        side = PARAMETERS.side // PARAMETERS.clahe_tiles
        return exposure.equalize_adapthist(padded(stretched), kernel_size=side).astype(np.float32)

    return Opened(call, told=seen)


def open_pillow(path: Path) -> Opened:
    from PIL import Image, ImageOps  # noqa: PLC0415 - optional

    def call(number: int) -> NDArray[np.float32]:
        content = displayed(path).astype(np.float32)
        rows, columns = fitted(content.shape)
        resized = np.asarray(Image.fromarray(content).resize((columns, rows), Image.Resampling.BILINEAR))
        low, high = np.percentile(resized, (PARAMETERS.low_percentile, PARAMETERS.high_percentile))
        stretched = np.clip((resized - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
        return np.asarray(ImageOps.equalize(Image.fromarray(padded(stretched)))) * np.float32(1 / 255)

    return Opened(call, told=seen)


def open_torchxrayvision(path: Path) -> Opened:
    """Its documented steps: read, crop to the centre, resize to what its networks take."""
    import torchxrayvision  # noqa: PLC0415 - optional

    steps = (torchxrayvision.datasets.XRayCenterCrop(), torchxrayvision.datasets.XRayResizer(224))

    def call(number: int) -> NDArray[np.float32]:
        pixels = torchxrayvision.utils.load_image(str(path))
        for step in steps:
            pixels = step(pixels)
        return pixels

    return Opened(call)


def displayed(path: Path) -> NDArray[Any]:
    """The radiograph without its black margins, bright = dense."""
    dataset = pydicom.dcmread(path)
    values = apply_windowing(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = values.max() - values
    content = values > PARAMETERS.border_level * np.percentile(values, 99)
    rows = np.flatnonzero(content.mean(axis=1) >= PARAMETERS.border_content)
    columns = np.flatnonzero(content.mean(axis=0) >= PARAMETERS.border_content)
    return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fitted(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = PARAMETERS.side / max(shape)
    return round(shape[0] * scale), round(shape[1] * scale)


def padded(grey: NDArray[Any]) -> NDArray[Any]:
    square = np.zeros((PARAMETERS.side, PARAMETERS.side), grey.dtype)
    top, left = (PARAMETERS.side - grey.shape[0]) // 2, (PARAMETERS.side - grey.shape[1]) // 2
    square[top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    return square


def seen(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a person would see of it: the reduced picture, so that a peer that shows another one is found out."""
    return cv2.resize(pixels, (_SEEN, _SEEN), interpolation=cv2.INTER_AREA)


def preprocessing_race(folder: Path, calls: int, *, rows: int = ROWS, columns: int = COLUMNS) -> Race:
    """On one core. Differences are of pictures reduced to 64 x 64, grey 0 to 1."""
    path = folder / "radiograph.dcm"
    path.write_bytes(dicom_bytes(stored_values(rows, columns, bits=16), ExplicitVRLittleEndian, bits=16))
    peers = (
        Peer(OURS, partial(open_ours, path)),
        Peer(BOX, partial(open_box, path), "file frozen and hashed, confined process, pixels checked and copied"),
        Peer(WHOLE, partial(open_whole, path), "gates, earlier cases and report too; its engine is left out"),
        Peer("pydicom + scikit-image", partial(open_skimage, path)),
        Peer("pydicom + Pillow", partial(open_pillow, path), "without CLAHE, which it has not: equalised as a whole"),
        Peer("torchxrayvision", partial(open_torchxrayvision, path),
             "its own steps: no window, crop to the centre, 224 pixels, no equalising", comparable=False),
    )  # fmt: skip
    return Race(f"decoding and preprocessing {rows} x {columns}, 16 bits, uncompressed", peers, 1, calls, cores=1)
