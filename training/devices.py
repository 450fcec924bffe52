"""Where training runs: the CPU, one GPU, or one GPU for each process that torchrun started.

torchrun --nproc-per-node 4 -m training.cli train --manifest chest.csv --preset paper --out work/study
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

_PATIENCE = timedelta(days=2)
# Only AMX makes bf16 faster on a CPU; without it ResNet34 took 1.27 to 1.5 times as long as in fp32.
_CPU_BF16 = torch.cpu._is_amx_tile_supported()


@dataclass(frozen=True)
class Place:
    """rank of world processes; the first one writes. mixed: whether convolutions run in bfloat16."""

    device: torch.device
    mixed: bool
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    def shared(self, network: nn.Module) -> nn.Module:
        """The network, its gradients averaged over all processes."""
        if self.world == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        # A U-Net that is less deep than its encoder has layers that no gradient reaches.
        return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=True)

    def share(self, chosen: Tensor) -> Tensor:
        """This process's part of a batch."""
        return chosen[self.rank :: self.world]

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    def agreed(self, value: float) -> float:
        """The first process's value, in all of them."""
        if self.world == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(told, src=0)
        return float(told)

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        processes = f", process {self.rank + 1} of {self.world}" if self.world > 1 else ""
        return f"{name}, {'bf16' if self.mixed else 'fp32'}{processes}"


ALONE = Place(torch.device("cpu"), mixed=False)


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """The place of this process; under torchrun the processes know of each other inside the block."""
    launched = dist.is_torchelastic_launched()
    index = dist.get_node_local_rank(fallback_rank=0)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", index) if cuda else torch.device("cpu")
    mixed = torch.cuda.is_bf16_supported() if cuda else _CPU_BF16
    if not launched:
        yield Place(device, mixed)
        return
    if cuda:
        torch.cuda.set_device(device)
    # While the first process makes arrays and stacks the others wait, for hours if there are many radiographs.
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE, device_id=device if cuda else None)
    try:
        yield Place(device, mixed, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
