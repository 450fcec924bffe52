"""The one training loop, for both networks: epochs, learning rate, early stop, checkpoints and exact resume.

What a batch costs and how good a network is are handed in; lungs.py and classify.py say so.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge.errors import UsageError
from training.model import Architecture, save_checkpoint

Say = Callable[[str], None]
# Only AMX makes bf16 faster on a CPU; without it ResNet34 took 1.27 times as long as in fp32.
BF16 = torch.cpu._is_amx_tile_supported()


@dataclass(frozen=True)
class Schedule:
    """patience: epochs without a better score before it stops. The rate warms up for an epoch and falls as a cosine."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float = 1e-2
    patience: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Task:
    """examples: tensors of equal length, a batch is the same rows of each. loss_of: (network, batch) -> scalar.

    score_of: network (in evaluation mode) -> goodness on the validation rows, the higher the better.
    """

    examples: tuple[Tensor, ...]
    loss_of: Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
    score_of: Callable[[nn.Module], float]


def fit(
    network: nn.Module, architecture: Architecture, task: Task, schedule: Schedule, out: Path, made_by: dict[str, Any],
    *, say: Say,
) -> Path:  # fmt: skip
    """Train and return the path of the best checkpoint, `out/best`. An interrupted run goes on after its last epoch.

    Every epoch is seeded by itself, so a resumed run draws what an undisturbed one would have drawn.
    """
    made_by = {**made_by, "schedule": asdict(schedule)}
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay)
    done, best, best_epoch = _resume(out, network, optimiser, made_by)
    for epoch in range(done, schedule.epochs):
        if epoch - best_epoch > schedule.patience:
            say(f"stopped: no better score for {schedule.patience} epochs")
            break
        started = time.monotonic()
        torch.manual_seed(schedule.seed * 100_003 + epoch)
        loss = _one_epoch(network, optimiser, task, schedule, epoch)
        with torch.inference_mode():
            score = task.score_of(network.eval())
        if score > best:
            best, best_epoch = score, epoch
            save_checkpoint(out / "best", network, architecture, {**made_by, "epoch": epoch, "score": score})
        line = {"epoch": epoch, "loss": round(loss, 4), "score": round(score, 4), "best": round(best, 4)}
        _keep(out, network, optimiser, {"made_by": made_by, "done": epoch + 1, "best": best, "best_epoch": best_epoch})
        with (out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({**line, "seconds": round(time.monotonic() - started, 1)}) + "\n")
        say(f"epoch {epoch + 1}/{schedule.epochs}  loss {loss:.4f}  score {score:.4f}  best {best:.4f}"
            f"  {time.monotonic() - started:.0f} s")  # fmt: skip
    return out / "best"


def _one_epoch(
    network: nn.Module, optimiser: torch.optim.Optimizer, task: Task, schedule: Schedule, epoch: int
) -> float:
    """One pass over the examples; returns the mean loss."""
    network.train()
    order = torch.randperm(len(task.examples[0]))
    steps = max(1, len(order) // schedule.batch)  # the last, smaller batch is left for another epoch's order
    total = 0.0
    for step, chosen in enumerate(_batches(order, schedule.batch, steps)):
        for group in optimiser.param_groups:
            group["lr"] = schedule.learning_rate * _rate(epoch * steps + step, steps, schedule.epochs)
        with torch.autocast("cpu", torch.bfloat16, enabled=BF16):
            loss = task.loss_of(network, tuple(tensor[chosen] for tensor in task.examples))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        total += float(loss.detach())
    return total / steps


def _batches(order: Tensor, batch: int, steps: int) -> Iterator[Tensor]:
    for step in range(steps):
        yield order[step * batch : (step + 1) * batch]


def _rate(step: int, steps_per_epoch: int, epochs: int) -> float:
    """Share of the learning rate at a step."""
    warm = min(1.0, (step + 1) / steps_per_epoch)
    return warm * 0.5 * (1 + math.cos(math.pi * step / (steps_per_epoch * epochs)))


def _keep(out: Path, network: nn.Module, optimiser: torch.optim.Optimizer, record: dict[str, Any]) -> None:
    """Weights and optimiser of the last epoch; the record is written last, so that it means complete."""
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor.contiguous() for name, tensor in state.items()}
    kept = out / f"last-{record['done']}.safetensors"
    save_file(tensors, kept)
    beside = out / ".last.json"
    beside.write_text(json.dumps({**record, "weights": kept.name}, indent=1, sort_keys=True), encoding="utf-8")
    beside.replace(out / "last.json")
    for older in out.glob("last-*.safetensors"):
        if older != kept:
            older.unlink()


def _resume(
    out: Path, network: nn.Module, optimiser: torch.optim.Optimizer, made_by: dict[str, Any]
) -> tuple[int, float, int]:
    """(epochs done, best score, its epoch) of an interrupted run in `out`, its weights loaded; (0, -inf, 0) if none.

    Raises UsageError when the folder holds a run with other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        record = json.loads((out / "last.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return 0, -math.inf, 0
    asked = json.loads(json.dumps(made_by))
    if {**asked, **record["made_by"]} != asked:  # a run of an earlier version lacks the keys added since
        raise UsageError(f"{out.name} holds a run with other settings; choose another --out or remove the folder")
    tensors = load_file(out / record["weights"])
    network.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("network.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return record["done"], record["best"], record["best_epoch"]
