"""Drift: alarms when the radiographs change, silence when they do not, and a memory that survives a restart."""

import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reports import gated, refused, scored

from edge.drift import LEAST, OWN_REFERENCE, WINDOW, Drift
from edge.drift_signals import NAMES, Signals, grey_levels, observe
from edge.outputs.durable import make_folder
from edge.reference_levels import Levels
from edge.values import Crop, Decoded, ModelInput, Reason

BUNDLE = "b" * 64
REFERENCE = np.zeros((3, 128), np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "drift"


def radiographs(seed: int, *, darker: float = 0.0, **changes: float) -> Iterator[Signals]:
    rng = np.random.default_rng(seed)
    while True:
        usual = rng.normal(0.5, 0.1, 6) - np.array([0, 0, 0, darker, 0, darker])
        yield replace(Signals(*usual.tolist(), view=float(rng.random() < 0.3), lossy=0.0, format=0.0, refused=0.0),
                      **changes)  # fmt: skip


def feed(drift: Drift, source: Iterator[Signals], count: int) -> None:
    for _ in range(count):
        drift.see(next(source))


def see(drift: Drift, source: Iterator[Signals], count: int) -> int | None:
    """How many were seen when the first alarm began; None when there was none."""
    for number in range(1, count + 1):
        drift.see(next(source))
        if any(look.alarm for look in drift.looks):
            return number  # and no more are taken in
    return None


def test_the_first_radiographs_become_the_reference(folder: Path) -> None:
    said: list[str] = []
    drift = Drift(folder, BUNDLE, {}, said.append)
    source = radiographs(1)
    assert see(drift, source, OWN_REFERENCE - 1) is None
    assert (drift.looks, said) == ((), [])
    feed(drift, source, 1)
    assert len(said) == len(NAMES)
    assert said[0] == "drift of score is measured against this box's first 500 radiographs from now on"
    assert len(drift) == 1  # those of the reference are not compared with themselves
    feed(drift, source, LEAST)
    assert [look.signal for look in drift.looks] == list(NAMES)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"darker": 0.1}, "brightness"), ({"lossy": 1.0}, "lossy"), ({"view": 2.0}, "view"), ({"format": 2.0}, "format")],
)
def test_a_change_is_noticed_within_a_window_and_its_end_is_told(
    folder: Path, change: dict[str, float], named: str
) -> None:
    said: list[str] = []
    drift = Drift(folder, BUNDLE, {}, said.append)
    assert see(drift, radiographs(1), OWN_REFERENCE + 2 * WINDOW) is None
    said.clear()
    noticed = see(drift, radiographs(2, **change), WINDOW)
    assert noticed is not None
    feed(drift, radiographs(2, **change), WINDOW)
    (look,) = [look for look in drift.looks if look.signal == named]
    assert look.alarm
    assert any(f"drift: {named} of the last 200 radiographs lies 0." in line for line in said)
    feed(drift, radiographs(3), WINDOW)
    assert not any(look.alarm for look in drift.looks)
    assert f"drift of {named} is over" in said


def test_two_thousand_unchanged_ones_raise_no_alarm(folder: Path) -> None:
    drift = Drift(folder, BUNDLE, {}, lambda line: None)
    assert see(drift, radiographs(4), OWN_REFERENCE + 2000) is None


def test_refusals_that_become_frequent_are_noticed_though_nothing_is_scored(folder: Path) -> None:
    """As when a machine sends inverted pictures, and the gates refuse them."""
    drift = Drift(folder, BUNDLE, {}, lambda line: None)
    feed(drift, radiographs(1), OWN_REFERENCE + WINDOW)
    held_back = replace(next(radiographs(1)), **dict.fromkeys(NAMES[:6]), refused=1.0)
    assert see(drift, iter([held_back] * WINDOW), WINDOW) is not None
    assert [look.signal for look in drift.looks if look.alarm] == ["refused"]


def test_the_bundles_reference_counts_from_the_first_radiographs_on(folder: Path) -> None:
    given = {"brightness": Levels.of([one.brightness or 0 for one, _ in zip(radiographs(9), range(600), strict=False)])}
    drift = Drift(folder, BUNDLE, given, lambda line: None)
    assert see(drift, radiographs(1), LEAST - 1) is None
    assert drift.looks == ()
    feed(drift, radiographs(1), 1)
    assert [look.signal for look in drift.looks] == ["brightness"]
    assert see(drift, radiographs(2, darker=0.1), WINDOW) is not None


def test_all_of_it_survives_a_restart(folder: Path) -> None:
    source = radiographs(1)
    drift = Drift(folder, BUNDLE, {}, lambda line: None)
    feed(drift, source, 300)
    drift.save()
    drift = Drift(folder, BUNDLE, {}, lambda line: None)
    feed(drift, source, 200 + WINDOW)
    feed(drift, radiographs(2, darker=0.1), WINDOW)
    drift.save()
    said: list[str] = []
    again = Drift(folder, BUNDLE, {}, said.append)
    assert again.looks == drift.looks
    assert len(again) == len(drift) == WINDOW
    again.see(next(radiographs(2, darker=0.1)))
    assert said == []  # an alarm that goes on is told once
    assert Drift(folder, "c" * 64, {}, said.append).looks == ()  # another bundle begins anew


