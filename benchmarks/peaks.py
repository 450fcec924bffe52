"""What a device reaches: large matrix products by precision, a large copy in its memory, and a copy from the host.

Measured here rather than taken from a data sheet: clocks, power limits and memory differ between boards of one name.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.roofline import Peaks

LEAST_MEASURED = 5  # repetitions


@dataclass(frozen=True)
class Sizes:
    """side: of square matrices. copied_bytes: in the device's memory. patience_s: of warming up and of each product."""

    side: int
    copied_bytes: int
    patience_s: float


SIZES = {"cuda": Sizes(8192, 1 << 30, 1.0), "cpu": Sizes(768, 1 << 26, 0.2)}


def measure_peaks(device: str, sizes: Sizes) -> Peaks:
    """The best of many repetitions on random numbers: zeros draw less power and clock higher.

    fp32 may use TF32, as it may in the torch peers. On a CPU only fp32 is measured.
    """
    torch.set_float32_matmul_precision("high")
    operations = 2 * sizes.side**3
    left, right = (torch.randn(sizes.side, sizes.side, device=device) for _ in range(2))
    products: dict[str, Callable[[], Tensor]] = {"fp32": lambda: left @ right}
    if device == "cuda":
        halves = left.half(), right.half()
        bytes_left, bytes_right = ((matrix * 40).clamp(-127, 127).to(torch.int8) for matrix in (left, right))
        products["fp16"] = lambda: halves[0] @ halves[1]
        products["int8"] = lambda: torch._int_mm(bytes_left, bytes_right.t())  # its second matrix lies column by column
    source = torch.randint(0, 255, (sizes.copied_bytes,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    host = torch.empty(sizes.copied_bytes // 8, dtype=torch.uint8, pin_memory=device == "cuda")
    arrived = torch.empty_like(host, device=device)
    return Peaks(
        operations_per_s={
            name: operations / _fastest_s(product, device, sizes.patience_s) for name, product in products.items()
        },
        bytes_per_s=2 * sizes.copied_bytes / _fastest_s(lambda: target.copy_(source), device, sizes.patience_s),
        host_bytes_per_s=host.nbytes
        / _fastest_s(lambda: arrived.copy_(host, non_blocking=True), device, sizes.patience_s),
    )


def _fastest_s(work: Callable[[], Tensor], device: str, patience_s: float) -> float:
    """Seconds of the fastest run, after as long a warm-up as the measuring takes."""
    spent: list[float] = []
    started = time.perf_counter()
    while len(spent) < 2 * LEAST_MEASURED or time.perf_counter() - started < 2 * patience_s:
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return min(spent[len(spent) // 2 :])
