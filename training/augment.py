"""Label-preserving augmentation in batch, after the paper's supplement. Masks move with their radiograph.

Every transformation has a probability and a range of its own; a sample that did not draw it does not pay for it.
Applied at the network's size, on the CPU or wherever the batch lies. All chance comes from torch's global generator.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import kornia.augmentation as K  # noqa: N812 - kornia's own documentation names it so
import numpy as np
import torch
from kornia.enhance import adjust_brightness, adjust_contrast, adjust_gamma
from kornia.filters import gaussian_blur2d
from kornia.geometry.transform import get_affine_matrix2d, hflip, warp_affine
from torch import Tensor, nn

from training.acquisition import draw_border, draw_marker, lose_resolution


@dataclass(frozen=True)
class Chance:
    """How often a transformation is applied, and the range from which its strength is drawn uniformly."""

    probability: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a radiograph, in figure s3's order, then ours. By default nothing does.

    brighten: added to grey levels in 0..1. gamma: exponent. contrast: factor. rotate, shear: degrees. scale: factor of
    each axis on its own. translate: share of the side, each axis on its own. sharpen: how much of what a blur would
    take is added. blur: sigma in pixels. clahe: clip limit. resolution: share of the side that is left. noise: standard
    deviation. border: share of the side, each of the four on its own. marker: height as a share of the side.
    A radiograph is either sharpened or blurred: the probabilities of the two add up to 1 at most.
    """

    brighten: Chance = Chance()
    sharpen: Chance = Chance()
    gamma: Chance = Chance()
    shear: Chance = Chance()
    rotate: Chance = Chance()
    clahe: Chance = Chance()
    blur: Chance = Chance()
    scale: Chance = Chance()
    flip: Chance = Chance()
    translate: Chance = Chance()
    contrast: Chance = Chance()
    resolution: Chance = Chance()
    noise: Chance = Chance()
    marker: Chance = Chance()
    border: Chance = Chance()

    def __post_init__(self) -> None:
        if self.sharpen.probability + self.blur.probability > 1:
            raise ValueError("sharpen and blur exclude each other; lower their probabilities until they add up to 1")


TRANSFORMATIONS: tuple[str, ...] = tuple(field.name for field in fields(Augmentation))

# The supplement's list, whole. It gives the probabilities, 7 degrees and the 0.2 of scale; the other ranges are ours.
# It lists the flip twice (7 and 9): both together would flip as often as one, so it is here once. It gives no
# probability for "either sharpen or blur": one of the two always, each as often as the other.
PAPER = Augmentation(
    brighten=Chance(0.4, 0.0, 0.2),
    sharpen=Chance(0.5, 0.0, 1.0),
    gamma=Chance(0.3, 0.7, 1.4),
    shear=Chance(0.4, -7.0, 7.0),
    rotate=Chance(0.4, -7.0, 7.0),
    clahe=Chance(0.4, 1.0, 4.0),
    blur=Chance(0.5, 0.3, 1.2),
    scale=Chance(0.4, 0.8, 1.2),
    flip=Chance(0.5),
)

# Ours: what differs between machines and hospitals. No CLAHE, for the preprocessing gives it to every radiograph. Grey
# levels are never inverted: the box reads what is bright from the header.
STRONG = Augmentation(
    brighten=Chance(0.6, -0.3, 0.3),
    sharpen=Chance(0.4, 0.0, 1.5),
    gamma=Chance(0.6, 0.6, 1.6),
    shear=Chance(0.6, -7.0, 7.0),
    rotate=Chance(0.6, -7.0, 7.0),
    blur=Chance(0.4, 0.3, 1.5),
    scale=Chance(0.6, 0.85, 1.15),
    flip=Chance(0.5),
    translate=Chance(0.6, -0.06, 0.06),
    contrast=Chance(0.6, 0.6, 1.4),
    resolution=Chance(0.3, 0.35, 0.9),
    noise=Chance(0.6, 0.0, 0.05),
    marker=Chance(0.3, 0.03, 0.07),
    border=Chance(0.3, 0.0, 0.06),
)

