"""The fused network with its convolutions in fp16: what the fp16 graph computes, as a torch module.

Heads, softmax, sigmoid, means and every input and output stay in fp32.
"""

import copy

import torch
from torch import Tensor, nn

from export.fused import Fused


class InHalf(nn.Module):
    """A network that computes in fp16 between inputs and outputs in fp32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.to(torch.float16)

    def forward(self, channels: Tensor) -> Tensor:
        return self.network(channels.to(torch.float16)).to(torch.float32)


def in_half(fused: Fused) -> Fused:
    """A copy whose U-Net and backbones are in fp16."""
    half = copy.deepcopy(fused)
    for layer in half.modules():
        if isinstance(layer, nn.BatchNorm2d):
            settle(layer)
    half.lungs.unet = InHalf(half.lungs.unet)
    for member in half.members:
        member.backbone = InHalf(member.backbone)  # type: ignore[arg-type]  # nn.Module's attributes are loosely typed
    return half


@torch.no_grad()
def settle(norm: nn.BatchNorm2d) -> None:
    """Put the statistics of a batch normalisation into its scale and shift, in place: it answers the same.

    The variance of a channel that is all but dead is beyond fp16: rounded to 0, it moved scores by 0.04.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    norm.bias.copy_(norm.bias - norm.running_mean * scale)
    norm.weight.copy_(scale * (1 + norm.eps) ** 0.5)
    norm.running_mean.zero_()
    norm.running_var.fill_(1)
