"""Label-preserving augmentation in batch, after the paper's supplement. Masks move with their radiograph.

The supplement lists brightness, gamma, CLAHE, rotation, shear, scale, flips, and sharpening or blur. CLAHE is left out,
for the preprocessing gives it to every radiograph; contrast, shift and noise are added. Applied at the network's size,
on the CPU or wherever the batch lies; randomness comes from torch's generator.
"""

from dataclasses import dataclass

import kornia.augmentation as K  # noqa: N812 - kornia's own documentation names it so
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Augmentation:
    """Ranges and probabilities. degrees: of rotation and shear. scale, translate: shares of the side."""

    probability: float = 0.4
    brightness: float = 0.2
    contrast: float = 0.25
    gamma: float = 0.3
    degrees: float = 7.0
    scale: float = 0.2
    translate: float = 0.05
    flip_probability: float = 0.5
    blur_sigma: float = 1.2
    noise: float = 0.03


class Augmenter(nn.Module):
    """Radiographs and masks, float [N, 1, side, side] in 0..1 -> the same, moved and (radiographs only) regraded."""

    def __init__(self, settings: Augmentation) -> None:
        super().__init__()
        p = settings.probability
        affine = {"resample": "bilinear", "padding_mode": "zeros"}
        self.moves = K.AugmentationSequential(
            K.RandomHorizontalFlip(p=settings.flip_probability),
            K.RandomAffine(settings.degrees, p=p, **affine),
            K.RandomAffine(0.0, shear=(-settings.degrees, settings.degrees), p=p, **affine),
            K.RandomAffine(
                0.0,
                translate=(settings.translate, settings.translate),
                scale=(1 - settings.scale, 1 + settings.scale, 1 - settings.scale, 1 + settings.scale),
                p=p,
                **affine,
            ),
            data_keys=["input"],
        )
        self.grades = K.ImageSequential(
            K.RandomBrightness((1 - settings.brightness, 1 + settings.brightness), p=p),
            K.RandomContrast((1 - settings.contrast, 1 + settings.contrast), p=p),
            K.RandomGamma((1 - settings.gamma, 1 + settings.gamma), p=p),
            K.ImageSequential(
                K.RandomGaussianBlur((5, 5), (0.3, settings.blur_sigma), p=1.0),
                K.RandomSharpness(0.8, p=1.0),
                random_apply=1,
            ),
            K.RandomGaussianNoise(std=settings.noise, p=p),
        )

    @torch.no_grad()
    def forward(self, radiographs: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        # Both as channels of one image: whatever moves one moves the other, by the same interpolation.
        moved = self.moves(torch.cat([radiographs, masks], dim=1))
        return self.grades(moved[:, :1]).clamp(0, 1), moved[:, 1:]
