"""The campaigns, as `make fuzz` runs them. Each can be broken off (^C) and goes on when it is started again."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.fuzz import box as daemon_campaign
from benchmarks.fuzz import guided as by_coverage
from benchmarks.fuzz.corpus import corpus
from benchmarks.fuzz.lane import Lane
from benchmarks.fuzz.mutate import mutant
from benchmarks.fuzz.workers import Campaign, run_workers
from benchmarks.machine import PACKAGES, describe_machine

WORK = Path("work/fuzz")
RESULTS = Path("benchmarks/results/fuzz")
_CODECS = ("imagecodecs", "tifffile", "pylibjpeg-openjpeg", "pyjpegls", "atheris")
_LINE_EACH_S = 30.0
_out = click.option("--out", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Result folder.")
_work = click.option("--work", type=click.Path(path_type=Path), default=WORK, show_default=True,
                     help="Folder for what is kept and for where a campaign stands.")  # fmt: skip
_fresh = click.option("--fresh", is_flag=True, help="Forget a campaign that was broken off.")


@click.group()
def main() -> None:
    """No file can hurt the box. Example: python -m benchmarks.fuzz workers --count 20000"""


@main.command()
@click.option("--count", default=1_000_000, show_default=True, help="Files.")
@click.option("--seed", default=1, show_default=True, help="Which files.")
@click.option("--lanes", default=2, show_default=True, help="Decode workers at once.")
@_fresh
@_work
@_out
def workers(count: int, seed: int, lanes: int, fresh: bool, work: Path, out: Path) -> None:
    """Spoiled files through decode workers. Example: python -m benchmarks.fuzz workers --count 20000 --lanes 2"""
    state = work / "workers.json"
    if fresh:
        state.unlink(missing_ok=True)
    with _bar("workers", count) as show:
        campaign = Campaign(count, seed, lanes, kept=work / "kept")
        try:
            progress = run_workers(
                campaign, state=state, show=lambda tally: show(tally.files, _short(tally.violations))
            )
        except ValueError as fault:
            raise click.UsageError(str(fault)) from None
    tally = progress.tally
    answer = {**tally.as_json(), "corpus": progress.corpus, "corpus_files": len(corpus()), "seed": seed}
    answer["files_per_s"] = round(tally.files / max(progress.spent_s, 1e-9), 1)
    _end(out, "workers", answer, progress.spent_s, good=not tally.violations)


@main.command()
@click.option("--count", default=20_000, show_default=True, help="Files.")
@click.option("--seed", default=2, show_default=True, help="Which files.")
@click.option("--bundle", default="phantom", show_default=True, help="Model bundle of the daemon.")
@_fresh
@_work
@_out
def box(count: int, seed: int, bundle: str, fresh: bool, work: Path, out: Path) -> None:
    """Spoiled files and traps through the daemon. Example: python -m benchmarks.fuzz box --count 2000"""
    folder = work / "box"
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    with _bar("box", count) as show:
        campaign = daemon_campaign.BoxCampaign(folder, count, bundle, seed)
        try:
            seen = daemon_campaign.run_box(campaign, show=lambda seen: show(seen.files, _short(seen.found)))
        except ValueError as fault:
            raise click.UsageError(str(fault)) from None
    answer = {**seen.as_json(), "memory_growth": daemon_campaign.memory_growth(seen.memory), "seed": seed}
    _end(out, "box", answer, seen.spent_s, good=not seen.found)


@main.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@_work
@_out
def guided(minutes: float, work: Path, out: Path) -> None:
    """Files that follow coverage (atheris). Example: python -m benchmarks.fuzz guided --minutes 10"""
    if not by_coverage.is_installed():
        raise click.UsageError(by_coverage.MISSING)
    started_s = time.monotonic()
    answer = vars(by_coverage.follow(work / "guided", minutes))
    _end(out, "guided", answer, time.monotonic() - started_s, good=not answer["crashes"])


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--seed", default=1, show_default=True, help="With a number in place of FILE: the campaign's seed.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the file's bytes here.")
def replay(file: Path, seed: int, save: Path | None) -> None:
    """One file, kept or by its number, through a worker. Example: python -m benchmarks.fuzz replay 4711 --save file"""
    if file.name.isdecimal() and not file.exists():
        made = mutant(corpus(), seed, int(file.name))
        content = made.content
        print(f"made of {made.made_of} by {', '.join(made.edits)}")
    else:
        content = file.read_bytes()
    if save is not None:
        save.write_bytes(content)
    with Lane() as lane:
        answer = lane.ask(content)
    print(f"{answer.outcome}: {answer.told}")
    print(f"{answer.wall_s:.3f} s, {answer.cpu_s:.3f} s of a processor, {answer.peak_bytes} bytes at most")
    print(f"died: {answer.died or 'no'}; wrong: {answer.wrong or 'nothing'}")
    sys.exit(1 if answer.wrong else 0)


def _short(found: list[Any]) -> str:
    return f"{len(found)} violations" if found else "no violation"


@contextmanager
def _bar(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar on a terminal; elsewhere a line now and then, as for nohup."""
    if not sys.stderr.isatty():
        yield _lines(title, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done, told: progress.update(task, completed=done, description=f"{title}: {told}")


def _lines(title: str, total: int) -> Callable[[int, str], None]:
    last_s = 0.0

    def show(done: int, told: str) -> None:
        nonlocal last_s
        if time.monotonic() - last_s > _LINE_EACH_S or done >= total:
            last_s = time.monotonic()
            print(f"{title}: {done} of {total}, {told}", file=sys.stderr, flush=True)

    return show


def _end(out: Path, name: str, answer: dict[str, Any], spent_s: float, *, good: bool) -> None:
    machine = describe_machine("python -m benchmarks.fuzz", (*PACKAGES, *_CODECS))
    document = {"machine": machine, "date": datetime.now(UTC).strftime("%Y-%m-%d"), "seconds": round(spent_s, 1)}
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(
        json.dumps({**document, "good": good, **answer}, indent=1) + "\n", encoding="utf-8"
    )
    print(f"{name}: {'all well' if good else 'violations'}, {spent_s:.0f} s", file=sys.stderr)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
