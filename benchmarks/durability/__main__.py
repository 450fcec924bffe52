"""The long form of the proof and the soak, as `make durability` and `make soak` run them."""

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.durability import faults, kills, power, strace
from benchmarks.durability.crew import Tally
from benchmarks.durability.in_place import read_beside
from benchmarks.durability.load import Load, kill_under_load
from benchmarks.durability.mutants import CAUGHT_BY
from benchmarks.durability.radiographs import small_set
from benchmarks.durability.soak import soak, start_with
from benchmarks.machine import describe_machine
from edge.values import AFTER

RESULTS = Path("benchmarks/results/durability")
_out = click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Result folder.")


@click.group()
def main() -> None:
    """The proof that nothing is lost. Example: python -m benchmarks.durability proof"""
    if not strace.is_installed():
        raise click.UsageError("strace is missing; install it, as with: apt-get install -y strace")


@main.command()
@click.option("--only", multiple=True, type=click.Choice(("kills", "power", "faults", "load", "mutants")),
              help="A part, may be repeated  [all].")  # fmt: skip
@click.option("--states", default=1200, show_default=True, help="Power cuts to try.")
@click.option("--load-kills", default=1000, show_default=True, help="Random kills under load.")
@_out
def proof(only: tuple[str, ...], states: int, load_kills: int, out: Path) -> None:
    """Kills, power cuts, failing calls, load, mutants. Example: python -m benchmarks.durability proof --only kills"""
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "kills": _every_kill,
        "power": lambda: _power_cuts(states),
        "faults": _every_fault,
        "load": lambda: _loads(load_kills),
        "mutants": catch_mutants,
    }
    good = True
    for name in only or parts:
        started = time.monotonic()
        answer = parts[name]()
        good = _keep(out, name, answer, time.monotonic() - started) and good
    sys.exit(0 if good else 1)


@main.command("soak")
@click.option("--count", default=100_000, show_default=True, help="Radiographs.")
@click.option("--cases", default=1_000_000, show_default=True, help="Cases in the ledger whose start is timed.")
@_out
def soak_command(count: int, cases: int, out: Path) -> None:
    """Many radiographs through one box. Example: python -m benchmarks.durability soak --count 5000"""
    started = time.monotonic()
    answer: dict[str, Any] = {}
    for after in ("archive", "keep"):
        print(f"soak: {count} radiographs, after = {after}", file=sys.stderr)
        answer[after] = soak(count, after=after)
    print(f"soak: a ledger of {cases} cases", file=sys.stderr)
    answer["start"] = start_with(cases)
    sys.exit(0 if _keep(out, "soak", answer, time.monotonic() - started) else 1)


def catch_mutants() -> dict[str, Any]:
    """Each mutant, and whether the proof that is named for it noticed."""
    catchers: dict[str, Callable[[str], Tally]] = {
        "power": power.catch,
        "kills": kills.catch,
        "reader": lambda mutant: read_beside(3000, mutant=mutant),
    }
    answer = {}
    for mutant, by in CAUGHT_BY.items():
        tally = catchers[by](mutant)
        answer[mutant] = {"caught": bool(tally.found), "by": by, "after": dict(tally.did), "how": tally.found.lines[:1]}
        print(f"mutants: {mutant} {'caught' if tally.found else 'NOT CAUGHT'} by {by}", file=sys.stderr)
    return answer


def _every_kill() -> dict[str, Any]:
    return {after: kills.prove_kills(kills.every_kill(after, small_set()), title=f"kills, {after}").as_json()
            for after in AFTER}  # fmt: skip


def _power_cuts(states: int) -> dict[str, Any]:
    """More moments than states, since many leave the same; as many again after a run that was killed."""
    answer = {}
    for number, after in enumerate(AFTER):
        each = states // len(AFTER)
        outages = [power.Outage(after, 100 * number + run, each // 8) for run in range(8)]
        seeded = enumerate(power.KILLED_FIRST)
        outages += [power.Outage(after, 1000 + seed, each // len(power.KILLED_FIRST), first) for seed, first in seeded]
        answer[after] = power.prove_power(outages, title=f"power cuts, {after}").as_json()
    return answer


def _every_fault() -> dict[str, Any]:
    return {after: faults.prove_faults(faults.every_fault(after), title=f"faults, {after}").as_json()
            for after in AFTER}  # fmt: skip


def _loads(load_kills: int) -> dict[str, Any]:
    return {after: kill_under_load(Load(load_kills // len(AFTER) + 1, after), title=f"load, {after}").as_json()
            for after in AFTER}  # fmt: skip


def _is_good(told: dict[str, Any]) -> bool:
    clean = not any(told.get(kind) for kind in ("lost", "duplicated", "partial"))
    return clean and told.get("caught", True) and all(told.get("within", {}).values())


def _keep(out: Path, name: str, answer: dict[str, Any], spent_s: float) -> bool:
    """Write it down; False when something was lost, twice, half or beyond its limit, or a mutant got away."""
    wrong = [part for part, told in answer.items() if not _is_good(told)]
    machine = describe_machine("python -m benchmarks.durability")
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    document = {"machine": machine, "date": when, "seconds": round(spent_s, 1), "good": not wrong, name: answer}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{name}: {'all well' if not wrong else 'wrong: ' + ', '.join(wrong)}, {spent_s:.0f} s", file=sys.stderr)
    return not wrong


if __name__ == "__main__":
    main()
