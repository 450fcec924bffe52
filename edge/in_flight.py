"""What was taken and has no result yet: digests, and since when each file is complete."""

import time


class InFlight:
    """Who takes adds, who ends a way discards. Any thread may ask."""

    def __init__(self) -> None:
        self._complete_s: dict[str, float] = {}

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._complete_s

    def __len__(self) -> int:
        return len(self._complete_s)

    def add(self, sha256: str, complete_s: float | None = None) -> None:
        """complete_s: monotonic clock; now by default."""
        self._complete_s[sha256] = time.monotonic() if complete_s is None else complete_s

    def discard(self, sha256: str) -> None:
        self._complete_s.pop(sha256, None)

    def oldest_complete_s(self) -> float | None:
        """Since when the one that waits longest is complete (monotonic clock)."""
        return min(tuple(self._complete_s.values()), default=None)
