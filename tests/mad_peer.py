"""Peers that fail, and work for a process of its own; modules of their own, so that a fresh interpreter finds them."""

import os
import time
from typing import TYPE_CHECKING

from edge.errors import BackendUnavailable

if TYPE_CHECKING:  # a process that only doubles a number need not wait for torch
    from benchmarks.subject import Subject
    from edge.engines import Engine


def open_missing(subject: "Subject", precision: str, device: str) -> "Engine":
    raise BackendUnavailable("this peer is not installed; pip install peer")


def open_and_die(subject: "Subject", precision: str, device: str) -> "Engine":
    os._exit(7)


def double(number: int) -> int:
    print("words that nobody asked for")
    return 2 * number


def fail(number: int) -> int:
    raise RuntimeError(f"cannot double {number}\nand a second line")


def sleep(seconds: float) -> None:
    time.sleep(seconds)