# For the lung network: wider moves, and no marker, border or lost resolution: the outline stays where the mask has it.
MOVED = Augmentation(
    brighten=Chance(0.4, -0.3, 0.3),
    sharpen=Chance(0.5, 0.0, 1.0),
    gamma=Chance(0.4, 0.6, 1.4),
    shear=Chance(0.4, -12.0, 12.0),
    rotate=Chance(0.4, -12.0, 12.0),
    blur=Chance(0.5, 0.3, 1.2),
    scale=Chance(0.4, 0.8, 1.2),
    flip=Chance(0.5),
    translate=Chance(0.4, -0.08, 0.08),
    contrast=Chance(0.4, 0.6, 1.4),
    noise=Chance(0.4, 0.0, 0.04),
)


@dataclass(frozen=True)
class _Drawn:
    """chosen: bool [N]. amounts: [N, 4] within the range; a transformation reads as many columns as it has axes."""

    chosen: Tensor
    amounts: Tensor

    def at(self, column: int, *, rest: float) -> Tensor:
        """[N]: the amounts of those that drew it, and for the others what changes nothing."""
        return torch.where(self.chosen, self.amounts[:, column], torch.tensor(rest))


class Augmenter(nn.Module):
    """Radiographs and masks, float [N, C, side, side] in 0..1 -> the same, moved and (radiographs only) regraded.

    Radiographs have one channel, masks any number. Both are left as they were; side: 9 or more, for CLAHE's 8x8 tiles.
    """

    def __init__(self, settings: Augmentation) -> None:
        super().__init__()
        self.settings = settings

    @torch.no_grad()
    def forward(self, radiographs: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(radiographs.device.type, enabled=False):  # coordinates in bfloat16 would be pixels off
            return self._augmented(radiographs, masks)

    def _augmented(self, radiographs: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        drawn = _draw(self.settings, len(radiographs))
        # Both as channels of one image: whatever moves one moves the other, by the same interpolation.
        moved = _move(torch.cat([radiographs, masks], dim=1), drawn)
        regraded = moved[:, :1]
        for name, regrade in _REGRADES.items():
            chosen = drawn[name].chosen.nonzero()[:, 0]
            if len(chosen):
                places = chosen.to(regraded.device)
                regraded[places] = regrade(regraded[places], drawn[name].amounts[chosen].to(regraded)).clamp(0, 1)
        return regraded, moved[:, 1:]


def showcase(radiograph: Tensor, seed: int, *, settings: Augmentation = PAPER) -> dict[str, np.ndarray]:
    """Figure s3: the original and each transformation alone at the upper edge of its range.

    radiograph: uint8 [side, side]. The arrays are like it, by the name of the transformation, the first is `original`.
    """
    shown = {"original": radiograph.numpy()}
    plane = radiograph.float().div(255)[None, None]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in TRANSFORMATIONS:
            chance: Chance = getattr(settings, name)
            if chance.probability > 0:
                alone = replace(Augmentation(), **{name: Chance(1.0, chance.high, chance.high)})
                changed, _ = Augmenter(alone)(plane, plane)
                shown[name] = changed[0, 0].mul(255).round().to(torch.uint8).numpy()
    return shown


def _draw(settings: Augmentation, count: int) -> dict[str, _Drawn]:
    """What happens to each of `count` samples. Drawn on the CPU, so that the choice never waits for a GPU."""
    drawn = {}
    either = torch.rand(count)
    for name in TRANSFORMATIONS:
        chance: Chance = getattr(settings, name)
        chosen = torch.rand(count) < chance.probability
        if name == "sharpen":
            chosen = either < chance.probability
        elif name == "blur":
            chosen = either >= 1 - chance.probability
        drawn[name] = _Drawn(chosen, chance.low + (chance.high - chance.low) * torch.rand(count, 4))
    return drawn


def _move(planes: Tensor, drawn: dict[str, _Drawn]) -> Tensor:
    """Flips, then turns, shears, scales and shifts by one interpolation. [N, C, side, side], a copy."""
    planes = planes.clone()
    flipped = drawn["flip"].chosen.nonzero()[:, 0].to(planes.device)
    planes[flipped] = hflip(planes[flipped])
    chosen = torch.stack([drawn[name].chosen for name in ("rotate", "shear", "scale", "translate")]).any(dim=0)
    if chosen.any():
        side = planes.shape[-1]
        matrices = _matrices(drawn, side)[chosen, :2].to(planes)
        places = chosen.nonzero()[:, 0].to(planes.device)
        moved = warp_affine(planes[places], matrices, (side, side), padding_mode="zeros", align_corners=True)
        planes[places] = moved.clamp(0, 1)
    return planes


def _matrices(drawn: dict[str, _Drawn], side: int) -> Tensor:
    """[N, 3, 3] in pixels, about the centre."""

    def both(name: str, rest: float) -> Tensor:
        return torch.stack([drawn[name].at(0, rest=rest), drawn[name].at(1, rest=rest)], dim=1)

    shift, scale = both("translate", 0.0) * side, both("scale", 1.0)
    centre = torch.full_like(shift, (side - 1) / 2)
    shear = drawn["shear"].at(0, rest=0.0).deg2rad()
    return get_affine_matrix2d(shift, centre, scale, drawn["rotate"].at(0, rest=0.0), shear, torch.zeros_like(shear))


# Each of the following: radiographs [n, 1, side, side] and amounts [n, 4] -> radiographs.


def _but_black(changed: Tensor, radiographs: Tensor) -> Tensor:
    """Padding says nothing, so black stays black as on the box; by degrees up to 0.05, lest dark ground be speckled."""
    return torch.lerp(radiographs, changed, (radiographs * 20).clamp(max=1))


def _brighten(radiographs: Tensor, amounts: Tensor) -> Tensor:
    return _but_black(adjust_brightness(radiographs, amounts[:, 0]), radiographs)


def _change_contrast(radiographs: Tensor, amounts: Tensor) -> Tensor:
    return adjust_contrast(radiographs, amounts[:, 0])


def _change_gamma(radiographs: Tensor, amounts: Tensor) -> Tensor:
    return adjust_gamma(radiographs, amounts[:, 0])


def _equalise(radiographs: Tensor, amounts: Tensor) -> Tensor:
    drawn = {"clip_limit_factor": amounts[:, 0]}
    return _but_black(K.RandomClahe(p=1.0, grid_size=(8, 8))(radiographs, params=drawn), radiographs)


def _blur(radiographs: Tensor, amounts: Tensor) -> Tensor:
    return gaussian_blur2d(radiographs, (7, 7), amounts[:, :1].expand(-1, 2))


def _sharpen(radiographs: Tensor, amounts: Tensor) -> Tensor:
    # kornia's sharpness does the same with a 3x3 kernel, ten times slower at 1024 pixels, and leaves out the margin.
    lost = radiographs - gaussian_blur2d(radiographs, (7, 7), (1.5, 1.5))
    return radiographs + amounts[:, 0, None, None, None] * lost


def _add_noise(radiographs: Tensor, amounts: Tensor) -> Tensor:
    noise = torch.randn_like(radiographs) * amounts[:, 0, None, None, None]
    return _but_black(radiographs + noise, radiographs)


_REGRADES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "marker": draw_marker,  # lies on the detector, so all that follows happens to it too
    "clahe": _equalise,
    "gamma": _change_gamma,
    "contrast": _change_contrast,
    "brighten": _brighten,
    "resolution": lose_resolution,
    "sharpen": _sharpen,
    "blur": _blur,
    "noise": _add_noise,
    "border": draw_border,
}
