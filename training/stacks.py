"""All radiographs of a study at a network's size, with the lung channel, as one file that is read in place.

Made once: 10,000 radiographs at 1024 pixels take 20 GB on disk, and no more memory than is looked at.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge.engines.base import MASK_SIDE
from training.arrays import load, reduce_pixels
from training.devices import Place
from training.lungs import lung_probabilities
from training.model import INPUTS, ClassifierArchitecture, inputs_of
from training.progress import bar


def radiograph_stack(kept: Sequence[Path], side: int, cache: Path, *, place: Place) -> Tensor:
    """uint8 [n, 1, side, side], reduced as the exported graph reduces."""

    def reduced(path: Path) -> Tensor:
        return reduce_pixels(load(path).pixels, side)

    return _stack(reduced, kept, (1, side), cache, f"radiographs-{side}", place)


def input_stack(
    network: nn.Module, weights_sha256: str, kept: Sequence[Path], architecture: ClassifierArchitecture, cache: Path,
    *, place: Place,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Radiographs and lung channel, uint8 [n, 1, side, side] each, as the exported graph makes them; the lung network's
    weights are named by their digest.
    """

    def inputs(path: Path) -> Tensor:
        pixels = load(path).pixels
        lungs = lung_probabilities(network, reduce_pixels(pixels, MASK_SIDE))
        radiograph = torch.from_numpy(pixels)[None, None].float() / 255
        pair = inputs_of(radiograph, lungs, architecture.side, lung_crop=architecture.lung_crop)
        return (torch.cat(pair, dim=1) * 255).round().to(torch.uint8)

    name = f"{'cropped' if architecture.lung_crop else 'inputs'}-{architecture.side}-{weights_sha256}"
    stack = _stack(inputs, kept, (2, architecture.side), cache, name, place)
    return stack[:, :1], stack[:, 1:]


def _stack(
    make: Callable[[Path], Tensor], kept: Sequence[Path], shape: tuple[int, int], cache: Path, name: str, place: Place
) -> Tensor:
    """The named stack of these arrays, made where it is missing; with several processes the first one makes it.

    shape: channels and side.
    """
    channels, side = shape
    key = hashlib.sha256(
        "\n".join([name, INPUTS, *(f"{path.parent.name}/{path.name}" for path in kept)]).encode()
    ).hexdigest()
    stack = cache / "stacks" / f"{name[:16].rstrip('-')}-{key[:24]}.npy"
    if place.first and not stack.exists():
        stack.parent.mkdir(parents=True, exist_ok=True)
        beside = stack.with_suffix(f".{os.getpid()}.part")
        pixels = np.lib.format.open_memmap(beside, "w+", np.uint8, (len(kept), channels, side, side))
        for number, path in bar(enumerate(kept), name.split("-", maxsplit=1)[0], total=len(kept)):
            pixels[number] = make(path)[0].numpy()
        pixels.flush()
        beside.replace(stack)  # complete the moment it is visible
    place.wait()
    return torch.from_numpy(np.load(stack, mmap_mode="r+"))  # torch asks for writable memory; nothing writes to it
