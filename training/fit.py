"""The one training loop, for every network: steps, learning rate, early stop, checkpoints and exact resume.

What a batch costs and how good a network is are handed in; lungs.py and classify.py say so. What is kept on disk is in
checkpoints.py.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from edge.errors import UsageError
from training.checkpoints import Position, keep, kept_position, resume, write_log
from training.devices import Place
from training.model import Architecture, save_checkpoint
from training.progress import bar

Say = Callable[[str], None]
KEEP_EVERY_S = 300.0  # between two checkpoints inside a long epoch
_GRADIENT_NORM = 5.0


def quiet(line: str) -> None:
    """Says nothing: for what was said before, or would be said a hundred times."""


@dataclass(frozen=True)
class Schedule:
    """patience: epochs without a better score before it stops. batch: over all processes.

    optimiser: "adamw" (decoupled weight decay), its rate warms up for an epoch and falls as a cosine; or "adam", the
    paper's: weight_decay is an L2 term of the loss, and the rate is multiplied by `decay` after every epoch.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-2
    patience: int = 10
    seed: int = 0
    optimiser: Literal["adamw", "adam"] = "adamw"
    decay: float = 0.95


@dataclass(frozen=True)
class Task:
    """What is learned. learner: the part of the network that moves. examples: tensors of equal length on the CPU, a
    batch is the same rows of each on the learner's device. places: int64 [n], the rows that are learned from.

    loss_of: (learner, batch) -> scalar. score: goodness on the validation rows, the higher the better; the network
    is in evaluation mode then.
    """

    learner: nn.Module
    examples: tuple[Tensor, ...]
    places: Tensor
    loss_of: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
    score: Callable[[], float]


def fit(
    network: nn.Module, architecture: Architecture, task: Task, schedule: Schedule, out: Path, made_by: dict[str, Any],
    *, place: Place, say: Say, keep_every_s: float = KEEP_EVERY_S,
) -> Path:  # fmt: skip
    """Train and return the path of the best checkpoint, `out/best`. A run that was killed goes on after its last
    kept step.

    Every step is seeded by itself, so a resumed run draws what an undisturbed one would have drawn.
    """
    made_by = whole_record(made_by, architecture, schedule, place)
    if schedule.batch % place.world:
        raise UsageError(
            f"{place.world} processes cannot share a batch of {schedule.batch} alike; start another number of them "
            "with --nproc-per-node"
        )
    out.mkdir(parents=True, exist_ok=True)
    learner, optimiser = task.learner, _optimiser(task.learner, schedule)
    at = resume(out, learner, optimiser, made_by)
    if place.first:
        write_log(out, at)
    shared = place.shared(learner)
    while not _ended(at, schedule):
        started = time.monotonic()
        learner.train()
        at = _one_epoch(shared, learner, optimiser, task, schedule, at, out, made_by, place, keep_every_s)
        network.eval()
        score = place.agreed(_score(task) if place.first else 0.0)
        if score > at.best:
            at = at.better(score)
            if place.first:
                save_checkpoint(out / "best", network, architecture, {**made_by, "epoch": at.epoch, "score": score})
        loss = at.loss_sum / max(1, at.step)
        at = at.next_epoch({"epoch": at.epoch, "loss": round(loss, 4), "score": round(score, 4),
                            "best": round(at.best, 4), "seconds": round(time.monotonic() - started, 1)})  # fmt: skip
        if place.first:
            keep(out, learner, optimiser, at, made_by)
            write_log(out, at)
        say(f"{out.name}: epoch {at.epoch}/{schedule.epochs}  loss {loss:.4f}  score {score:.4f}  best {at.best:.4f}"
            f"  {time.monotonic() - started:.0f} s")  # fmt: skip
    if at.epoch < schedule.epochs:
        say(f"{out.name}: stopped, no better score for {schedule.patience} epochs")
    place.wait()
    return out / "best"


def whole_record(
    made_by: dict[str, Any], architecture: Architecture, schedule: Schedule, place: Place
) -> dict[str, Any]:
    """All that a run must share with an earlier one to go on from it."""
    return {**made_by, "architecture": asdict(architecture), "schedule": asdict(schedule), "processes": place.world}


def ended(out: Path, architecture: Architecture, schedule: Schedule, made_by: dict[str, Any], *, place: Place) -> bool:
    """Whether this very run was finished before. Raises UsageError when the folder holds another."""
    at = kept_position(out, whole_record(made_by, architecture, schedule, place))
    return at is not None and _ended(at, schedule)


def _ended(at: Position, schedule: Schedule) -> bool:
    return at.epoch >= schedule.epochs or at.epoch - at.best_epoch > schedule.patience


def _one_epoch(
    shared: nn.Module, learner: nn.Module, optimiser: torch.optim.Optimizer, task: Task, schedule: Schedule,
    at: Position, out: Path, made_by: dict[str, Any], place: Place, keep_every_s: float,
) -> Position:  # fmt: skip
    """The steps of an epoch that are still to do. The last, smaller batch is left for another epoch's order."""
    generator = torch.Generator().manual_seed(schedule.seed * 100_003 + at.epoch)
    order = task.places[torch.randperm(len(task.places), generator=generator)]
    steps = max(1, len(order) // schedule.batch)
    kept_at = time.monotonic()
    for step in bar(range(at.step, steps), f"{out.name} epoch {at.epoch + 1}", total=steps, done=at.step):
        whole = at.epoch * steps + step
        torch.manual_seed((schedule.seed * 1_000_003 + whole) * place.world + place.rank)
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * rate(schedule, whole, steps)
        chosen = place.share(order[step * schedule.batch : (step + 1) * schedule.batch])
        batch = tuple(tensor[chosen].to(place.device) for tensor in task.examples)
        with place.autocast():
            loss = task.loss_of(shared, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), _GRADIENT_NORM)
        optimiser.step()
        cost = float(loss.detach())
        if not math.isfinite(cost):
            raise UsageError(f"{out.name}: the loss is {cost} at step {whole + 1}; lower the preset's learning rate")
        at = at.next_step(cost)
        if place.first and time.monotonic() - kept_at >= keep_every_s:
            keep(out, learner, optimiser, at, made_by)
            kept_at = time.monotonic()
    return at


def rate(schedule: Schedule, step: int, steps_per_epoch: int) -> float:
    """Share of the learning rate at a step, counted over the whole run."""
    if schedule.optimiser == "adam":
        return schedule.decay ** (step // steps_per_epoch)
    warm = min(1.0, (step + 1) / steps_per_epoch)
    return warm * 0.5 * (1 + math.cos(math.pi * step / (steps_per_epoch * schedule.epochs)))


def _optimiser(learner: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    kind = torch.optim.Adam if schedule.optimiser == "adam" else torch.optim.AdamW
    return kind(learner.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)


@torch.inference_mode()
def _score(task: Task) -> float:
    return task.score()
