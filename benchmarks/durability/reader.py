"""A reader beside the box: looks at every result the moment it is visible, and says which were not whole.

Run as a process of its own, so that it reads while the box writes: python -m benchmarks.durability.reader FOLDER
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from benchmarks.durability.invariant import is_whole


class Reader:
    """Watches a folder's results/*/*.json until it is left; `not_whole` then names what it met."""

    def __init__(self, folder: Path, *, pause_s: float = 0.001) -> None:
        self._command = [sys.executable, "-m", "benchmarks.durability.reader", str(folder), str(pause_s)]
        self.read = 0
        self.not_whole: list[str] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parent.parent.parent,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it looks from now on
        return self

    def __exit__(self, *_: object) -> None:
        told, _ = self._process.communicate()
        *self.not_whole, last = told.splitlines()
        self.read = int(last)


def look_until_told(state: Path, pause_s: float) -> tuple[int, list[str]]:
    """Until stdin ends. A result is looked at once for each file that carries its name, until that was whole."""
    seen: set[tuple[str, int, int]] = set()
    read, not_whole = 0, []
    results = state / "results"
    while not select.select([sys.stdin], [], [], 0)[0]:
        for folder in _entries(results):
            for entry in _entries(Path(folder.path)):
                with contextlib.suppress(FileNotFoundError):
                    key = (entry.path, entry.inode(), entry.stat(follow_symlinks=False).st_mtime_ns)
                    if entry.name.startswith(".") or key in seen:
                        continue
                    if is_whole(Path(entry.path), Path(entry.path).read_bytes()):
                        seen.add(key)
                    else:
                        not_whole.append(entry.name)
                    read += 1
        time.sleep(pause_s)
    return read, not_whole


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return list(entries)
    return []


if __name__ == "__main__":
    print("looking", flush=True)
    count, met = look_until_told(Path(sys.argv[1]), float(sys.argv[2]))
    print(*met, count, sep="\n")
