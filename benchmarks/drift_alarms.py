"""How soon drift is noticed after a change, and how often there is an alarm without one: streams of real scores.

    python -m benchmarks.drift_alarms --data ../shared/data --cache scored --out benchmarks/results/drift-alarms.json

Each stream draws a reference of 500 radiographs and then 2,000 of the same kind, or 200 and then 400 changed ones; with
replacement, for there are fewer. `unchanged`: reference and stream from the same radiographs. `other_patients`:
the radiographs are parted by patient at random for each stream, so that the halves differ as two samples of one
hospital do. `bundle`: against the levels that the bundle brings, and of patients that they were not taken from; a
signal that it does not bring has a reference as in `unchanged`. The same measure and limits as on the box, for all
places in a stream at once.
"""

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.command import run_command
from benchmarks.drift_pictures import BUNDLES, CHANGES, Seen, learned_patients, seen_nih, seen_phantoms
from benchmarks.machine import describe_machine
from edge.bundle import open_bundle
from edge.drift import LEAST, OWN_REFERENCE, WINDOW
from edge.drift_signals import NAMES
from edge.reference_levels import Levels
from edge.statistics import Proportion

SIGNALS = NAMES[:6]  # of the picture; headers change from one value to another, all at once
UNCHANGED, CHANGED = 2_000, 400  # radiographs
NEVER = CHANGED + 1
UNCHANGED_KIND, OTHER_PATIENTS, BUNDLE = "unchanged", "other_patients", "bundle"
NOTHING: Mapping[str, Levels] = MappingProxyType({})


@dataclass(frozen=True)
class Calm:
    """Streams without a change. alarms: streams with an alarm, by signal; any: by whichever. low, high: Wilson's
    interval of the share of streams with any.
    """

    source: str
    kind: str
    streams: int
    any: int
    low: float
    high: float
    alarms: dict[str, int]


@dataclass(frozen=True)
class Delay:
    """Radiographs from a change to the first alarm of any signal. share: of the radiographs that changed.

    median, p95, most: NEVER (401) where there was none. within: streams with an alarm within WINDOW radiographs.
    signals: the median by signal.
    """

    source: str
    change: str
    share: float
    streams: int
    within: int
    median: float
    p95: float
    most: float
    signals: dict[str, float]


def first_alarm(levels: Levels, before: NDArray[np.float64], stream: NDArray[np.float64]) -> int | None:
    """How many of `stream` come until the window is beyond its limit; `before`: what came earlier. None: never."""
    values = np.concatenate([before, stream])
    classes = np.searchsorted(levels.edges, values, side="right")
    counts = np.eye(len(levels.shares))[classes].cumsum(axis=0)
    counts[WINDOW:] = counts[WINDOW:] - counts[:-WINDOW]
    held = np.minimum(np.arange(1, len(values) + 1), WINDOW)
    apart = np.abs(np.cumsum(counts / held[:, None] - np.array(levels.shares), axis=1)).max(axis=1)
    beyond = (apart > np.array([levels.limit(int(count)) for count in held])) & (held >= LEAST)
    found = np.flatnonzero(beyond[len(before) :])
    return int(found[0]) + 1 if len(found) else None


