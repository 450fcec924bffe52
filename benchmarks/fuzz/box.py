"""The campaign through the daemon: waves of spoiled files and traps, each checked in turn; can be broken off."""

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import numpy as np

from benchmarks.fuzz.canary import holds_canary, sightings
from benchmarks.fuzz.corpus import corpus, corpus_digest
from benchmarks.fuzz.deliveries import Wave, deliver, make_secret, races, set_traps, take_traps
from benchmarks.fuzz.mutate import mutant
from benchmarks.fuzz.watched import WATCH, Watched
from edge.outputs.durable import write_durably
from edge.values import Reason

_POLL_S = 0.2
_MOST_FOUND = 50
_WARM_UP = 0.3  # of the waves; memory is watched after them
MEMORY_SLOPE_BYTES_PER_10000 = 8_000_000  # it goes up and down by 10 MB
_GROWTH_BYTES = 60_000_000  # what a short run may take more after its warm-up
_LONG_FILES = 10_000


@dataclass(frozen=True)
class BoxCampaign:
    """folder: holds all of it, and where it stands. patience_s: without a new result for so long, the rest is lost."""

    folder: Path
    count: int
    bundle: str = "phantom"
    seed: int = 2
    wave_files: int = 500
    race_s: float = 1.0
    patience_s: float = 60.0
    command: tuple[str, ...] = WATCH


@dataclass
class Seen:
    """waves: how many are through. found: each violation as kind and text. memory: (files, bytes) after each wave since
    the daemon last started."""

    waves: int = 0
    files: int = 0
    owed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    spent_s: float = 0.0
    memory: list[tuple[int, int]] = field(default_factory=list)
    found: list[tuple[str, str]] = field(default_factory=list)

    def note(self, kind: str, told: str) -> None:
        if len(self.found) < _MOST_FOUND:
            self.found.append((kind, told))

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "outcomes": dict(self.outcomes)}


def run_box(campaign: BoxCampaign, *, show: Callable[[Seen], None] = lambda seen: None) -> Seen:
    """All waves that are not through; the daemon is started anew where it was broken off."""
    incoming, state, aside, log = (campaign.folder / name for name in ("incoming", "state", "aside", "log"))
    seen = _resumed(campaign)
    for folder in (incoming, aside):  # a wave that was broken off is delivered anew, traps and all
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    secret = make_secret(campaign.folder / "outside")
    waves = _waves(campaign)
    owed = set(_ledger(state)) if seen.waves else set()  # of waves that are through, and have been checked
    seen.memory.clear()
    with Watched(incoming, state, log, bundle=campaign.bundle, command=campaign.command) as daemon:
        for number, numbers in list(enumerate(waves))[seen.waves :]:
            started_s = time.monotonic()
            wave, rng = Wave(), random.Random(f"{campaign.seed}/{number}")
            with races(incoming, aside, secret, number, wave):
                set_traps(incoming, secret, rng, wave)
                deliver([mutant(corpus(), campaign.seed, each) for each in numbers], incoming, aside, rng, wave)
                time.sleep(campaign.race_s)
            owed |= wave.owed
            _wait_for(owed, state, daemon, campaign, seen)
            take_traps(wave)
            _check_wave(daemon, state, owed, seen)
            seen.waves, seen.files = number + 1, numbers.stop
            seen.spent_s += time.monotonic() - started_s
            _save(campaign, seen)
            show(seen)
            if not daemon.alive:
                break
        seen.asked, deaf = seen.asked + daemon.asked, daemon.deaf
        if deaf and daemon.alive:
            seen.note("deaf", f"/livez was not answered {deaf} of {daemon.asked} times")
        code = daemon.end()
    if code != 0:
        seen.note("exited", f"the daemon ended with {code}")
    _check_end(campaign, state, log, incoming, seen)
    seen.owed = len(owed)
    return seen


def _waves(campaign: BoxCampaign) -> Sequence[range]:
    return [range(start, min(campaign.count, start + campaign.wave_files))
            for start in range(0, campaign.count, campaign.wave_files)]  # fmt: skip


def _wait_for(owed: set[str], state: Path, daemon: Watched, campaign: BoxCampaign, seen: Seen) -> None:
    """Until all have their row, or nothing has come for too long."""
    count, last_s = -1, time.monotonic()
    while daemon.alive:
        rows = _ledger(state)
        missing = owed - rows.keys()
        if not missing:
            return
        if len(rows) != count:
            count, last_s = len(rows), time.monotonic()
        elif time.monotonic() - last_s > campaign.patience_s:
            for sha256 in sorted(missing)[:10]:
                seen.note("lost", f"{len(missing)} files have no result, such as {sha256[:16]}")
            owed -= missing  # told once
            return
        time.sleep(_POLL_S)


