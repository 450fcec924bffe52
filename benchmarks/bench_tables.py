"""A measurement on a terminal: tables of the engine (in trtexec's words), the stages, the daemon, and of ratios."""

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.against import Comparison
from benchmarks.backlog import Backlog
from benchmarks.measurement import Measured
from benchmarks.process_tree import Usage
from benchmarks.reaction import Reaction
from benchmarks.spread import Spread

_SPREAD = ("count", "min", "mean", "median", "±", "p90", "p95", "p99", "max")
_WIDTH = 110  # where the output is no terminal
UNSURE = 0.05  # of a median
_BUSY = 0.5  # of the cores, by others, before anything was measured


def print_measured(measured: Measured) -> None:
    engine = measured.engine
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    told = f"{engine.backend} {engine.precision}"
    if measured.engine_rows:
        title = f"Engine alone, {told}, {measured.effort.requests} in flight; Throughput, and Latency in ms"
        console.print(_engine_table(measured, title))
    stages = ((one.stage, one.spread) for one in measured.latencies)
    console.print(_spread_table("stage", f"One radiograph, {told}; Latency in ms", stages))
    console.print(f"start-up {measured.start_s:.2f} s; {_memory(measured.memory)}")
    if measured.reaction is not None:
        _print_reaction(console, measured.reaction)
    if measured.backlog is not None:
        _print_backlog(console, measured.backlog)


def print_comparison(comparison: Comparison) -> None:
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    title = f"Medians now and before; a ratio counts as worse beyond {comparison.margin:.0%}"
    for difference in comparison.differences:
        title += f"\nnot judged: {difference}"
    for change in comparison.changed:
        title += f"\n{change}"
    table = Table("figure", "before", "now", "now / before", "", title=title)
    for ratio in comparison.ratios:
        verdict = "" if ratio.judged and not comparison.differences else "not judged"
        verdict = "worse" if ratio in comparison.worse else verdict
        table.add_row(ratio.figure, f"{ratio.before:.4g}", f"{ratio.now:.4g}", f"{ratio.ratio:.3f}", verdict)
    console.print(table)


def doubts(measured: Measured, cores: int) -> Iterator[str]:
    """Why the figures should not be trusted yet."""
    if measured.load_before > _BUSY * cores:
        yield f"the machine was busy before ({measured.load_before:.1f} waiting or running); measure on a quiet one"
    named = {one.stage: one.spread for one in measured.latencies if one.stage == "total"}
    named |= {f"engine, batch {row.batch}": row.latency for row in measured.engine_rows}
    if measured.reaction is not None:
        named["reaction"] = measured.reaction.reaction
    for name, spread in named.items():
        width = spread.median_half_width
        if width is None:
            yield f"how well the median of {name} is known cannot be told from {spread.count} runs; give more --runs"
        elif width > UNSURE:
            yield f"the median of {name} is known to ±{width:.0%} only; give more --runs, or a quiet machine"


def _engine_table(measured: Measured, title: str) -> Table:
    table = Table("batch", "qps", "radiographs/s", *_SPREAD, title=title)
    for row in measured.engine_rows:
        rates = (f"{row.throughput_qps:.2f}", f"{row.radiographs_per_s:.2f}")
        table.add_row(str(row.batch), *rates, *_cells(row.latency))
    return table


def _spread_table(head: str, title: str, rows: Iterator[tuple[str, Spread]]) -> Table:
    table = Table(head, *_SPREAD, title=title)
    for name, spread in rows:
        table.add_row(name, *_cells(spread))
    return table


def _print_reaction(console: Console, reaction: Reaction) -> None:
    parts = (("reaction", reaction.reaction), ("infer", reaction.infer), ("besides infer", reaction.besides_infer))
    title = f"Daemon, file complete to result visible, ms; {reaction.rate_per_s:g} radiographs/s on average"
    console.print(_spread_table("", title, iter(parts)))
    known = f" with {reaction.known_files} known files" if reaction.known_files else ""
    console.print(f"idle{known}: {reaction.idle_cpu_share:.2%} of a core over {reaction.idle_s:g} s, "
                  f"{_memory(reaction.when_idle)}; at the end {_memory(reaction.at_end)}")  # fmt: skip
    console.print(f"ready after {reaction.start_s:.2f} s; {reaction.cpu_s:.3f} s of CPU a radiograph; "
                  f"{reaction.overlapped} of {reaction.reaction.count} came while another had no result; "
                  f"disk {reaction.filesystem}")  # fmt: skip


def _print_backlog(console: Console, told: Backlog) -> None:
    rate, reachable = f"{told.radiographs_per_s:.2f}", f"{told.reachable_per_s:.2f}"
    console.print(f"daemon, {told.radiographs} waiting: {rate} radiographs/s, {told.share:.1%} of the {reachable} that "
                  f"the cores allow (engine alone {told.engine_per_s:.2f}; {told.cpu_s:.3f} s of CPU each, "
                  f"{told.engine_cpu_s:.3f} of it the engine's)")  # fmt: skip


def _cells(spread: Spread) -> list[str]:
    width = "-" if spread.median_half_width is None else f"{spread.median_half_width:.1%}"
    times = [f"{1000 * seconds:.1f}" for seconds in (spread.min_s, spread.mean_s, spread.median_s)]
    tail = [f"{1000 * seconds:.1f}" for seconds in (spread.p90_s, spread.p95_s, spread.p99_s, spread.max_s)]
    return [str(spread.count), *times, width, *tail]


def _memory(usage: Usage) -> str:
    count = "1 worker" if usage.workers == 1 else f"{usage.workers} workers"
    workers = f" and {usage.workers_rss_bytes / 1e6:.0f} MB in {count}" if usage.workers else ""
    return f"memory {usage.rss_bytes / 1e6:.0f} MB (at most {usage.peak_bytes / 1e6:.0f}){workers}"
