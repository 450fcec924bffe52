"""Radiograph -> ModelInput: THE one implementation, used by training, calibration and the box.

The paper's order (Methods "Image Processing" and supplement "Data preprocessing"): crop black edges and text-only
margins, standardise brightness, pad to square, resize to 1024x1024 bilinear, CLAHE. Reading files is in read.py.
"""

import hashlib
import io
import json
import token
import tokenize
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.values import Crop, ModelInput, Radiograph

FRAMINGS = ("pad", "stretch")
_OPENS, _ENDS, _CLOSES = "<block>", "<end>", "</block>"
_STRUCTURE = {token.INDENT: _OPENS, token.NEWLINE: _ENDS, token.DEDENT: _CLOSES}
_SEARCH_SIDE = 512  # borders are looked for on a copy reduced to this, in pixels


@dataclass(frozen=True)
class Preprocessing:
    """The parameters. A bundle carries them and their digest; another digest is another preprocessing.

    framing: "pad" keeps the aspect ratio as the paper does; "stretch" fills the square, so that a network cannot read
    the aspect ratio, a shortcut to the source of a radiograph.
    border_level: below this share of the 99th percentile a pixel is black. border_content: a row or column with a
    smaller share of content than this is margin (black, white, or black with text); at most border_limit of each side.
    """

    side: int = 1024
    framing: str = "pad"
    border_level: float = 0.05
    border_content: float = 0.12
    border_limit: float = 0.25
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    clahe_clip_limit: float = 2.0
    clahe_tiles: int = 8

    def __post_init__(self) -> None:
        if self.framing not in FRAMINGS:
            # No f-string in this file: its tokens differ between Python versions, and with them the digest.
            message = "framing is {!r}; it must be one of {}"
            raise ValueError(message.format(self.framing, ", ".join(FRAMINGS)))

    @property
    def digest(self) -> str:
        """SHA-256 over the parameters and over this file's code; comments and docstrings do not count."""
        parameters = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256((parameters + code_fingerprint()).encode()).hexdigest()


@cache
def code_fingerprint() -> str:
    return fingerprint_of(Path(__file__).read_text(encoding="utf-8"))


def fingerprint_of(source: str) -> str:
    """SHA-256 of Python source without comments, docstrings and spacing, the same on every Python version."""
    kept = [_OPENS]
    statement_starts = True
    for item in tokenize.generate_tokens(io.StringIO(source).readline):
        if item.type in _STRUCTURE:
            # A docstring leaves an empty statement behind: it counts for nothing.
            if not (item.type == token.NEWLINE and kept[-1] in (_OPENS, _ENDS)):
                kept.append(_STRUCTURE[item.type])
            statement_starts = True
        elif item.type not in (token.COMMENT, token.NL, token.ENDMARKER):
            if not (statement_starts and item.type == token.STRING):
                kept.append(item.string)
            statement_starts = False
    return hashlib.sha256(" ".join(kept).encode()).hexdigest()


def preprocess(radiograph: Radiograph, parameters: Preprocessing) -> ModelInput:
    """The whole of it: what an engine reads, and the crop that maps it back."""
    top, left, height, width = content_box(radiograph.pixels, parameters)
    rows, columns = _fitted_size(height * radiograph.row_spacing, width * radiograph.column_spacing, parameters)
    content = _shrink(radiograph.pixels[top : top + height, left : left + width], rows, columns)
    valid = None
    if radiograph.valid is not None:
        part = radiograph.valid[top : top + height, left : left + width].astype(np.uint8)
        valid = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_NEAREST).astype(bool)
    grey = standardise_brightness(content, valid, parameters)  # uint8 [rows, columns]

    model_top, model_left = (parameters.side - rows) // 2, (parameters.side - columns) // 2
    square = np.zeros((parameters.side, parameters.side), np.uint8)
    square[model_top : model_top + rows, model_left : model_left + columns] = grey
    clahe = cv2.createCLAHE(parameters.clahe_clip_limit, (parameters.clahe_tiles, parameters.clahe_tiles))
    equalised = clahe.apply(square)
    # CLAHE lifts the padding of a mixed tile off zero; padding must say nothing.
    pixels = np.zeros((1, parameters.side, parameters.side), np.float32)
    inside = (slice(model_top, model_top + rows), slice(model_left, model_left + columns))
    pixels[0][inside] = equalised[inside] * np.float32(1 / 255)
    if valid is not None:
        pixels[0][inside][~valid] = 0
    crop = Crop(top, left, height, width, model_top, model_left, rows, columns)
    return ModelInput(pixels, crop, parameters.digest)


def content_box(pixels: NDArray[np.uint16], parameters: Preprocessing) -> tuple[int, int, int, int]:
    """The box (top, left, height, width) without black or white edges and margins that hold only text."""
    rows, columns = pixels.shape
    step = max(1, max(rows, columns) // _SEARCH_SIDE)
    small = cv2.resize(pixels, (max(1, columns // step), max(1, rows // step)), interpolation=cv2.INTER_AREA)
    level = parameters.border_level * float(np.percentile(small, 99))
    content = (small > level) & (small < np.iinfo(np.uint16).max)
    row_span, column_span = slice(0, small.shape[0]), slice(0, small.shape[1])
    for _ in range(2):  # a margin on one side hides the share of content on the other
        row_span = _content_span(content[:, column_span].mean(axis=1), parameters)
        column_span = _content_span(content[row_span].mean(axis=0), parameters)
    top, bottom = _scaled(row_span, small.shape[0], rows)
    left, right = _scaled(column_span, small.shape[1], columns)
    return top, left, bottom - top, right - left


def _content_span(share: NDArray[np.float64], parameters: Preprocessing) -> slice:
    limit = int(len(share) * parameters.border_limit)
    held = np.flatnonzero(share >= parameters.border_content)
    if len(held) == 0:
        return slice(0, len(share))
    return slice(min(int(held[0]), limit), max(int(held[-1]) + 1, len(share) - limit))


def _scaled(span: slice, small: int, full: int) -> tuple[int, int]:
    return span.start * full // small, -(-span.stop * full // small)


def _fitted_size(height: float, width: float, parameters: Preprocessing) -> tuple[int, int]:
    if parameters.framing == "stretch":
        return parameters.side, parameters.side
    scale = parameters.side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _shrink(pixels: NDArray[np.uint16], rows: int, columns: int) -> NDArray[np.uint16]:
    """Bilinear, after averaging whole blocks where it shrinks by two or more, so that fine structure cannot alias."""
    block_rows, block_columns = max(1, pixels.shape[0] // rows), max(1, pixels.shape[1] // columns)
    if block_rows > 1 or block_columns > 1:
        size = (-(-pixels.shape[1] // block_columns), -(-pixels.shape[0] // block_rows))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_LINEAR)


def standardise_brightness(
    pixels: NDArray[np.uint16], valid: NDArray[np.bool_] | None, parameters: Preprocessing
) -> NDArray[np.uint8]:
    """Stretch grey levels between two percentiles of the content over 0..255; markers and metal saturate."""
    counted = pixels if valid is None else pixels[valid]
    cumulated = np.cumsum(np.bincount(counted.ravel(), minlength=1 << 16))
    total = max(1, int(cumulated[-1]))
    low = int(np.searchsorted(cumulated, total * parameters.low_percentile / 100))
    high = max(low + 1, int(np.searchsorted(cumulated, total * parameters.high_percentile / 100)))
    ramp = (np.arange(1 << 16) - low) * (255 / (high - low))
    table = np.rint(np.clip(ramp, 0, 255)).astype(np.uint8)
    return table[pixels]
