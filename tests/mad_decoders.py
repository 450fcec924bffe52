"""Decoders that fail in every way that one can, by the name of what becomes of the frame."""

import os
import signal
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, uid

from benchmarks.decoder_safety import outcome
from benchmarks.pictures import frame, stored_values


def paint(dataset: Dataset) -> NDArray[Any]:
    return np.zeros((dataset.Rows, dataset.Columns), np.uint8)


def paint_less(dataset: Dataset) -> NDArray[Any]:
    return np.zeros((dataset.Rows, 1), np.uint8)


def refuse(dataset: Dataset) -> NDArray[Any]:
    raise ValueError("damaged")


def die(dataset: Dataset) -> NDArray[Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def take_too_long(dataset: Dataset) -> NDArray[Any]:
    os.kill(os.getpid(), signal.SIGXCPU)  # what the kernel sends beyond the limit
    raise AssertionError


MAD = {
    "picture": paint,
    "other shape": paint_less,
    "refused": refuse,
    "died": die,
    "too long": take_too_long,
}


def outcomes(frame_of: str) -> dict[str, str]:
    """What is found out of each, for one frame of that syntax; in a process that may be forked."""
    stored = stored_values(96, 80, bits=8)
    dataset = Dataset()
    dataset.Rows, dataset.Columns = stored.shape
    damaged = frame(stored, uid.UID(frame_of), bits=8)
    return {name: outcome(decode, dataset, damaged) for name, decode in MAD.items()}
