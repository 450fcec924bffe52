"""Each transformation alone does what its name says, as often as it is asked to, and masks follow the geometry only."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from training.augment import MOVED, PAPER, STRONG, TRANSFORMATIONS, Augmentation, Augmenter, Chance, showcase

# torch.jit, which kornia imports, and kornia's own notes on itself
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SIDE = 128
MOVES = ("rotate", "shear", "scale", "translate", "flip")
REGRADES = tuple(name for name in TRANSFORMATIONS if name not in MOVES)


def alone(name: str, low: float, high: float | None = None, probability: float = 1.0) -> Augmentation:
    return replace(Augmentation(), **{name: Chance(probability, low, low if high is None else high)})


def edge(name: str) -> Augmentation:
    """name alone at the upper edge of the range that it has in STRONG, or in PAPER."""
    chance = getattr(STRONG, name) if getattr(STRONG, name).probability else getattr(PAPER, name)
    return alone(name, chance.high)


def texture(count: int, side: int = SIDE) -> Tensor:
    """Smooth grey structure in 0.2..0.8, never black, [count, 1, side, side]."""
    coarse = torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(3))
    return 0.2 + 0.6 * torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def bar(*, upright: bool) -> Tensor:
    """A soft bright bar through the centre, [1, 1, SIDE, SIDE]."""
    across = torch.arange(SIDE) - (SIDE - 1) / 2
    profile = torch.exp(-(across**2) / 18)
    ends = (across.abs() < 40).float()
    plane = ends[:, None] * profile[None] if upright else profile[:, None] * ends[None]
    return plane[None, None]


def moments(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Centre (x, y) and covariance of the brightness of [1, 1, side, side], in pixels from the middle."""
    weights = plane[0, 0].double()
    weights = weights / weights.sum()
    steps = torch.arange(weights.shape[-1]).double() - (weights.shape[-1] - 1) / 2
    places = torch.stack([steps.expand_as(weights), steps[:, None].expand_as(weights)])  # x, y
    centre = (places * weights).sum(dim=(1, 2))
    away = places - centre[:, None, None]
    return centre, torch.einsum("ihw,jhw,hw->ij", away, away, weights)


def angle(plane: Tensor) -> float:
    """Degrees between the long axis and the vertical, positive clockwise as displayed."""
    _, covariance = moments(plane)
    long = torch.linalg.eigh(covariance).eigenvectors[:, 1]
    return -math.degrees(math.atan(long[0] / long[1]))


@pytest.mark.parametrize("degrees", [7.0, -7.0])
def test_rotate_turns_by_its_degrees(degrees: float) -> None:
    turned, _ = Augmenter(alone("rotate", degrees))(bar(upright=True), bar(upright=True))
    assert angle(turned) == pytest.approx(degrees, abs=0.3)
    lying, _ = Augmenter(alone("rotate", degrees))(bar(upright=False), bar(upright=False))
    assert angle(turned) + 90 == pytest.approx(angle(lying) % 180, abs=0.3)  # both axes turn: no shear


@pytest.mark.parametrize("degrees", [7.0, -7.0])
def test_shear_tilts_one_axis_and_leaves_the_other(degrees: float) -> None:
    upright, lying = bar(upright=True), bar(upright=False)
    tilted, kept = Augmenter(alone("shear", degrees))(upright, lying)
    assert abs(angle(tilted)) == pytest.approx(7.0, abs=0.3)
    assert angle(kept) % 180 == pytest.approx(90, abs=0.3)


def test_scale_changes_each_axis_by_itself() -> None:
    torch.manual_seed(0)
    block = torch.zeros(1, 1, SIDE, SIDE)
    block[..., 44:84, 44:84] = 1
    widths, heights = [], []
    _, before = moments(block)
    for _ in range(60):
        scaled, _ = Augmenter(alone("scale", 0.8, 1.2))(block, block)
        _, after = moments(scaled)
        widths.append((after[0, 0] / before[0, 0]).sqrt().item())
        heights.append((after[1, 1] / before[1, 1]).sqrt().item())
    for factors in (widths, heights):
        assert 0.79 < min(factors) < 0.85 and 1.15 < max(factors) < 1.21
    assert abs(np.corrcoef(widths, heights)[0, 1]) < 0.4
    wider, _ = Augmenter(alone("scale", 1.2))(block, block)
    assert moments(wider)[1][0, 0].div(before[0, 0]).sqrt().item() == pytest.approx(1.2, abs=0.01)


def test_translate_shifts_by_its_share() -> None:
    shifted, _ = Augmenter(alone("translate", 0.0625))(bar(upright=True), bar(upright=True))
    torch.testing.assert_close(moments(shifted)[0], torch.full((2,), 8.0).double(), atol=0.05, rtol=0)


def test_flip_is_exact_and_left_to_right() -> None:
    flipped, masks = Augmenter(edge("flip"))(texture(2), texture(2))
    assert torch.equal(flipped, texture(2).flip(-1)) and torch.equal(masks, texture(2).flip(-1))


