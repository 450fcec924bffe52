"""How figures look, and how they become bytes: one style, colours that the colour-blind tell apart, no global state.

Figures are matplotlib Figure objects, never pyplot's; the same figure gives the same bytes.
"""

import io
from functools import cache

import cv2
import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from numpy.typing import NDArray

WIDTH_IN = 6.8  # 173 mm: the text width of an A4 page
DPI = 150
# Okabe and Ito, "Color Universal Design" (2008).
BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, YELLOW, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#000000",
)  # fmt: skip
NEGATIVE, POSITIVE = BLUE, VERMILLION
GREY = "#767676"
CATEGORIES = (GREEN, ORANGE, PURPLE, SKY, BLACK, YELLOW, BLUE, VERMILLION)
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a source may be named "$"
    "svg.fonttype": "path",
    "svg.hashsalt": "edge-cxr",
    "savefig.facecolor": "white",
}
# A decorator of every function that draws: matplotlib reads its style both when text is made and when it is saved.
in_style = matplotlib.style.context(["default", _STYLE])


def canvas(height_in: float) -> Figure:
    return Figure(figsize=(WIDTH_IN, height_in), layout="constrained")


def svg(figure: Figure) -> bytes:
    """Vector, without a date."""
    sink = io.BytesIO()
    figure.savefig(sink, format="svg", metadata={"Date": None})
    return sink.getvalue()


def png(figure: Figure) -> bytes:
    """At 150 dots an inch: for radiographs."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=DPI, metadata={"Software": None})
    return sink.getvalue()


def show_radiograph(axes: Axes, pixels: NDArray[np.uint8], title: str = "", *, side: int = 360) -> None:
    """pixels: uint8 [s, s]; reduced to about what is printed of it."""
    reduced = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA) if pixels.shape[0] > side else pixels
    axes.imshow(reduced, cmap="gray", vmin=0, vmax=255)
    bare(axes)
    axes.set_title(title)


def bare(axes: Axes) -> None:
    """Neither ticks nor frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_frame_on(False)


def drawable(text: str) -> str:
    """Characters that the font lacks become question marks, for a manifest may hold any; lines stay."""
    known = _known_characters()
    return "".join(character if ord(character) in known or character == "\n" else "?" for character in text)


@cache
def _known_characters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def tinted(pixels: NDArray[np.uint8], share: NDArray[np.float32], colour: str, *, side: int = 360) -> NDArray[np.uint8]:
    """A radiograph [s, s] under a map in 0..1 of any size, in one colour: uint8 [side, side, 3]."""
    grey = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None]
    alpha = 0.6 * cv2.resize(share, (side, side), interpolation=cv2.INTER_LINEAR).clip(0, 1)[..., None]
    ink = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)], np.float32)
    return ((1 - alpha) * grey + alpha * ink).round().astype(np.uint8)


def show_colours(axes: Axes, picture: NDArray[np.uint8], title: str = "") -> None:
    """picture: uint8 [s, s, 3]."""
    axes.imshow(picture)
    bare(axes)
    axes.set_title(title)
