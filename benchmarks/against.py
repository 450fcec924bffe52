"""A measurement against an earlier one: ratios, and whether one is worse by more than a margin.

Ratios of two machines, bundles or engines say nothing about the software: they are shown on request, never judged.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.latency import TOTAL
from benchmarks.measurement import SCHEMA
from edge.errors import EdgeError, UsageError

_MACHINE = ("processor", "cores", "memory_bytes", "system")
_ENGINE = ("bundle_id", "backend", "precision")


class Slower(EdgeError):
    """A figure is worse than before by more than the margin."""


@dataclass(frozen=True)
class Ratio:
    """before, now: seconds, bytes, or radiographs a second where more_is_better. judged: whether it can fail."""

    figure: str
    before: float
    now: float
    more_is_better: bool = False
    judged: bool = True

    @property
    def ratio(self) -> float:
        """Now over before."""
        return self.now / self.before if self.before else float("inf" if self.now else 1)

    def is_worse(self, margin: float) -> bool:
        return self.ratio < 1 / (1 + margin) if self.more_is_better else self.ratio > 1 + margin


@dataclass(frozen=True)
class Comparison:
    """differences: why the two are no measurements of the same thing; then nothing is judged. changed: versions."""

    ratios: tuple[Ratio, ...]
    differences: tuple[str, ...]
    changed: tuple[str, ...]
    margin: float

    @property
    def worse(self) -> tuple[Ratio, ...]:
        judged = [ratio for ratio in self.ratios if ratio.judged and ratio.is_worse(self.margin)]
        return () if self.differences else tuple(judged)

    def as_record(self) -> dict[str, Any]:
        """For JSON."""
        worse = [ratio.figure for ratio in self.worse]
        ratios = [{**asdict(ratio), "ratio": ratio.ratio} for ratio in self.ratios]
        return {**asdict(self), "ratios": ratios, "worse": worse}

    def require(self) -> None:
        """Raises Slower naming every figure that is beyond the margin."""
        if self.worse:
            named = "; ".join(f"{ratio.figure} {ratio.ratio:.2f} times" for ratio in self.worse)
            raise Slower(
                f"worse than before by more than {self.margin:.0%}: {named}. Measure both again on a quiet machine"
            )


def read_earlier(path: Path) -> dict[str, Any]:
    """Raises UsageError when the file is no measurement of this kind."""
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        read = None
    told = read.get("schema") if isinstance(read, dict) else None
    if told != SCHEMA:
        raise UsageError(f"--compare names a file of schema {told}, not {SCHEMA}; measure again with --output")
    return dict(read)


def require_same_machine(before: dict[str, Any], machine: dict[str, object], *, anyway: bool) -> None:
    """Before minutes are spent on measuring. Raises UsageError."""
    differing = [*_differing("machine", before["machine"], machine, _MACHINE)]
    if differing and not anyway:
        raise UsageError(_refusal(differing))


def compare(before: dict[str, Any], now: dict[str, Any], *, margin: float, anyway: bool = False) -> Comparison:
    """Two documents of `edge-cxr bench`. Raises UsageError when they measure different things, unless `anyway`."""
    differences = tuple(_differences(before, now))
    if differences and not anyway:
        raise UsageError(_refusal(differences))
    versions = before["machine"]["versions"], now["machine"]["versions"]
    changed = tuple(_differing("version", *versions, (*versions[1],)))
    return Comparison(tuple(_ratios(before, now)), differences, changed, margin)


def _refusal(differing: Any) -> str:
    return f"the two do not measure the same thing: {'; '.join(differing)}. To see ratios anyway, add --anyway"


def _differences(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    yield from _differing("machine", before["machine"], now["machine"], _MACHINE)
    yield from _differing("engine", before["engine"], now["engine"], _ENGINE)
    yield from _differing("radiographs", before, now, ("files_sha256",))
    if before["reaction"] and now["reaction"]:
        yield from _differing("arrivals", before["reaction"], now["reaction"],
                              ("rate_per_s", "known_files", "filesystem"))  # fmt: skip


def _differing(what: str, before: dict[str, Any], now: dict[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if before.get(name) != now.get(name):
            yield f"{what} {name} was {before.get(name)} and is {now.get(name)}"


def _ratios(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Ratio]:
    """Of figures that both have. Stages are judged by their sum, for the short ones are mostly noise; so is a start."""
    rows = {(row["batch"], row["requests"]): row for row in before["engine_rows"]}
    for row in now["engine_rows"]:
        earlier = rows.get((row["batch"], row["requests"]))
        if earlier is not None:
            named = f"engine, batch {row['batch']}" + (f", {row['requests']} requests" if row["requests"] > 1 else "")
            yield Ratio(f"{named}, latency", _median(earlier["latency"]), _median(row["latency"]))
            yield Ratio(f"{named}, throughput", earlier["throughput_qps"], row["throughput_qps"], more_is_better=True)
    stages = {latency["stage"]: latency["spread"] for latency in before["latencies"]}
    for latency in now["latencies"]:
        stage = latency["stage"]
        yield Ratio(stage, _median(stages[stage]), _median(latency["spread"]), judged=stage == TOTAL)
    yield Ratio("start-up", before["start_s"], now["start_s"], judged=False)
    yield Ratio("memory", _memory(before["memory"]), _memory(now["memory"]))
    if before["reaction"] and now["reaction"]:
        yield from _reaction_ratios(before["reaction"], now["reaction"])
    waiting = before.get("backlog"), now["backlog"]
    if waiting[0] and waiting[1]:
        yield Ratio("daemon, throughput", *(told["radiographs_per_s"] for told in waiting), more_is_better=True)


def _reaction_ratios(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Ratio]:
    yield Ratio("reaction", _median(before["reaction"]), _median(now["reaction"]))
    yield Ratio("reaction besides infer", _median(before["besides_infer"]), _median(now["besides_infer"]))
    yield Ratio("daemon, CPU a radiograph", before["cpu_s"], now["cpu_s"])
    yield Ratio("daemon, memory", _memory(before["at_end"]), _memory(now["at_end"]))
    yield Ratio("daemon, idle CPU share", before["idle_cpu_share"], now["idle_cpu_share"], judged=False)
    yield Ratio("daemon, start-up", before["start_s"], now["start_s"], judged=False)


def _median(spread: dict[str, Any]) -> float:
    return float(spread["median_s"])


def _memory(usage: dict[str, Any]) -> float:
    return float(usage["rss_bytes"] + usage["workers_rss_bytes"])
