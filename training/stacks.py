"""All radiographs of a study at a network's size, and the lung channel beside them, as two files that are read in
place.

Made once: 10,000 radiographs at 1024 pixels take 10 GB each on disk, and no more memory than is looked at.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge.engines.base import MASK_SIDE
from training.arrays import load, reduce_pixels
from training.devices import Place
from training.lungs import lung_probabilities
from training.model import reduce_to
from training.progress import bar


def radiograph_stack(kept: Sequence[Path], side: int, cache: Path, *, place: Place) -> Tensor:
    """uint8 [n, 1, side, side], reduced as the exported graph reduces."""

    def reduced(path: Path) -> Tensor:
        return reduce_pixels(load(path).pixels, side)

    return _stack(reduced, kept, side, cache, f"radiographs-{side}", place)


def lung_stack(
    network: nn.Module, weights_sha256: str, kept: Sequence[Path], side: int, cache: Path, *, place: Place
) -> Tensor:
    """uint8 [n, 1, side, side]: the classifier's second channel, times 255, as the exported graph makes it."""

    def lungs(path: Path) -> Tensor:
        probability = lung_probabilities(network, reduce_pixels(load(path).pixels, MASK_SIDE))
        return (reduce_to(probability, side) * 255).round().to(torch.uint8)

    return _stack(lungs, kept, side, cache, f"lungs-{side}-{weights_sha256}", place)


def _stack(
    make: Callable[[Path], Tensor], kept: Sequence[Path], side: int, cache: Path, name: str, place: Place
) -> Tensor:
    """The named stack of these arrays, made where it is missing; with several processes the first one makes it."""
    key = hashlib.sha256("\n".join([name, *(f"{path.parent.name}/{path.name}" for path in kept)]).encode()).hexdigest()
    stack = cache / "stacks" / f"{name[:16].rstrip('-')}-{key[:24]}.npy"
    if place.first and not stack.exists():
        stack.parent.mkdir(parents=True, exist_ok=True)
        beside = stack.with_suffix(".part")
        pixels = np.lib.format.open_memmap(beside, "w+", np.uint8, (len(kept), 1, side, side))
        for number, path in bar(enumerate(kept), name.split("-", maxsplit=1)[0], total=len(kept)):
            pixels[number] = make(path)[0].numpy()
        pixels.flush()
        beside.replace(stack)  # complete the moment it is visible
    place.wait()
    return torch.from_numpy(np.load(stack, mmap_mode="c"))  # copy on write: torch asks for writable memory
