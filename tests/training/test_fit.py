"""The loop: a run that is killed at any step goes on to the weights of an undisturbed one; rates; several processes."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from edge.errors import UsageError
from training.devices import ALONE
from training.fit import Schedule, Task, ended, fit, rate
from training.model import LungArchitecture

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
TINY = LungArchitecture()  # only named in the record
SCHEDULE = Schedule(epochs=3, batch=2, learning_rate=1e-3)  # 3 steps an epoch
ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """Ends a run where a kill would."""


def toy(*, kill_at: int | None = None) -> tuple[nn.Module, Task]:
    """A network that learns which pixels are bright, with noise, so that order and seeds matter."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    radiographs = torch.rand(7, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    steps = 0

    def loss_of(learner: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        nonlocal steps
        if steps == kill_at:
            raise Killed
        steps += 1
        noisy = batch[0] + 0.1 * torch.randn_like(batch[0])
        return nn.functional.binary_cross_entropy_with_logits(learner(noisy), (batch[0] > 0.5).float())

    def score() -> float:
        return -float(network(radiographs).square().mean())

    return network, Task(network, (radiographs,), torch.arange(1, 7), loss_of, score)


def run(out: Path, schedule: Schedule = SCHEDULE, *, kill_at: int | None = None, keep_every_s: float = 0.0,
        made_by: dict[str, object] | None = None) -> Path:  # fmt: skip
    network, task = toy(kill_at=kill_at)
    return fit(network, TINY, task, schedule, out, made_by or {}, place=ALONE, say=lambda line: None,
               keep_every_s=keep_every_s)  # fmt: skip


def weights(out: Path) -> dict[str, Tensor]:
    (last,) = out.glob("last-*.safetensors")
    return load_file(last) | {f"best.{name}": tensor for name, tensor in load_file(out / "best.safetensors").items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    run(out)
    return out


@pytest.mark.parametrize("keep_every_s", [0.0, 1e9], ids=["kept every step", "kept every epoch"])
@pytest.mark.parametrize("kill_at", range(9))
def test_killed_at_any_step_it_ends_with_the_same_weights(
    undisturbed: Path, tmp_path: Path, kill_at: int, keep_every_s: float
) -> None:
    with pytest.raises(Killed):
        run(tmp_path, kill_at=kill_at, keep_every_s=keep_every_s)
    torch.manual_seed(99)
    run(tmp_path, keep_every_s=keep_every_s)
    expected, found = weights(undisturbed), weights(tmp_path)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    logs = [[{**json.loads(line), "seconds": 0} for line in (out / "log.jsonl").read_text().splitlines()]
            for out in (undisturbed, tmp_path)]  # fmt: skip
    assert logs[0] == logs[1] and len(logs[0]) == 3


def test_another_seed_learns_otherwise(undisturbed: Path, tmp_path: Path) -> None:
    run(tmp_path, replace(SCHEDULE, seed=1))
    assert any(not torch.equal(tensor, weights(tmp_path)[name]) for name, tensor in weights(undisturbed).items())


def test_only_the_named_examples_are_learned_from(undisturbed: Path, tmp_path: Path) -> None:
    """The first of the seven is not among them: whatever it holds, the weights are the same."""
    network, task = toy()
    task.examples[0][0] = 1.0
    held = replace(task, score=lambda: 0.0)
    fit(network, TINY, held, SCHEDULE, tmp_path, {}, place=ALONE, say=lambda line: None)
    (last,) = tmp_path.glob("last-*.safetensors")
    (expected,) = undisturbed.glob("last-*.safetensors")
    assert all(torch.equal(tensor, load_file(last)[name]) for name, tensor in load_file(expected).items())


def test_a_folder_with_another_run_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    run(tmp_path, made_by={"manifest": "a", "network": "lungs"})
    with pytest.raises(UsageError, match=r"other settings \(manifest\)"):
        run(tmp_path, made_by={"manifest": "b", "network": "lungs"})
    with pytest.raises(UsageError, match=r"other settings \(schedule\)"):
        run(tmp_path, replace(SCHEDULE, seed=1), made_by={"manifest": "a", "network": "lungs"})


def test_a_network_of_another_size_is_another_run(tmp_path: Path) -> None:
    run(tmp_path)
    network, task = toy()
    other = replace(TINY, depth=3)
    with pytest.raises(UsageError, match=r"other settings \(architecture\)"):
        fit(network, other, task, SCHEDULE, tmp_path, {}, place=ALONE, say=lambda line: None)


def test_a_finished_run_is_known_without_its_weights(tmp_path: Path) -> None:
    assert not ended(tmp_path, TINY, SCHEDULE, {}, place=ALONE)
    with pytest.raises(Killed):
        run(tmp_path, kill_at=7)
    assert not ended(tmp_path, TINY, SCHEDULE, {}, place=ALONE)
    run(tmp_path)
    assert ended(tmp_path, TINY, SCHEDULE, {}, place=ALONE)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    network, task = toy()
    broken = replace(task, loss_of=lambda learner, batch: learner(batch[0]).sum() * float("nan"))
    with pytest.raises(UsageError, match="the loss is nan at step 1"):
        fit(network, TINY, broken, SCHEDULE, tmp_path, {}, place=ALONE, say=lambda line: None)


def test_processes_that_cannot_share_a_batch_are_told(tmp_path: Path) -> None:
    network, task = toy()
    with pytest.raises(UsageError, match="3 processes cannot share a batch of 2"):
        fit(network, TINY, task, SCHEDULE, tmp_path, {}, place=replace(ALONE, world=3), say=lambda line: None)


def test_it_stops_early_without_a_better_score(tmp_path: Path) -> None:
    network, task = toy()
    said: list[str] = []
    schedule = replace(SCHEDULE, epochs=20, patience=2)
    fit(network, TINY, replace(task, score=lambda: 0.5), schedule, tmp_path, {}, place=ALONE, say=said.append)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3  # the best one and two more
    assert "no better score for 2 epochs" in said[-1]


def rates(schedule: Schedule) -> list[float]:
    return [rate(schedule, step, 4) for step in range(4 * schedule.epochs)]


def test_the_papers_rate_falls_exponentially_with_the_epochs() -> None:
    found = rates(Schedule(3, 8, 1e-6, optimiser="adam", decay=0.9))
    assert found == pytest.approx([1.0] * 4 + [0.9] * 4 + [0.81] * 4)


def test_the_other_rate_warms_up_and_falls_as_a_cosine() -> None:
    found = rates(Schedule(10, 8, 1e-3))
    assert found[0] == pytest.approx(0.25) and found[3] < 1
    assert max(found) == found[3] or max(found) == found[4]
    assert found[4:] == sorted(found[4:], reverse=True) and found[-1] < 0.01


def test_adams_weight_decay_is_part_of_the_gradient(tmp_path: Path) -> None:
    """Without a loss only decay moves weights: Adam makes steps of the rate itself of it, AdamW of rate x decay."""
    moved = {}
    for optimiser in ("adam", "adamw"):
        weight = nn.Linear(1, 1, bias=False)
        nn.init.constant_(weight.weight, 1.0)
        examples, places = (torch.zeros(2, 1),), torch.arange(2)
        task = Task(weight, examples, places, lambda learner, batch: learner(batch[0]).sum(), lambda: 0.0)
        schedule = Schedule(1, 2, 1e-2, weight_decay=0.1, optimiser=optimiser)
        fit(weight, TINY, task, schedule, tmp_path / optimiser, {}, place=ALONE, say=lambda line: None)
        moved[optimiser] = 1 - weight.weight.item()
    assert moved["adam"] == pytest.approx(1e-2, rel=1e-3)
    assert moved["adamw"] == pytest.approx(1e-3, rel=1e-3)


TWO_PROCESSES = """
import sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_fit import SCHEDULE, TINY, toy
from training.devices import place
from training.fit import fit
with place() as here:
    network, task = toy()
    fit(network, TINY, task, SCHEDULE, Path(sys.argv[1]), {}, place=here, say=print if here.first else str)
    total = sum(p.double().sum() for p in network.parameters()).item()
    Path(sys.argv[1], f"rank-{here.rank}-of-{here.world}").write_text(f"{total:.12f}")
"""


def test_two_processes_learn_one_network(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(script), str(tmp_path / "out"), str(Path(__file__).parent)]  # fmt: skip
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
                              env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    sums = {path.name: path.read_text() for path in (tmp_path / "out").glob("rank-*")}
    assert sums.keys() == {"rank-0-of-2", "rank-1-of-2"} and len(set(sums.values())) == 1
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 3
