"""The bytes of radiographs that wait for a candidate bundle: a bounded number, held in memory and nowhere else."""

import os
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Self

from edge.snapshot import Snapshot
from edge.values import Report

MOST_BYTES = 64 * 1024 * 1024
MOST_FILES = 16


@dataclass(frozen=True)
class Due:
    """A radiograph that has its result, and its bytes, which whoever takes it closes."""

    frozen: Snapshot
    report: Report

    def close(self) -> None:
        os.close(self.frozen.descriptor)


class ShadowQueue:
    """`hold` before a radiograph is decoded, `judged` or `drop` once it is known what became of it, `take` when there
    is time. Any thread may call. Its end gives all memory back.
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES) -> None:
        self._most_bytes, self._most_files = most_bytes, most_files
        self._held: dict[str, Snapshot] = {}  # without a result yet, by digest
        self._due: deque[Due] = deque()
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many have their result and wait."""
        return len(self._due)

    def hold(self, frozen: Snapshot) -> bool:
        """Keep the bytes after others have closed them. False when there is no room for them."""
        with self._lock:
            sizes = [held.size_bytes for held in (*self._held.values(), *(due.frozen for due in self._due))]
            full = len(sizes) >= self._most_files or sum(sizes) + frozen.size_bytes > self._most_bytes
            if full or self._is_closed or frozen.sha256 in self._held:
                return False
            self._held[frozen.sha256] = replace(frozen, descriptor=os.dup(frozen.descriptor))
            return True

    def drop(self, sha256: str) -> None:
        """It will have no result now, or none to compare with."""
        with self._lock:
            held = self._held.pop(sha256, None)
        if held is not None:
            os.close(held.descriptor)

    def judged(self, report: Report) -> bool:
        """It has its result: it is due. False when its bytes are not held."""
        with self._lock:
            held = self._held.pop(report.sha256, None)
            if held is not None:
                self._due.append(Due(held, report))
            return held is not None

    def take(self) -> Due | None:
        """The one that waits longest."""
        with self._lock:
            return self._due.popleft() if self._due else None

    def close(self) -> None:
        """Nothing is held any more, nor later."""
        with self._lock:
            self._is_closed = True
            descriptors = [held.descriptor for held in (*self._held.values(), *(due.frozen for due in self._due))]
            self._held.clear()
            self._due.clear()
        for descriptor in descriptors:
            os.close(descriptor)
