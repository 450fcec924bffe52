"""Free space that is kept in reserve, so that a full disk is met between two radiographs and not within one."""

import shutil
from pathlib import Path

_AGAIN = 1.1  # taken up again only with so much more, so that it does not flutter


class Reserve:
    """The smaller of a share of the disk and a number of bytes; of a small disk a share is enough."""

    def __init__(self, folder: Path, *, percent: float, at_most_bytes: int) -> None:
        self._folder, self._percent, self._at_most_bytes = folder, percent, at_most_bytes
        self._short = False

    @property
    def kept_bytes(self) -> float:
        """How much is kept of a disk of this size."""
        return self._of(shutil.disk_usage(self._folder).total)

    def shortage(self, *, further_bytes: int = 0) -> str | None:
        """Why nothing more may be taken, None when there is room. further_bytes: what is about to be written."""
        usage = shutil.disk_usage(self._folder)
        reserve = self._of(usage.total)
        self._short = usage.free - further_bytes < reserve * (_AGAIN if self._short else 1.0)
        if not self._short:
            return None
        return (
            f"the disk of {self._folder} is full: {usage.free / 1e6:.0f} MB are free, {reserve / 1e6:.0f} MB are kept "
            f"in reserve{f', and {further_bytes / 1e6:.0f} MB would be added' if further_bytes else ''}"
        )

    def _of(self, total_bytes: int) -> float:
        return min(total_bytes * self._percent / 100, self._at_most_bytes)
