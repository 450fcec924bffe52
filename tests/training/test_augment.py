"""Augmentation: masks move with their radiograph, and grey levels change on the radiograph alone."""

import pytest
import torch
from torch import Tensor

from training.augment import Augmentation, Augmenter

ALWAYS = Augmentation(probability=1.0, flip_probability=1.0)


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    """A bright block off the centre, and the same block as its mask, [4, 1, 96, 96]."""
    masks = torch.zeros(4, 1, 96, 96)
    masks[:, :, 20:50, 58:80] = 1
    return masks * 0.8, masks


def test_masks_move_with_the_radiograph(scene: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    radiographs, masks = Augmenter(ALWAYS)(*scene)
    block, moved = radiographs > 0.3, masks > 0.5
    overlap = 2 * (block & moved).sum(dim=(1, 2, 3)) / (block.sum(dim=(1, 2, 3)) + moved.sum(dim=(1, 2, 3)))
    assert (overlap > 0.9).all()
    stayed = (moved & (scene[1] > 0.5)).sum() / (scene[1] > 0.5).sum()
    assert stayed < 0.1  # flipped: had nothing moved, the test would prove nothing


def test_grey_levels_of_masks_stay(scene: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(1)
    still = Augmentation(probability=1.0, flip_probability=0.0, degrees=0.0, scale=0.0, translate=0.0)
    radiographs, masks = Augmenter(still)(*scene)
    torch.testing.assert_close(masks, scene[1], atol=1e-4, rtol=0)
    assert (radiographs - scene[0]).abs().mean() > 0.01


def test_several_mask_planes_move_alike(scene: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(2)
    _, planes = Augmenter(ALWAYS)(scene[0], torch.cat([scene[1], scene[1]], dim=1))
    torch.testing.assert_close(planes[:, :1], planes[:, 1:])


def test_the_same_seed_draws_the_same(scene: tuple[Tensor, Tensor]) -> None:
    augmenter = Augmenter(Augmentation())
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(augmenter(*scene)[0])
    assert torch.equal(*drawn)
