"""Where a training run stands, on disk: weights and optimiser as safetensors, the rest as JSON beside them."""

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edge.errors import UsageError

RECORD = "last.json"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Position:
    """step: done in this epoch. loss_sum: of those steps. history: one entry for every whole epoch."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    best: float = -math.inf
    best_epoch: int = 0
    history: tuple[dict[str, Any], ...] = ()

    def next_step(self, loss: float) -> "Position":
        return replace(self, step=self.step + 1, loss_sum=self.loss_sum + loss)

    def better(self, score: float) -> "Position":
        return replace(self, best=score, best_epoch=self.epoch)

    def next_epoch(self, line: dict[str, Any]) -> "Position":
        return replace(self, epoch=self.epoch + 1, step=0, loss_sum=0.0, history=(*self.history, line))


def keep(
    out: Path, learner: nn.Module, optimiser: torch.optim.Optimizer, at: Position, made_by: dict[str, Any]
) -> None:
    """Weights and optimiser as they are now; the record is written last, so that it means complete."""
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in learner.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": tensor.contiguous() for name, tensor in state.items()}
    kept = out / f"last-{at.epoch}-{at.step}.safetensors"
    save_file(tensors, kept)
    beside = out / f".{RECORD}"
    record = {"made_by": made_by, "position": asdict(at), "weights": kept.name}
    beside.write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
    beside.replace(out / RECORD)
    for older in out.glob("last-*.safetensors"):
        if older != kept:
            older.unlink()


def resume(out: Path, learner: nn.Module, optimiser: torch.optim.Optimizer, made_by: dict[str, Any]) -> Position:
    """Where an interrupted run in `out` stands, its weights loaded into the learner; the beginning if there is none.

    Raises UsageError when the folder holds a run with other settings.
    """
    record = _record(out, made_by)
    if record is None:
        return Position()
    tensors = load_file(out / record["weights"])
    learner.load_state_dict({name[8:]: tensor for name, tensor in tensors.items() if name.startswith("network.")})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimiser."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return _position(record)


def kept_position(out: Path, made_by: dict[str, Any]) -> Position | None:
    """Where a run in `out` stands, without its weights; None if there is none. Raises UsageError as `resume` does."""
    record = _record(out, made_by)
    return None if record is None else _position(record)


def _record(out: Path, made_by: dict[str, Any]) -> dict[str, Any] | None:
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    asked = json.loads(json.dumps(made_by))
    if record["made_by"] != asked:
        names = sorted(name for name in {*asked, *record["made_by"]} if asked.get(name) != record["made_by"].get(name))
        raise UsageError(
            f"{out.name} holds a run with other settings ({', '.join(names)}); choose another --out, or remove it"
        )
    return record


def _position(record: dict[str, Any]) -> Position:
    return Position(**{**record["position"], "history": tuple(record["position"]["history"])})


def write_log(out: Path, at: Position) -> None:
    """One line an epoch."""
    beside = out / f".{LOG}"
    beside.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in at.history), encoding="utf-8")
    beside.replace(out / LOG)
