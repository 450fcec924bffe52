"""Lung-crop normalisation: a radiograph and its lung map cut to the lungs, so that framing says nothing.

The box comes from the lung map's own mean and spread, without thresholds or loops, so that an exported graph can
make it.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor

# Standard deviations on either side of the lungs' centre. Across, two lungs with a gap between them have their ends at
# about 1.6; from top to bottom at about 1.8. The rest is margin.
SPREADS = {"x": 1.8, "y": 2.1}


def lung_boxes(lungs: Tensor) -> Tensor:
    """Lung probabilities [N, 1, h, w] -> [N, 4]: centre x, centre y, half width, half height, in -1..1 of the picture.

    Without lungs the box is the whole picture.
    """
    total = lungs.sum(dim=(1, 2, 3))
    found = (total > 1e-3 * lungs.shape[-1] * lungs.shape[-2]).to(lungs.dtype)
    halves = []
    for name, summed in (("x", 1), ("y", 2)):
        profile = lungs[:, 0].sum(dim=summed)  # [N, w] or [N, h]
        at = (torch.arange(profile.shape[1], device=lungs.device) + 0.5) * (2 / profile.shape[1]) - 1
        share = profile / profile.sum(dim=1, keepdim=True).clamp(min=1e-6)
        centre = (share * at).sum(dim=1)
        spread = (share * (at - centre[:, None]) ** 2).sum(dim=1).clamp(min=1e-6).sqrt()
        halves.append((centre * found, (SPREADS[name] * spread).clamp(max=1.0) * found + (1 - found)))
    (x, width), (y, height) = halves
    return torch.stack([x, y, width, height], dim=1)


def crop_to(pictures: Tensor, boxes: Tensor, side: int) -> Tensor:
    """[N, C, h, w] and boxes [N, 4] -> [N, C, side, side], bilinear; outside the picture is black."""
    x, y, width, height = boxes.unbind(dim=1)
    return _sampled(pictures, (x, width), (y, height), side)


def uncrop(maps: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Maps [N, C, h, w] of cropped pictures -> [N, C, side, side] of whole ones; outside the box is 0."""
    x, y, width, height = boxes.unbind(dim=1)
    return _sampled(maps, (-x / width, 1 / width), (-y / height, 1 / height), side)


def _sampled(pictures: Tensor, across: tuple[Tensor, Tensor], down: tuple[Tensor, Tensor], side: int) -> Tensor:
    """across, down: centre and half extent [N] of what is sampled, in -1..1 of the pictures."""
    at = (torch.arange(side, device=pictures.device, dtype=pictures.dtype) + 0.5) * (2 / side) - 1
    columns = across[0][:, None] + across[1][:, None] * at  # [N, side]
    rows = down[0][:, None] + down[1][:, None] * at
    shape = (-1, side, side)
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], dim=-1)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