def calm(
    source: str, seen: Sequence[Seen], streams: int, *, kind: str, brought: Mapping[str, Levels] = NOTHING
) -> Calm:
    """kind: `unchanged`, `other_patients` or `bundle`. brought: levels by signal, where the bundle has some."""
    rng = np.random.default_rng(1)
    table, patients = _table(seen), np.array([one.patient for one in seen])
    names = sorted(set(patients))
    alarms, any_alarm = dict.fromkeys(SIGNALS, 0), 0
    for _ in range(streams):
        half = np.isin(patients, rng.permutation(names)[: len(names) // 2])
        known, live = (table[half], table[~half]) if kind == OTHER_PATIENTS else (table, table)
        first, stream = _drawn(rng, known, OWN_REFERENCE), _drawn(rng, live, UNCHANGED)
        rung = [
            name
            for column, name in enumerate(SIGNALS)
            for levels in (brought.get(name) or Levels.of(_there(first[:, column])),)
            if first_alarm(levels, np.empty(0), _there(stream[:, column])) is not None
        ]
        any_alarm += bool(rung)
        for name in rung:
            alarms[name] += 1
    share = Proportion(any_alarm, streams).interval
    return Calm(source, kind, streams, any_alarm, share.low, share.high, alarms)


def delay(
    source: str, change: str, plain: Sequence[Seen], changed: Sequence[Seen], share: float, streams: int
) -> Delay:
    rng = np.random.default_rng(2)
    usual, other = _table(plain), _table(changed)
    came = np.full((streams, len(SIGNALS)), NEVER)
    for number in range(streams):
        first, before = _drawn(rng, usual, OWN_REFERENCE), _drawn(rng, usual, WINDOW)
        new = np.where(rng.random((CHANGED, 1)) < share, _drawn(rng, other, CHANGED), _drawn(rng, usual, CHANGED))
        for column in range(len(SIGNALS)):
            parts = [_there(part[:, column]) for part in (first, before, new)]
            came[number, column] = first_alarm(Levels.of(parts[0]), parts[1], parts[2]) or NEVER
    soonest = came.min(axis=1)
    median = {name: float(np.median(came[:, column])) for column, name in enumerate(SIGNALS)}
    return Delay(source, change, share, streams, int((soonest <= WINDOW).sum()), float(np.median(soonest)),
                 float(np.quantile(soonest, 0.95)), float(soonest.max()), median)  # fmt: skip


def measure(
    source: str, seen: Sequence[Seen], learned: Set[str], *, calm_streams: int, changed_streams: int
) -> dict[str, object]:
    """learned: patients whose radiographs the levels of the bundle were taken from."""
    plain = [one for one in seen if one.kind == "plain"]
    unseen = [one for one in plain if one.patient not in learned]
    brought = open_bundle(BUNDLES[source]).manifest.drift
    kinds_of_calm = [UNCHANGED_KIND]
    if len(plain) >= 2 * WINDOW:  # smaller halves differ by chance alone
        kinds_of_calm.append(OTHER_PATIENTS)
    kinds = [kind for kind in (*CHANGES, "other_sources") if kind != "plain"]
    changed = {kind: [one for one in seen if one.kind == kind] for kind in kinds}
    return {
        "radiographs": {"plain": len(plain), **{kind: len(those) for kind, those in changed.items()}},
        "patients": len({one.patient for one in plain}),
        "calm": [
            *(asdict(calm(source, plain, calm_streams, kind=kind)) for kind in kinds_of_calm),
            {
                **asdict(calm(source, unseen, calm_streams, kind=BUNDLE, brought=brought)),
                "radiographs": len(unseen),
                "signals_brought": sorted(brought),
            },
        ],
        "delays": [
            asdict(delay(source, kind, plain, those, share=share, streams=changed_streams))
            for kind, those in changed.items()
            if those
            for share in (1.0, 0.3)
        ],
    }


def _table(seen: Sequence[Seen]) -> NDArray[np.float64]:
    """[radiographs, SIGNALS]; NaN where there is none."""
    return np.array([[getattr(one.signals, name) for name in SIGNALS] for one in seen], np.float64)


def _drawn(rng: np.random.Generator, table: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    return table[rng.integers(len(table), size=count)]


def _there(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[~np.isnan(values)]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), help="Folder with nih.csv and covid.csv.")
@click.option("--cache", type=click.Path(path_type=Path), required=True, help="Folder to keep what was scored in.")
@click.option("--calm-streams", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--changed-streams", type=click.IntRange(1), default=200, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the JSON to a file too.")
def main(data: Path | None, cache: Path, calm_streams: int, changed_streams: int, out: Path | None) -> None:
    """Measure on phantoms, and on real radiographs with --data."""
    sources: dict[str, tuple[list[Seen], Set[str]]] = {"phantoms": (seen_phantoms(cache), frozenset())}
    if data is not None:
        sources["nih"] = (seen_nih(data, cache), learned_patients(data))
    record = {
        "machine": describe_machine("python -m benchmarks.drift_alarms"),
        "window": WINDOW,
        "reference": OWN_REFERENCE,
        "limit": Levels((), (1.0,), OWN_REFERENCE).limit(WINDOW),
        "sources": {
            name: measure(name, seen, learned, calm_streams=calm_streams, changed_streams=changed_streams)
            for name, (seen, learned) in sources.items()
        },
    }
    text = json.dumps(record, indent=1)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    click.echo(text)


if __name__ == "__main__":
    run_command(main)