def _check_wave(daemon: Watched, state: Path, owed: set[str], seen: Seen) -> None:
    if not daemon.alive:
        seen.note("exited", "the daemon ended by itself")
        return
    told = daemon.ask("/metrics")
    if told is None or holds_canary(told):
        seen.note("leak" if told else "deaf", f"/metrics: {told!r}"[:200])
    seen.memory.append((len(owed), daemon.memory_bytes()))
    for sha256 in _ledger(state).keys() - owed:
        seen.note("stranger", f"{sha256[:16]} has a result and was never delivered")


def _check_end(campaign: BoxCampaign, state: Path, log: Path, incoming: Path, seen: Seen) -> None:
    rows, results = _ledger(state), Counter(path.stem for path in state.glob("results/*/*.json"))
    named = {sha256[:16]: reason for sha256, reason in rows.items()}
    for case_id, count in results.items():
        if count > 1 or case_id not in named:
            seen.note("twice" if count > 1 else "stranger", f"{case_id} has {count} results")
    for case_id in named.keys() - results.keys():
        seen.note("lost", f"{case_id} has a row and no result")
    for path in state.glob("results/*/*.json"):
        _check_report(path, seen)
    seen.outcomes = Counter(reason or "scored" for reason in rows.values())
    for sighted in sightings(state, but=("archive", "quarantine")):
        seen.note("leak", f"{sighted.where}: {sighted.around}"[:300])
    if holds_canary(log.read_bytes()):
        seen.note("leak", "the log holds a canary")
    left = [path for path in incoming.rglob("*") if path.is_file() and not path.name.startswith(".")]
    if left:
        seen.note("lost", f"{len(left)} files lie in the folder still")
    growth = memory_growth(seen.memory)
    if growth is not None and not _is_flat(growth):
        seen.note("memory", f"the daemon grew: {growth}")


def _is_flat(growth: dict[str, int]) -> bool:
    """Over few files a slope is noise."""
    if growth["files"] >= _LONG_FILES:
        return growth["per_10000"] <= MEMORY_SLOPE_BYTES_PER_10000
    return growth["grown"] <= _GROWTH_BYTES


def _check_report(path: Path, seen: Seen) -> None:
    """Valid JSON of a closed set of states; what is not scored carries no number."""
    try:
        report = json.loads(path.read_bytes())
        scored = report["status"] == "scored"
        sound = report["case_id"] == path.stem and report["status"] in ("scored", "not_scored")
        sound &= scored == (report["reason"] is None) and (scored or Reason(report["reason"]) is not None)
        sound &= scored or (report.get("score") is None and report.get("positive") is None)
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        seen.note("invalid", f"{path.name} is no sound result")


def memory_growth(memory: Sequence[tuple[int, int]]) -> dict[str, int] | None:
    """After the warm-up: bytes per 10,000 files by a straight line, and the last against the first. None when short."""
    warm = list(memory)[int(len(memory) * _WARM_UP) :]
    if len(warm) < 2:
        return None
    slope, _ = np.polyfit([files for files, _ in warm], [size for _, size in warm], 1)
    files, grown = (last - first for first, last in zip(warm[0], warm[-1], strict=True))
    return {"per_10000": round(float(slope) * 10_000), "grown": grown, "files": files}


def _ledger(state: Path) -> dict[str, str | None]:
    """Digest -> reason of every case."""
    connection = apsw.Connection(str(state / "ledger.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(10_000)
        query = "SELECT sha256, json_extract(report, '$.reason') FROM cases"
        return dict(connection.execute(query).fetchall())
    finally:
        connection.close()


def _resumed(campaign: BoxCampaign) -> Seen:
    path = campaign.folder / "state.json"
    if not path.exists():
        shutil.rmtree(campaign.folder, ignore_errors=True)
        return Seen()
    told = json.loads(path.read_text(encoding="utf-8"))
    if told["key"] != _key(campaign):
        raise ValueError("the campaign in hand has another corpus, seed or wave; finish it, or start with --fresh")
    seen = told["seen"]
    lists = {name: [tuple(one) for one in seen[name]] for name in ("memory", "found")}
    return Seen(**{**seen, **lists, "outcomes": Counter(seen["outcomes"])})


def _save(campaign: BoxCampaign, seen: Seen) -> None:
    told = {"key": _key(campaign), "seen": seen.as_json()}
    write_durably(campaign.folder / "state.json", json.dumps(told).encode())


def _key(campaign: BoxCampaign) -> list[object]:
    return [corpus_digest(corpus()), campaign.seed, campaign.wave_files]
