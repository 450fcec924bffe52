"""Drift: whether the last radiographs are spread as those of a reference, in scores, pictures and headers.

The reference is the bundle's, for what its manifest tells of; for all else it is the box's own first radiographs. What
is watched is in drift_signals.py, the measure in reference_levels.py. Kept in a private file, of numbers alone.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.drift_signals import KINDS, NAMES, Signals
from edge.errors import DiskFailed, StateError
from edge.outputs.durable import make_folder, write_durably
from edge.reference_levels import Levels, levels_from_json
from edge.strict_json import number, read_json

FOLDER = "drift"  # in the state folder
WINDOW = 200  # radiographs
OWN_REFERENCE = 500  # radiographs
LEAST = 50  # radiographs in the window, before anything is said of them
_SAVED_EACH = 20  # radiographs; a crash loses no more
_FORMAT = "edge-cxr/drift/1"


@dataclass(frozen=True)
class DriftLook:
    """distance: how far the window lies from the reference, 0 to 1. limit: above it there is an alarm."""

    signal: str
    distance: float
    limit: float

    @property
    def alarm(self) -> bool:
        return self.distance > self.limit


class Drift:
    """The windows and references of one bundle. One thread calls `see`; `looks` may be read by any.

    given: the bundle's own levels, by signal. say: called with a line when an alarm begins or ends, when a reference is
    complete, and when the file cannot be used.
    """

    def __init__(self, folder: Path, bundle_id: str, given: Mapping[str, Levels], say: Callable[[str], None]) -> None:
        self._path, self._say = folder / f"{bundle_id[:12]}.json", say
        self._given = dict(given)
        self._own: dict[str, Levels] = {}
        self._first: dict[str, list[float]] = {name: [] for name in NAMES}  # on their way to be a reference
        self._window: dict[str, deque[float]] = {name: deque(maxlen=WINDOW) for name in NAMES}
        self._unsaved = 0
        self._recover()
        self.looks = self._looked()
        self._alarms = {look.signal for look in self.looks if look.alarm}

    def __len__(self) -> int:
        """Scored radiographs in the window."""
        return len(self._window["score"])

    def reference_of(self, name: str) -> Levels | None:
        """None while the box has not seen enough radiographs."""
        return self._given.get(name) or self._own.get(name)

    def see(self, signals: Signals) -> None:
        """Take a radiograph in. Raises DiskFailed."""
        for name, value in signals.known():
            if self.reference_of(name) is None:
                self._collect(name, value)
            self._window[name].append(value)
        self.looks = self._looked()
        self._tell()
        self._unsaved += 1
        if self._unsaved >= _SAVED_EACH:
            self.save()

    def save(self) -> None:
        """Raises DiskFailed; a full disk is only said, for nothing is lost but the numbers since."""
        kept = {
            "format": _FORMAT,
            "own": {name: levels.to_json() for name, levels in self._own.items()},
            "first": self._first,
            "window": {name: list(values) for name, values in self._window.items()},
        }
        self._unsaved = 0
        try:
            make_folder(self._path.parent)
            write_durably(self._path, json.dumps(kept).encode())
        except DiskFailed:
            raise
        except StateError as fault:
            self._say(f"what drift is seen by could not be saved: {fault}")

    def _collect(self, name: str, value: float) -> None:
        first = self._first[name]
        first.append(value)
        if len(first) >= OWN_REFERENCE:
            self._own[name] = Levels.of(first, KINDS.get(name))
            self._first[name] = []
            self._window[name].clear()  # it was of the same radiographs
            self._say(f"drift of {name} is measured against this box's first {OWN_REFERENCE} radiographs from now on")

    def _looked(self) -> tuple[DriftLook, ...]:
        looks = []
        for name in NAMES:
            levels, values = self.reference_of(name), self._window[name]
            if levels is not None and len(values) >= LEAST:
                looks.append(DriftLook(name, levels.distance(list(values)), levels.limit(len(values))))
        return tuple(looks)

    def _tell(self) -> None:
        alarms = {look.signal for look in self.looks if look.alarm}
        for look in self.looks:
            if look.signal in alarms - self._alarms:
                self._say(
                    f"drift: {look.signal} of the last {len(self._window[look.signal])} radiographs lies "
                    f"{look.distance:.2f} from the reference, the limit is {look.limit:.2f}; find out what has "
                    "changed, see docs/trust.md"
                )
        for name in sorted(self._alarms - alarms):
            self._say(f"drift of {name} is over")
        self._alarms = alarms

    def _recover(self) -> None:
        try:
            self._take_over(read_json(self._path.read_bytes()))
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as fault:
            self._say(f"what drift is seen by cannot be read ({type(fault).__name__}); the box begins to collect anew")

    def _take_over(self, kept: Any) -> None:
        if kept["format"] != _FORMAT:
            raise ValueError(kept["format"])
        own = {name: levels_from_json(told) for name, told in kept["own"].items() if name in NAMES}
        first = {name: [number(value) for value in kept["first"].get(name, ())] for name in NAMES}
        window = {name: [number(value) for value in kept["window"].get(name, ())] for name in NAMES}
        self._own = own
        self._first = {name: values if name not in own else [] for name, values in first.items()}
        for name in NAMES:
            self._window[name].extend(window[name])
