"""The lung U-Net's loss and overlap, against values worked out by hand."""

import pytest
import torch

from training.lungs import dice, iou, lung_loss


def test_dice_ignores_what_the_annotator_left_open() -> None:
    lung, known = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)
    lung[..., :2] = 1
    predicted = lung.bool().clone()
    predicted[..., 3] = True
    assert dice(predicted, torch.cat([lung, known], dim=1)).item() == pytest.approx(2 * 8 / (12 + 8))
    known[..., 0] = known[..., 3] = 0
    assert dice(predicted, torch.cat([lung, known], dim=1)).item() == 1.0


def test_the_loss_ignores_what_the_annotator_left_open() -> None:
    logits, lung, known = torch.randn(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    lung[..., :3] = 1
    known[..., 5:] = 0
    loss = lung_loss(logits, lung, known)
    elsewhere, also_lung = logits.clone(), lung.clone()
    elsewhere[..., 5:], also_lung[..., 5:] = 30.0, 1.0
    torch.testing.assert_close(lung_loss(elsewhere, lung, known), loss)
    torch.testing.assert_close(lung_loss(logits, also_lung, known), loss)
    elsewhere[..., 4] = 30.0
    assert lung_loss(elsewhere, lung, known) > loss + 1


def test_iou_of_masks_made_by_hand() -> None:
    """Eight pixels in common, of twelve in both together."""
    predicted, lung = torch.zeros(1, 1, 4, 4, dtype=torch.bool), torch.zeros(1, 1, 4, 4)
    predicted[..., :3], lung[..., :2] = True, 1
    overlap = dice(predicted, torch.cat([lung, torch.ones_like(lung)], dim=1))
    assert iou(overlap).item() == pytest.approx(8 / 12)
