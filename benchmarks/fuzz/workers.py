"""The campaign through decode workers: chunks of numbers over a few processes with a worker each; can be broken off."""

import json
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.fuzz.corpus import corpus, corpus_digest
from benchmarks.fuzz.lane import Answer, Lane, Limits
from benchmarks.fuzz.mutate import Mutant, mutant
from benchmarks.fuzz.seed import Seed
from benchmarks.fuzz.tally import Tally, Violation
from edge.imaging.decoder import WORKER
from edge.outputs.durable import write_durably

CHUNK_FILES = 200
_SAVE_EACH_S = 5.0
_MOST_TOLD = 600


@dataclass(frozen=True)
class Campaign:
    """count: files. kept: the folder for what did harm. command: what starts a worker; broken ones are started so."""

    count: int
    seed: int = 1
    lanes: int = 2
    kept: Path | None = None
    limits: Limits = field(default_factory=Limits)
    command: tuple[str, ...] = WORKER

    def chunks(self) -> Iterator[range]:
        for start in range(0, self.count, CHUNK_FILES):
            yield range(start, min(self.count, start + CHUNK_FILES))


@dataclass
class Progress:
    """done: where the chunks start that are through. spent_s: time at work, over all runs."""

    corpus: str
    seed: int
    done: set[int] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)
    spent_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        told = {"corpus": self.corpus, "seed": self.seed, "done": sorted(self.done), "spent_s": self.spent_s}
        return {**told, "tally": self.tally.as_json()}


def resumed(path: Path | None, campaign: Campaign) -> Progress:
    """Where a campaign stands. Raises ValueError when the file is another campaign's."""
    fresh = Progress(corpus_digest(corpus()), campaign.seed)
    if path is None or not path.exists():
        return fresh
    told = json.loads(path.read_text(encoding="utf-8"))
    if (told["corpus"], told["seed"]) != (fresh.corpus, fresh.seed):
        raise ValueError(f"{path.name} is of another corpus or seed; finish it with that code, or start with --fresh")
    return Progress(fresh.corpus, fresh.seed, set(told["done"]), Tally.of_json(told["tally"]), told["spent_s"])


def run_workers(
    campaign: Campaign, *, state: Path | None = None, show: Callable[[Tally], None] = lambda tally: None
) -> Progress:
    """All chunks that are not through. Interrupted, it loses at most the chunks in hand; run again, it goes on."""
    progress = resumed(state, campaign)
    waiting = [chunk for chunk in campaign.chunks() if chunk.start not in progress.done][::-1]
    lanes = _start_lanes(campaign, min(campaign.lanes, len(waiting)))
    in_hand: dict[Any, range] = {}
    started_s, saved_s = time.monotonic(), 0.0
    spent_before_s = progress.spent_s
    try:
        for _, link in lanes:
            in_hand[link] = waiting.pop()
            link.send(in_hand[link])
        while in_hand:
            for link in wait(list(in_hand)):
                progress.tally += _received(link)
                progress.done.add(in_hand.pop(link).start)
                if waiting:
                    in_hand[link] = waiting.pop()
                    link.send(in_hand[link])
            progress.spent_s = spent_before_s + time.monotonic() - started_s
            show(progress.tally)
            if state is not None and time.monotonic() - saved_s > _SAVE_EACH_S:
                _save(state, progress)
                saved_s = time.monotonic()
    finally:
        if state is not None:
            _save(state, progress)
        _end_lanes(lanes)
    return progress


def _start_lanes(campaign: Campaign, count: int) -> list[tuple[Any, Any]]:
    context, lanes = multiprocessing.get_context("spawn"), []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, campaign), daemon=True)
        process.start()
        theirs.close()
        lanes.append((process, ours))
    return lanes


def _end_lanes(lanes: list[tuple[Any, Any]]) -> None:
    for _, link in lanes:
        link.close()
    for process, _ in lanes:
        process.join(20)
        process.kill()
        process.join()


def _received(link: Any) -> Tally:
    told = link.recv()
    if isinstance(told, str):
        raise RuntimeError(f"a lane of the campaign failed:\n{told}")
    return Tally.of_json(told)


def _save(state: Path, progress: Progress) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    write_durably(state, json.dumps(progress.as_json()).encode())


def _work(link: "Connection[Any, Any]", campaign: Campaign) -> None:
    """In a process of its own, until the link is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Lane(limits=campaign.limits, command=campaign.command) as lane:
            while True:
                chunk = link.recv()
                link.send(try_chunk(lane, corpus(), campaign, chunk).as_json())
    except (EOFError, BrokenPipeError):
        return
    except Exception:
        link.send(traceback.format_exc())


def try_chunk(lane: Lane, seeds: Sequence[Seed], campaign: Campaign, chunk: range) -> Tally:
    """Every file of a chunk; then its first again, which must end as it did, for a worker is to remember nothing."""
    tally = Tally()
    first: tuple[Mutant, Answer] | None = None
    for number in chunk:
        tried = mutant(seeds, campaign.seed, number)
        answer = lane.ask(tried.content)
        first = first or (tried, answer)
        note(tally, tried, answer, campaign.kept)
    if first is not None:
        tried, before = first
        again = lane.ask(tried.content)
        tally.compared += 1
        if (again.outcome, again.told) != (before.outcome, before.told):
            told = f"first {before.outcome}: {before.told}; then {again.outcome}: {again.told}"
            _add(tally, tried, "unsteady", told, campaign.kept)
    return tally


def note(tally: Tally, tried: Mutant, answer: Answer, kept: Path | None) -> None:
    tally.note(tried.number, answer.outcome, wall_s=answer.wall_s, cpu_s=answer.cpu_s, peak_bytes=answer.peak_bytes)
    tally.died.update(answer.died)
    for kind, told in answer.wrong:
        _add(tally, tried, kind, told, kept)
    if answer.died and not answer.wrong:
        told = f"{', '.join(answer.died)}; {answer.outcome}"
        tally.for_the_record.append(
            _keep(Violation("died", tried.number, tried.made_of, tried.edits, told), tried, kept)
        )


def _add(tally: Tally, tried: Mutant, kind: str, told: str, kept: Path | None) -> None:
    violation = Violation(kind, tried.number, tried.made_of, tried.edits, told[:_MOST_TOLD])
    tally.violations.append(_keep(violation, tried, kept))


def _keep(violation: Violation, tried: Mutant, kept: Path | None) -> Violation:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        (kept / f"{violation.kind}-{tried.number}.bin").write_bytes(tried.content)
        print(f"kept {violation.kind}-{tried.number}.bin: {violation.told[:120]!r}", file=sys.stderr)
    return violation
