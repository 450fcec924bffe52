"""The simulation of drift uses the box's own measure: it rings where a Drift would, radiograph for radiograph."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift_alarms import BUNDLE, UNCHANGED_KIND, calm, delay, first_alarm
from benchmarks.drift_pictures import CHANGES, Seen
from edge.drift import Drift
from edge.drift_signals import Signals
from edge.reference_levels import Levels


def signals(brightness: float) -> Signals:
    return Signals(0.5, 0.5, 0.3, brightness, 0.2, 0.4, 0.0, 0.0, 0.0, 0.0)


def seen(kind: str, mean: float, count: int = 300) -> list[Seen]:
    rng = np.random.default_rng(round(mean * 100))
    return [Seen(kind, f"{number}", varied(rng, mean)) for number in range(count)]


def varied(rng: np.random.Generator, mean: float) -> Signals:
    values = rng.normal(0.5, 0.1, 6).tolist()
    return replace(Signals(*values, view=0.0, lossy=0.0, format=0.0, refused=0.0), brightness=rng.normal(mean, 0.1))


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2])
def test_the_first_alarm_is_where_the_box_has_it(shift: float, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    levels = Levels.of(rng.normal(0.5, 0.1, 500).tolist())
    before, after = rng.normal(0.5, 0.1, 200).round(4), rng.normal(0.5 + shift, 0.1, 150).round(4)
    drift = Drift(tmp_path, "b" * 64, {"brightness": levels}, lambda line: None)

    def rings() -> Iterator[int]:
        for number, value in enumerate([*before, *after]):
            drift.see(signals(float(value)))
            if number >= len(before) and any(look.alarm for look in drift.looks):
                yield number - len(before) + 1

    assert first_alarm(levels, before, after) == next(rings(), None)


def test_a_shift_is_noticed_and_calm_is_kept() -> None:
    plain, dark = seen("plain", 0.5), seen("gamma", 0.3)
    told = delay("made", "gamma", plain, dark, share=1.0, streams=5)
    assert told.within == told.streams == 5
    assert told.signals["brightness"] == told.median < 100
    assert calm("made", plain, 5, kind=UNCHANGED_KIND).any == 0


def test_a_bundle_that_brings_other_levels_rings_on_unchanged_radiographs() -> None:
    plain = seen("plain", 0.5)
    darker = Levels.of([one.signals.brightness - 0.2 for one in plain if one.signals.brightness is not None])
    told = calm("made", plain, 5, kind=BUNDLE, brought={"brightness": darker})
    assert (told.any, told.alarms["brightness"], told.alarms["contrast"]) == (5, 5, 0)


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_a_changed_picture_is_a_picture(kind: str) -> None:
    grey = np.random.default_rng(0).random((64, 64), np.float32)
    changed = CHANGES[kind](grey)
    assert changed.shape == grey.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert (kind == "plain") == np.allclose(changed, grey)
