"""Work that must wait until it has the files of cases to itself: begun while another has them."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.state import StateFolder, files_held


@contextmanager
def kept_waiting(state: StateFolder, work: Callable[[], object]) -> Iterator[None]:
    """Have the files while the work waits for them; afterwards it is done. Fails when it does not wait."""
    with files_held(state):
        finish = begun_and_waits(work)
        yield
    finish()


def begun_and_waits(work: Callable[[], object]) -> Callable[[], None]:
    """Begin the work in a thread, and return once it waits for the files that somebody has. Call the answer to join."""
    faults: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as fault:
            faults.append(fault)

    def finish() -> None:
        thread.join(60)
        assert not thread.is_alive(), "it still waits"
        if faults:
            raise faults[0]

    thread = threading.Thread(target=guarded)
    thread.start()
    while not is_awaited():
        if not thread.is_alive():
            finish()
            raise AssertionError("it did all its work without waiting for the files")
        time.sleep(0.001)
    return finish


def is_awaited() -> bool:
    """As the kernel tells: a blocked lock of this process."""
    lines = Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and f" {os.getpid()} " in line for line in lines)