def test_brighten_contrast_and_gamma_keep_the_order_of_grey_levels() -> None:
    ramp = torch.linspace(0, 1, SIDE).expand(1, 1, SIDE, SIDE)
    for name, low in (("brighten", 0.1), ("contrast", 0.7), ("contrast", 1.3), ("gamma", 0.7), ("gamma", 1.4)):
        changed = Augmenter(alone(name, low))(ramp, ramp)[0][0, 0, 0]
        assert (changed.diff() >= 0).all()
    middle = slice(20, 60)
    brighter, _ = Augmenter(alone("brighten", 0.2))(ramp, ramp)
    torch.testing.assert_close(brighter[..., middle], ramp[..., middle] + 0.2)
    stretched, _ = Augmenter(alone("contrast", 1.3))(ramp, ramp)
    torch.testing.assert_close(stretched[..., middle].std(), ramp[..., middle].std() * 1.3)
    bent, _ = Augmenter(alone("gamma", 1.4))(ramp, ramp)
    torch.testing.assert_close(bent, ramp**1.4)


def test_clahe_raises_local_contrast() -> None:
    faint = 0.5 + 0.1 * (texture(2) - 0.5)
    equalised, _ = Augmenter(alone("clahe", 4.0))(faint, faint)
    tiles = torch.nn.functional.unfold(equalised, 16, stride=16).std(dim=1)
    assert (tiles > 2 * torch.nn.functional.unfold(faint, 16, stride=16).std(dim=1)).float().mean() > 0.9


def roughness(radiographs: Tensor) -> float:
    return float((radiographs[..., 1:-1] - radiographs[..., :-2]).abs().mean())


def test_sharpen_makes_edges_steeper_and_blur_and_lost_resolution_flatter() -> None:
    edges = 0.3 + 0.4 * (torch.rand(2, 1, 32, 32) > 0.5).float().repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert roughness(Augmenter(edge("sharpen"))(edges, edges)[0]) > 1.1 * roughness(edges)
    for name, strength in (("blur", 1.5), ("resolution", 0.35)):
        flatter, _ = Augmenter(alone(name, strength))(edges, edges)
        assert roughness(flatter) < 0.9 * roughness(edges)
        assert flatter.mean() == pytest.approx(float(edges.mean()), abs=0.005)
    grain = torch.rand(1, 1, SIDE, SIDE)
    coarser, _ = Augmenter(alone("resolution", 0.25))(grain, grain)
    assert coarser.std() < 0.25 * grain.std()  # averaged over 16 pixels each: what is lost is not aliased


def test_sharpen_and_blur_exclude_each_other() -> None:
    torch.manual_seed(0)
    edges = (texture(1) > 0.5).float().mul(0.4).add(0.3).expand(300, -1, -1, -1)
    both = replace(Augmentation(), sharpen=Chance(0.5, 1.0, 1.0), blur=Chance(0.5, 1.2, 1.2))
    rough = [round(roughness(one[None]), 5) for one in Augmenter(both)(edges, edges)[0]]
    either = [
        round(roughness(Augmenter(edge)(edges[:1], edges[:1])[0]), 5)
        for edge in (alone("sharpen", 1.0), alone("blur", 1.2))
    ]
    assert set(rough) == set(either)  # never both, never neither
    assert 110 < rough.count(either[0]) < 190
    with pytest.raises(ValueError, match="exclude each other"):
        replace(PAPER, blur=Chance(0.6, 0.1, 1.2))


def test_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    flat = torch.full((2, 1, SIDE, SIDE), 0.5)
    noisy, _ = Augmenter(alone("noise", 0.05))(flat, flat)
    assert (noisy - 0.5).std().item() == pytest.approx(0.05, rel=0.03)
    assert abs((noisy - 0.5).mean().item()) < 0.001


def test_border_blackens_every_side_by_its_share() -> None:
    framed, _ = Augmenter(alone("border", 0.0625))(texture(1), texture(1))
    inner = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    inner[8:-8, 8:-8] = True
    assert torch.equal(framed[0, 0] > 0, inner)


def test_marker_is_small_bright_and_outside_the_middle() -> None:
    torch.manual_seed(0)
    dark = torch.full((200, 1, SIDE, SIDE), 0.1)
    marked, _ = Augmenter(alone("marker", 0.03, 0.07))(dark, dark)
    touched = marked[:, 0] != 0.1
    shares = touched.float().mean(dim=(1, 2))
    assert (shares > 0.0005).all() and (shares < 0.006).all()
    assert (marked[:, 0][touched] >= 0.75).all()
    margin = round(0.15 * SIDE)
    assert not touched[:, margin:-margin, margin:-margin].any()
    inner = slice(margin, -margin)
    sides = (
        touched[:, :margin, inner],
        touched[:, -margin:, inner],
        touched[:, inner, :margin],
        touched[:, inner, -margin:],
    )
    assert all(part.flatten(1).any(dim=1).sum() > 20 for part in sides)


