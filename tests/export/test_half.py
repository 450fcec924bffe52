"""The fp16 module: what is in fp16, what is not, and that a channel which is all but dead does not move an answer."""

import copy

import torch
from torch import nn

from export.fused import Fused
from export.half import in_half, settle


def test_backbones_and_unet_are_in_fp16_and_heads_are_not(fused: Fused) -> None:
    types = {name: parameter.dtype for name, parameter in in_half(fused).named_parameters()}
    for name, dtype in types.items():
        inside = "unet" in name or "backbone" in name
        assert dtype == (torch.float16 if inside else torch.float32), name
    assert {parameter.dtype for parameter in fused.parameters()} == {torch.float32}  # the original is left as it was


def test_a_settled_norm_answers_the_same() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6).eval()
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.1, 3)
    values = torch.randn(2, 6, 5, 5)
    settled = copy.deepcopy(norm)
    settle(settled)
    torch.testing.assert_close(settled(values), norm(values))
    assert settled.running_var.eq(1).all() and settled.running_mean.eq(0).all()


def test_a_variance_below_fp16_survives(fused: Fused) -> None:
    """1e-8 is 0 in fp16, and the scale of its channel would be 1 / sqrt(eps) instead of what was trained."""
    whole = copy.deepcopy(fused)
    norm = next(layer for layer in whole.members[0].modules() if isinstance(layer, nn.BatchNorm2d))
    with torch.no_grad():
        norm.eps = 1e-9
        norm.weight.mul_(1e-4)
        norm.running_var.fill_(1e-8)
    radiographs = torch.rand(1, 1, 1024, 1024, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, answered = whole(radiographs), in_half(whole)(radiographs)
    for one, other in zip(expected, answered, strict=True):
        torch.testing.assert_close(other, one, atol=5e-3, rtol=5e-2)
