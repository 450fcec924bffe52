"""Peers of known behaviour for races; a module of its own, so that a fresh interpreter finds them."""

import os
import time
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.resident import Opened, Peer
from edge.errors import BackendUnavailable

NAP_S = 0.02


def napping(naps: int, *, answer: float = 0.0, left_out: int = 0) -> Opened:
    """Each call takes that many naps and answers the number of its input plus `answer`."""

    def call(number: int) -> NDArray[np.float64]:
        time.sleep(naps * NAP_S)
        return np.array([number + answer])

    return Opened(call, told=lambda told: told, left_out_s=lambda told: left_out * NAP_S)


def not_installed() -> Opened:
    raise BackendUnavailable("this peer is not installed; pip install peer")


def dying_on(input_number: int) -> Opened:
    def call(number: int) -> None:
        if number == input_number:
            os._exit(7)

    return Opened(call)


def stuck() -> Opened:
    return Opened(lambda number: time.sleep(60))


def telling_cores() -> Opened:
    return Opened(lambda number: None, told=lambda _: np.array([len(os.sched_getaffinity(0))]))


def peer(name: str, open_it: object, *arguments: object, comparable: bool = True, **options: object) -> Peer:
    return Peer(name, partial(open_it, *arguments, **options), comparable=comparable)  # type: ignore[arg-type]
