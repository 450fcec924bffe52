"""What a machine or a radiographer leaves on a radiograph: lost resolution, black borders, a side marker.

Each: radiographs [n, 1, side, side] in 0..1 and amounts [n, 4] -> radiographs. kornia has none of the three.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name torch's own documentation uses
from torch import Tensor

# Letters that radiographers lay on the detector.
_LETTERS = (
    ("####.", "#...#", "####.", "#..#.", "#...#"),  # R
    ("#....", "#....", "#....", "#....", "#####"),  # L
    ("####.", "#...#", "####.", "#....", "#...."),  # P
    (".###.", "#...#", "#####", "#...#", "#...#"),  # A
)
_FRAME = 0.15  # a marker lies within this share of the side from a border, so never on what matters


def lose_resolution(radiographs: Tensor, amounts: Tensor) -> Tensor:
    """amounts: share of the side that is left. Reduced by areas, then enlarged bilinearly."""
    side = radiographs.shape[-1]
    lost = []
    for radiograph, share in zip(radiographs.split(1), amounts[:, 0].tolist(), strict=True):
        less = F.interpolate(radiograph, size=max(2, round(share * side)), mode="area")
        lost.append(F.interpolate(less, size=side, mode="bilinear", align_corners=False))
    return torch.cat(lost)


def draw_border(radiographs: Tensor, amounts: Tensor) -> Tensor:
    """amounts: widths as shares of the side, of the top, bottom, left and right border."""
    side = radiographs.shape[-1]
    ramp = torch.arange(side, device=radiographs.device)
    top, bottom, left, right = (amounts * side).round().T[..., None]  # [n, 1] each
    rows = (ramp >= top) & (ramp < side - bottom)  # [n, side]
    columns = (ramp >= left) & (ramp < side - right)
    return radiographs * (rows[:, None, :, None] & columns[:, None, None, :])


def draw_marker(radiographs: Tensor, amounts: Tensor) -> Tensor:
    """amounts: height as a share of the side. One letter, nearly white, upright or mirrored, near any border."""
    side = radiographs.shape[-1]
    marked = radiographs.clone()
    frame = max(5, round(_FRAME * side))
    for plane, share in zip(marked[:, 0], amounts[:, 0].tolist(), strict=True):
        height = min(max(5, round(share * side)), frame)
        letter = _letter(height).to(plane)
        across, along = torch.rand(2).tolist()  # depth into the frame, and place along the border
        row, column = round(across * (frame - height)), round(along * (side - height))
        for _ in range(int(torch.randint(4, ()))):  # which border: turned about the middle
            row, column = column, side - height - row
        window = plane[row : row + height, column : column + height]
        window.copy_(torch.maximum(window, letter * (0.75 + 0.25 * float(torch.rand(())))))
    return marked


def _letter(height: int) -> Tensor:
    """Float [height, height], 1 where the letter is."""
    rows = _LETTERS[int(torch.randint(len(_LETTERS), ()))]
    letter = torch.tensor([[float(cell == "#") for cell in row] for row in rows])
    if torch.rand(()) < 0.5:
        letter = letter.flip(-1)
    return F.interpolate(letter[None, None], size=(height, height), mode="nearest")[0, 0]
