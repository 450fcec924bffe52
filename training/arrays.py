"""Standardised radiographs on disk: each file through edge.imaging once, kept as uint8 beside its crop.

The key is the SHA-256 of the file and the digest of the preprocessing, so a change of either makes a new array and an
interrupted run goes on where it stopped. Lung masks follow their radiograph's crop.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.errors import RadiographError, UsageError
from edge.imaging.preprocess import Preprocessing, preprocess
from edge.imaging.read import read
from edge.values import Crop
from training.devices import ALONE, Place
from training.model import reduce_to
from training.progress import bar
from training.row import Row

_Item = TypeVar("_Item")
_Job = TypeVar("_Job")
_WORTH_A_PROCESS = 16  # jobs
IGNORE = 127  # in a mask: the annotator left it open
_MASK_VALUES = (0, IGNORE, 255)
_CROP_FIELDS = tuple(item.name for item in fields(Crop))


@dataclass(frozen=True)
class Kept:
    """A row and its array on disk; None, and why, where the box refuses the radiograph."""

    row: Row
    path: Path | None
    refusal: str = ""


@dataclass(frozen=True)
class Standardised:
    """pixels: uint8 [1024, 1024], a ModelInput times 255. sha256: of the radiograph's file."""

    sha256: str
    pixels: NDArray[np.uint8]
    crop: Crop


def in_processes(
    work: Callable[[_Job], _Item], jobs: Sequence[_Job], description: str, *, workers: int
) -> Iterator[_Item]:
    """Outcomes in order, with a bar; a few jobs are not worth the seconds that a process takes to start."""
    workers = min(workers, len(jobs) // _WORTH_A_PROCESS)
    if workers < 2:
        yield from bar(map(work, jobs), description, total=len(jobs))
        return
    # spawn: a forked child of a process that has used torch's threads may hang
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from bar(pool.map(work, jobs, chunksize=4), description, total=len(jobs))


def standardise(
    rows: Sequence[Row], preprocessing: Preprocessing, cache: Path, *, workers: int | None = None, place: Place = ALONE
) -> tuple[Kept, ...]:
    """Every row with its cached array, made where missing, in the rows' order. Of several processes the first makes
    them.
    """
    if not place.first:
        place.wait()
    folder = cache / preprocessing.digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(row.path, folder, preprocessing) for row in rows]
    outcomes = list(in_processes(_standardise_one, jobs, "standardise", workers=workers or os.cpu_count() or 1))
    if place.first:
        place.wait()
    return tuple(Kept(row, *outcome) for row, outcome in zip(rows, outcomes, strict=True))


def readable(kept: Sequence[Kept]) -> tuple[tuple[Row, ...], tuple[Path, ...]]:
    """The rows and their arrays. Raises UsageError naming the line of a radiograph that the box refuses."""
    for item in kept:
        if item.path is None:
            raise UsageError(
                f"line {item.row.line}: {item.row.path.name} is refused: {item.refusal}. "
                "Take the row out, mend the file, or leave such rows out with --leave-out-refused"
            )
    return tuple(item.row for item in kept), tuple(item.path for item in kept if item.path is not None)


def _standardise_one(job: tuple[Path, Path, Preprocessing]) -> tuple[Path | None, str]:
    path, folder, preprocessing = job
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    kept = folder / f"{sha256[:32]}.npz"
    if kept.exists():
        return kept, ""
    try:
        model_input = preprocess(read(content), preprocessing)
    except RadiographError as fault:
        return None, str(fault)
    crop = np.array([getattr(model_input.crop, name) for name in _CROP_FIELDS], np.int64)
    beside = kept.with_name(f".{kept.stem}.{os.getpid()}.npz")
    np.savez(beside, pixels=np.rint(model_input.pixels[0] * 255).astype(np.uint8), crop=crop, sha256=np.array(sha256))
    beside.replace(kept)  # complete the moment it is visible
    return kept, ""


def load(kept: Path) -> Standardised:
    with np.load(kept) as arrays:
        crop = Crop(*(int(value) for value in arrays["crop"]))
        return Standardised(str(arrays["sha256"]), arrays["pixels"], crop)


def reduce_pixels(pixels: NDArray[np.uint8], side: int) -> Tensor:
    """uint8 [1024, 1024] -> uint8 [1, 1, side, side]."""
    return reduce_to(torch.from_numpy(pixels)[None, None].float(), side).round().to(torch.uint8)


def load_mask(row: Row, crop: Crop, side: int, model_side: int) -> NDArray[np.uint8]:
    """The lung mask as the network sees its radiograph: uint8 [side, side] of 0, 127 (ignore) and 255.

    Raises UsageError when the row has no mask, one of another size than its radiograph, or one with other values.
    """
    if row.mask_path is None:
        raise UsageError(f"line {row.line}: no lung mask; fill in the column mask_path")
    mask = cv2.imread(str(row.mask_path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise UsageError(f"line {row.line}: {row.mask_path.name} cannot be read; write masks as PNG")
    _check_mask(row, mask)
    part = mask[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    square = np.zeros((model_side, model_side), np.uint8)
    content = cv2.resize(part, (crop.model_width, crop.model_height), interpolation=cv2.INTER_NEAREST)
    rows, columns = slice(crop.model_top, None), slice(crop.model_left, None)
    square[rows, columns][: crop.model_height, : crop.model_width] = content
    return cv2.resize(square, (side, side), interpolation=cv2.INTER_NEAREST)


def _check_mask(row: Row, mask: NDArray[np.uint8]) -> None:
    size = read(row.path.read_bytes()).pixels.shape  # the cached array knows only the part that was cropped
    if mask.shape != size:
        raise UsageError(
            f"line {row.line}: the lung mask has {mask.shape[0]} x {mask.shape[1]} pixels, its radiograph {size[0]} x "
            f"{size[1]}; draw it on the whole radiograph"
        )
    others = sorted(set(np.flatnonzero(np.bincount(mask.ravel()))) - set(_MASK_VALUES))
    if others:
        raise UsageError(
            f"line {row.line}: the lung mask holds {len(others)} other values, such as {others[0]}; "
            "write 0 for background, 255 for lung and 127 for what is left open"
        )
