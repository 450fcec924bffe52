"""The report of benchmarks/peers.py: JSON with every figure, a table for people, targets, a second run's ratios."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.race import Outcome, Ratio, Row
from edge.errors import UsageError

MOST_APART = 0.15  # of a ratio between two runs
MOST_OVERHEAD_S = 0.040  # decoding, preprocessing and all else but the engine, on one core
# Names that targets are about: of peers in any race.
OURS, ORT_INT8, EAGER, WHOLE = "OpenVINO int8 (ours)", "ONNX Runtime int8", "torch eager", "the box, path to report"
TARGETS = ((ORT_INT8, 3.0), (EAGER, 6.0))  # times as fast, at least
HOW = (
    "Every peer is open in a process of its own that stays, with as many threads as it chooses. Each round asks all of "
    "them, one after the other, beginning with another one each time; a peer's figure in a round is the median of its "
    "calls. A ratio is the median over rounds of the peer's time by the baseline's in the same round, its interval a "
    "bootstrap over rounds (95 %)."
)


@dataclass(frozen=True)
class Report:
    """facts: of each race, beside its figures."""

    machine: dict[str, object]
    rounds: int
    outcomes: tuple[Outcome, ...] = ()
    facts: tuple[dict[str, object], ...] = field(default=())

    def joined(self, outcome: Outcome, facts: dict[str, object]) -> "Report":
        return replace(self, outcomes=(*self.outcomes, outcome), facts=(*self.facts, facts))


def write_report(report: Report, path: Path) -> None:
    races = [{**asdict(outcome), **facts} for outcome, facts in zip(report.outcomes, report.facts, strict=True)]
    document = {
        "machine": report.machine,
        "how": HOW,
        "rounds": report.rounds,
        "targets": verdict_lines(report),
        "races": races,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> Report:
    """Raises UsageError when the file is not what write_report wrote."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        outcomes = tuple(_outcome(race) for race in document["races"])
        return Report(document["machine"], document["rounds"], outcomes, tuple({} for _ in outcomes))
    except (ValueError, KeyError, TypeError) as fault:
        raise UsageError(f"the earlier run's file is no report of peers ({type(fault).__name__}); name one") from None


def _outcome(race: Mapping[str, Any]) -> Outcome:
    rows = []
    for told in race["rows"]:
        ratio = told["ratio"]
        rows.append(Row(**{**told, "ratio": ratio and Ratio(**ratio), "rounds_s": tuple(told["rounds_s"])}))
    return Outcome(race["race"], race["cores"], race["calls"], tuple(rows))


def table(outcome: Outcome) -> Iterator[str]:
    yield ""
    yield outcome.race + (f", on {outcome.cores} core" if outcome.cores else "")
    for row in outcome.rows:
        yield f"  {row.peer:34} {_figures(row)}"


def _figures(row: Row) -> str:
    if row.median_s is None or row.ratio is None:
        return row.failure or "not compared: the baseline was not measured"
    interval = "" if row.ratio.low is None else f" ({row.ratio.low:.2f} to {row.ratio.high:.2f})"
    differs = "" if row.difference_max is None else f", differs by {row.difference_max:.4g}"
    spent = f"{row.median_s * 1e3:9.1f} ms, of processors {(row.cpu_s or 0) * 1e3:9.1f} ms"
    return f"{spent}  x {row.ratio.value:.2f}{interval}{differs}"


def verdict_lines(report: Report) -> list[str]:
    """Targets that these races can answer. Those of the engine are judged by the near end of the interval, if any."""
    lines: list[str] = []
    for outcome, facts in zip(report.outcomes, report.facts, strict=True):
        lines += [*_engine_lines(outcome), *_overhead_lines(outcome), *_decoder_lines(outcome, facts)]
    return lines


def _engine_lines(outcome: Outcome) -> Iterator[str]:
    for peer, least in TARGETS:
        row = outcome.row(peer)
        if row is None:
            continue
        target = f"{outcome.race}: {OURS} at least {least:g} times as fast as {peer}"
        if row.ratio is None:
            yield f"not measured: {target} ({row.failure or 'no ratio'})"
            continue
        met = (row.ratio.low or row.ratio.value) >= least
        yield f"{'met' if met else 'NOT met'}: {target}; it is {row.ratio.value:.2f}"


def _overhead_lines(outcome: Outcome) -> Iterator[str]:
    row = outcome.row(WHOLE)
    if row is None:
        return
    target = f"{outcome.race}: everything but the engine at most {MOST_OVERHEAD_S * 1e3:g} ms on one core"
    if row.median_s is None:
        yield f"not measured: {target} ({row.failure})"
        return
    yield f"{'met' if row.median_s <= MOST_OVERHEAD_S else 'NOT met'}: {target}; it is {row.median_s * 1e3:.1f} ms"


def _decoder_lines(outcome: Outcome, facts: Mapping[str, Any]) -> Iterator[str]:
    """The fastest decoder that could be taken instead of the box's, where one clearly is faster."""
    fit = [name for name, safety in facts.get("safety", {}).items() if safety["safe"]]
    timed = [(row.ratio.value, row.peer) for row in outcome.rows if row.ratio is not None and row.peer in fit]
    if not timed:
        return
    ratio, name = min(timed)
    if ratio > 1 - MOST_APART:
        yield f"met: {outcome.race}: no decoder that refuses damaged frames as well is clearly faster than the box's"
    else:
        yield f"NOT met: {outcome.race}: {name} refuses damaged frames as well and takes {ratio:.2f} of the box's time"


def apart(report: Report, earlier: Report) -> list[str]:
    """Ratios that are more than 15 % off the earlier run's, or that only one of the two runs has; of shared races."""
    before = {outcome.race: outcome for outcome in earlier.outcomes}
    shared = [outcome for outcome in report.outcomes if outcome.race in before]
    if not shared:
        return ["the earlier run has none of these races"]
    return [line for outcome in shared for line in _apart(outcome.rows, before[outcome.race])]


def _apart(rows: Sequence[Row], before: Outcome) -> Iterator[str]:
    for row in rows:
        other = before.row(row.peer)
        now, then = row.ratio, other.ratio if other else None
        if now is not None and then is not None:
            if abs(now.value / then.value - 1) > MOST_APART:
                yield f"{before.race}, {row.peer}: {then.value:.2f} then, {now.value:.2f} now"
        elif now is not None or then is not None:
            yield f"{before.race}, {row.peer}: measured in one of the two runs"
