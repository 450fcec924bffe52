"""The box around the lungs, and the way back, on pictures made by hand."""

import pytest
import torch
from torch import Tensor

from training.lung_crop import crop_to, lung_boxes, uncrop
from training.model import inputs_of


def two_lungs() -> Tensor:
    """Off the centre of a 256 pixel square: columns 40 to 109 and 131 to 200, rows 60 to 179."""
    lungs = torch.zeros(1, 1, 256, 256)
    lungs[..., 60:180, 40:110] = lungs[..., 60:180, 131:201] = 1
    return lungs


def test_the_box_holds_the_lungs_with_a_margin() -> None:
    x, y, width, height = lung_boxes(two_lungs())[0].tolist()
    left, right, top, bottom = (128 * (1 + edge) for edge in (x - width, x + width, y - height, y + height))
    assert 20 < left < 40 and 201 < right < 221
    assert 40 < top < 60 and 180 < bottom < 200


def test_the_box_follows_the_lungs_and_their_size() -> None:
    lungs = two_lungs()
    moved = lung_boxes(torch.roll(lungs, (16, -8), dims=(2, 3)))[0] - lung_boxes(lungs)[0]
    torch.testing.assert_close(moved, torch.tensor([-8 / 128, 16 / 128, 0.0, 0.0]), atol=1e-5, rtol=0)
    half = torch.nn.functional.avg_pool2d(lungs, 2)
    torch.testing.assert_close(lung_boxes(half), lung_boxes(lungs), atol=0.01, rtol=0)


@pytest.mark.parametrize("lungs", [torch.zeros(1, 1, 64, 64), torch.full((1, 1, 64, 64), 1e-5)])
def test_without_lungs_the_box_is_the_whole_picture(lungs: Tensor) -> None:
    assert lung_boxes(lungs).tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_a_crop_shows_what_is_in_the_box_at_its_place() -> None:
    picture = torch.arange(64.0).expand(1, 1, 64, 64)  # each pixel is its column
    boxes = torch.tensor([[0.25, 0.0, 0.5, 0.5]])  # columns 24 to 56
    cropped = crop_to(picture, boxes, 32)
    torch.testing.assert_close(cropped[0, 0, 0], torch.arange(24.0, 56.0))


def test_outside_the_picture_a_crop_is_black() -> None:
    cropped = crop_to(torch.ones(1, 1, 32, 32), torch.tensor([[0.9, 0.0, 0.5, 0.5]]), 32)
    assert (cropped[..., :18] == 1).all() and (cropped[..., 22:] == 0).all()


def test_a_map_of_the_crop_comes_back_to_its_place() -> None:
    """A bright spot in the picture, cut out and put back, lies where it lay; outside the box there is nothing."""
    picture = torch.zeros(1, 1, 64, 64)
    picture[..., 20:28, 40:48] = 1
    boxes = torch.tensor([[0.3, -0.2, 0.5, 0.6]])
    back = uncrop(crop_to(picture, boxes, 64), boxes, 64)
    assert float((back - picture).abs().mean()) < 0.004
    assert float(back[..., :10].abs().max()) == 0  # column 10 lies left of the box
    assert float(uncrop(torch.ones(1, 1, 8, 8), boxes, 64)[..., :10].max()) == 0


def test_a_cropped_network_sees_the_same_whatever_margin_the_picture_has() -> None:
    torch.manual_seed(0)
    content = torch.nn.functional.interpolate(torch.rand(1, 1, 32, 32), size=(512, 512), mode="bilinear")
    lungs = torch.nn.functional.interpolate(two_lungs(), size=(128, 128), mode="area")
    shown = []
    for top, left in ((256, 256), (128, 320)):
        radiograph, probability = torch.zeros(1, 1, 1024, 1024), torch.zeros(1, 1, 256, 256)
        radiograph[..., top : top + 512, left : left + 512] = content
        probability[..., top // 4 : top // 4 + 128, left // 4 : left // 4 + 128] = lungs
        shown.append(torch.cat(inputs_of(radiograph, probability, 64, lung_crop=True), dim=1))
    torch.testing.assert_close(shown[0], shown[1], atol=0.02, rtol=0)
    assert float(shown[0][:, 0].std()) > 0.05