@pytest.mark.parametrize("name", REGRADES)
def test_masks_are_never_regraded(name: str) -> None:
    torch.manual_seed(0)
    radiographs, masks = texture(3), (texture(3) > 0.5).float()
    before = radiographs.clone(), masks.clone()
    changed, kept = Augmenter(edge(name))(radiographs, masks)
    assert torch.equal(kept, masks)
    assert (changed - radiographs).abs().amax(dim=(1, 2, 3)).min() > 0.005
    assert torch.equal(radiographs, before[0]) and torch.equal(masks, before[1])  # given arrays stay as they were


@pytest.mark.parametrize("name", MOVES)
def test_every_mask_plane_moves_with_its_radiograph(name: str) -> None:
    torch.manual_seed(0)
    radiographs = texture(3)
    moved, masks = Augmenter(edge(name))(radiographs, radiographs.repeat(1, 2, 1, 1))
    assert torch.equal(masks[:, :1], moved) and torch.equal(masks[:, 1:], moved)
    assert (moved - radiographs).abs().mean() > 0.005


# Each at the highest probability that STRONG and PAPER give it; an interval of 4 standard deviations, 15 times.
@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_as_often_as_asked(name: str) -> None:
    torch.manual_seed(0)
    chance = max((getattr(settings, name) for settings in (PAPER, STRONG)), key=lambda one: one.probability)
    low = chance.high / 2 if chance.low == 0 else chance.low  # nought would change nothing, and so not count
    count, share = 4000, chance.probability
    radiographs = texture(1, side=24).expand(count, -1, -1, -1)
    changed, _ = Augmenter(alone(name, low, chance.high, share))(radiographs, radiographs)
    seen = (changed != radiographs).any(dim=3).any(dim=2).float().mean().item()
    assert abs(seen - share) < 4 * math.sqrt(share * (1 - share) / count)


def test_the_papers_probabilities_and_nothing_else() -> None:
    given = {name: getattr(PAPER, name).probability for name in TRANSFORMATIONS if getattr(PAPER, name).probability}
    assert given == {
        "brighten": 0.4, "gamma": 0.3, "clahe": 0.4, "rotate": 0.4, "shear": 0.4, "scale": 0.4, "flip": 0.5,
        "sharpen": 0.5, "blur": 0.5,
    }  # fmt: skip
    assert (PAPER.rotate.low, PAPER.rotate.high) == (PAPER.shear.low, PAPER.shear.high) == (-7, 7)
    assert (PAPER.scale.low, PAPER.scale.high) == (0.8, 1.2)


@pytest.mark.parametrize("settings", [PAPER, STRONG, MOVED], ids=["paper", "strong", "moved"])
@pytest.mark.parametrize("fill", ["blank", "white", "grey", "texture"])
def test_whatever_comes_stays_finite_and_in_range(settings: Augmentation, fill: str) -> None:
    torch.manual_seed(0)
    level = {"blank": 0.0, "white": 1.0, "grey": 0.5}
    radiographs = texture(24, 40) if fill == "texture" else torch.full((24, 1, 40, 40), level[fill])
    changed, masks = Augmenter(settings)(radiographs, radiographs)
    for plane in (changed, masks):
        assert plane.isfinite().all() and plane.min() >= 0 and plane.max() <= 1
    assert changed.shape == masks.shape == radiographs.shape


def test_padding_stays_black() -> None:
    torch.manual_seed(0)
    padded = texture(40)
    padded[..., :16] = 0
    only = {name: getattr(STRONG, name) for name in ("brighten", "gamma", "contrast", "noise")}
    regraded, _ = Augmenter(replace(Augmentation(), clahe=PAPER.clahe, **only))(padded, padded)
    assert (regraded[..., :16] == 0).all()


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(Augmenter(STRONG)(texture(8), texture(8)))
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_mixed_precision_around_it_changes_nothing() -> None:
    torch.manual_seed(5)
    expected = Augmenter(STRONG)(texture(8), texture(8))
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        found = Augmenter(STRONG)(texture(8), texture(8))
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


def test_nothing_by_default() -> None:
    radiographs, masks = Augmenter(Augmentation())(texture(2), texture(2))
    assert torch.equal(radiographs, texture(2)) and torch.equal(masks, texture(2))


def test_showcase_is_figure_s3() -> None:
    radiograph = texture(1)[0, 0].mul(255).to(torch.uint8)
    state = torch.random.get_rng_state()
    shown, again = showcase(radiograph, 1), showcase(radiograph, 1)
    assert list(shown) == [
        "original", "brighten", "sharpen", "gamma", "shear", "rotate", "clahe", "blur", "scale", "flip",
    ]  # fmt: skip
    assert np.array_equal(shown["original"], radiograph.numpy())
    for name, plane in shown.items():
        assert plane.dtype == np.uint8 and plane.shape == (SIDE, SIDE) and np.array_equal(plane, again[name])
        assert name == "original" or not np.array_equal(plane, shown["original"])
    assert torch.equal(torch.random.get_rng_state(), state)  # a figure changes no training
    assert set(showcase(radiograph, 1, settings=STRONG)) > {"noise", "marker", "border", "resolution", "translate"}
