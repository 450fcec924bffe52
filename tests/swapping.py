"""A sender who swaps two names as fast as the kernel lets it, while something else goes on."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def exchange(one: Path, other: Path) -> None:
    """Each gets the other's name, in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def swapped_on_and_on(one: Path, other: Path) -> Iterator[None]:
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            try:
                exchange(one, other)
            except FileNotFoundError:  # set aside at the moment
                over.wait(0.0001)

    sender = threading.Thread(target=swap)
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()