def test_it_saves_itself_and_loses_at_most_a_few_in_a_crash(folder: Path) -> None:
    drift = Drift(folder, BUNDLE, {}, lambda line: None)
    feed(drift, radiographs(1), 99)
    assert 80 <= len(Drift(folder, BUNDLE, {}, lambda line: None)) <= 99


def test_what_is_no_number_is_passed_over_and_does_not_cost_the_reference(folder: Path) -> None:
    drift = Drift(folder, BUNDLE, {}, lambda line: None)
    feed(drift, radiographs(1), OWN_REFERENCE)
    drift.see(replace(next(radiographs(2)), lung_brightness=float("nan"), embedding_distance=float("inf")))
    drift.save()
    said: list[str] = []
    again = Drift(folder, BUNDLE, {}, said.append)
    assert (said, len(again)) == ([], len(drift))
    assert again.reference_of("lung_brightness") is not None


def test_what_is_kept_is_private_and_names_nobody(folder: Path) -> None:
    drift = Drift(folder, BUNDLE, {}, lambda line: None)
    feed(drift, radiographs(1), 30)
    drift.save()
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    kept = json.loads(path.read_bytes())
    assert set(kept) == {"format", "own", "first", "window"}
    assert all(value == round(value, 4) for values in kept["window"].values() for value in values)


def of_shape(own: str, first: str) -> bytes:
    return f'{{"format": "edge-cxr/drift/1", "own": {own}, "first": {first}, "window": {{}}}}'.encode()


NO_FILES = [
    b"",
    b"{}",
    b'{"format": "edge-cxr/drift/2"}',
    b"\xff",
    b"[1]",
    of_shape("[]", "{}"),
    of_shape("{}", "[]"),
    of_shape("{}", '{"score": [1' + "0" * 400 + "]}"),  # an integer beyond every float
    b"[" * 200_000,
]


@pytest.mark.parametrize("content", NO_FILES, ids=range(len(NO_FILES)))
def test_a_file_that_cannot_be_used_is_said_and_begun_anew(folder: Path, content: bytes) -> None:
    make_folder(folder)
    (folder / f"{BUNDLE[:12]}.json").write_bytes(content)
    said: list[str] = []
    drift = Drift(folder, BUNDLE, {}, said.append)
    assert len(said) == 1
    assert "the box begins to collect anew" in said[0]
    feed(drift, radiographs(1), 5)
    drift.save()
    assert len(Drift(folder, BUNDLE, {}, said.append)) == 5
    assert len(said) == 1


def decoded(side: int = 1024) -> Decoded:
    """Half of it is padding, and the lungs of `reports.scored` are everywhere."""
    pixels = np.zeros((1, side, side), np.float32)
    pixels[0, :, side // 4 : side * 3 // 4] = np.linspace(0.25, 0.75, side // 2)
    crop = Crop(0, 0, side, side // 2, 0, side // 4, side, side // 2)
    report = scored(1)
    assert report.source is not None
    return Decoded(report.source, ModelInput(pixels, crop, "digest"))


def test_what_is_watched_of_a_radiograph() -> None:
    report = scored(1, score=0.75)
    assert report.prediction is not None
    signals = observe(decoded(), report, REFERENCE)
    assert signals is not None
    assert signals.score == 0.75
    assert signals.embedding_distance == pytest.approx(float(np.linalg.norm(report.prediction.embedding)))
    assert signals.lung_fraction == 0.31
    assert signals.brightness == pytest.approx(0.5, abs=1e-3)  # of the content; padding would make it darker
    assert signals.contrast == pytest.approx(0.5 / np.sqrt(12), abs=1e-2)
    assert signals.lung_brightness == pytest.approx(0.25, abs=1e-3)
    assert (signals.view, signals.lossy, signals.format, signals.refused) == (0, 0, 0, 0)


def test_a_calibration_does_not_look_like_drift() -> None:
    report = scored(1, score=0.75)
    assert report.prediction is not None
    calibrated = replace(report, prediction=replace(report.prediction, score=0.6, calibrated=True))
    assert observe(decoded(), calibrated, REFERENCE) == observe(decoded(), report, REFERENCE)


def test_without_lungs_nothing_is_said_of_their_brightness() -> None:
    report = scored(1)
    assert report.prediction is not None
    empty = replace(report.prediction, lung_mask=np.zeros((256, 256), np.float32))
    assert grey_levels(decoded().model_input, empty)[2] is None


def test_of_what_was_refused_only_the_header_is_watched_and_of_copies_nothing() -> None:
    report = replace(gated(1), source=scored(1).source)
    signals = observe(decoded(), report, REFERENCE)
    assert signals is not None
    assert signals.known() == [("view", 0.0), ("lossy", 0.0), ("format", 0.0), ("refused", 1.0)]
    for reason in (Reason.DUPLICATE, Reason.CONFLICT):
        assert observe(decoded(), refused(1, reason), REFERENCE) is None


def test_a_bundle_without_reference_cases_has_no_distance_to_them() -> None:
    """A daemon must not end for it."""
    signals = observe(decoded(), scored(1), REFERENCE[:0])
    assert signals is not None
    assert signals.embedding_distance is None
    assert "embedding_distance" not in dict(signals.known())
