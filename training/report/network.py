"""Figure s5: the network drawn, from its input over the feature maps to the decision head and the embedding."""

from dataclasses import dataclass

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Polygon, Rectangle

from edge.engines.base import EMBEDDING_SIZE
from training.model import Classifier, ClassifierArchitecture
from training.report.document import Missing, Picture
from training.report.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, canvas, in_style, svg
from training.report.paper import name_of

_INPUT_CHANNELS = 3


@dataclass(frozen=True)
class Stage:
    """A feature map: side x side x channels."""

    side: int
    channels: int


def stages_of(architecture: ClassifierArchitecture) -> tuple[Stage, ...]:
    """The feature maps after each reduction, from the architecture itself: nothing is computed with it."""
    with torch.device("meta"):
        network = Classifier(architecture)
    known = network.backbone.feature_info
    return tuple(Stage(architecture.side // stage["reduction"], stage["num_chs"]) for stage in known)


@in_style
def network(member: str, architecture: ClassifierArchitecture | None) -> Picture | Missing:
    """Of the embedding member; None where the study does not say how it was built."""
    if architecture is None:
        return Missing("Figure s5", f"the study's settings do not name the preset that {member} was built by.")
    stages = stages_of(architecture)
    first, second = _hidden(architecture)
    last = stages[-1]
    figure = canvas(2.75)
    axes = figure.subplots()
    _draw(axes, architecture.side, stages, (last.channels, first, second))
    sizes = ", ".join(f"{stage.side}x{stage.side}x{stage.channels}" for stage in stages)
    caption = (
        f"The network {name_of(member)} in use. Its input of {architecture.side}x{architecture.side} pixels has three "
        "channels: radiograph, lung probability"
        + ("" if architecture.lung_channel else " (left empty)")
        + f", zeros. The backbone {architecture.backbone} gives feature maps of {sizes}; the mean over the last is a "
        f"vector of {last.channels} numbers. The decision head has three fully connected layers ({first}, {second}, "
        f"2); its last hidden vector, {second} numbers, is the embedding. The evidence map is the same head at every "
        "position of the last feature map. The lung U-Net comes before and is not drawn; the ensemble is the mean of "
        "such networks."
    )
    alt = f"Diagram: input, feature maps of {sizes}, mean, three fully connected layers, embedding and score."
    return Picture("Figure s5", caption, alt, svg(figure), "svg")


def _hidden(architecture: ClassifierArchitecture) -> tuple[int, int]:
    with torch.device("meta"):
        head = Classifier(architecture).head
    return head.first.out_features, EMBEDDING_SIZE


def _draw(axes: Axes, side: int, stages: tuple[Stage, ...], vectors: tuple[int, int, int]) -> None:
    """Heights go with the logarithm of a map's side, widths with that of its channels."""
    axes.set(xlim=(0, 100), ylim=(0, 40))
    axes.set_axis_off()
    maps = [(side, _INPUT_CHANNELS, GREY), *((stage.side, stage.channels, BLUE) for stage in stages)]
    step = 52 / len(maps)
    middle, left = 22.0, 2.0
    for place, (map_side, channels, colour) in enumerate(maps):
        height = 4 + 20 * _logarithm(map_side) / _logarithm(side)
        _slab(axes, left, middle, height, 1.0 + 0.22 * _logarithm(channels), colour)
        low = 3.2 if place % 2 else 6.2  # neighbours' labels would run into each other
        axes.text(left + 1.6, low, f"{map_side}²x{channels}", ha="center", fontsize=7)
        axes.plot([left + 1.6] * 2, [low + 2.0, middle - height / 2 - 0.6], color="#cccccc", linewidth=0.6, zorder=0)
        left += step
    axes.text(2, 37, "Input", fontsize=8, color=GREY, weight="bold")
    axes.text(2 + step, 37, "Backbone: feature maps", fontsize=8, color=BLUE, weight="bold")
    _head(axes, 59.0, middle, vectors)


def _head(axes: Axes, left: float, middle: float, vectors: tuple[int, int, int]) -> None:
    names = ("mean", "layer 1", "layer 2:\nembedding", "layer 3:\nlogits")
    sizes, colours = (*vectors, 2), (PURPLE, GREEN, ORANGE, VERMILLION)
    axes.text(left + 9, 37, "Decision head", fontsize=8, color="black", weight="bold")
    for place, (name, size, colour) in enumerate(zip(names, sizes, colours, strict=True)):
        height = 2.5 + 2.0 * _logarithm(size)
        at = left + 9.5 * place
        axes.add_patch(
            Rectangle((at, middle - height / 2), 1.6, height, facecolor=colour, edgecolor="black", linewidth=0.7)
        )
        _arrow(axes, at - 5.5, at - 0.6, middle)
        axes.text(at + 0.8, 4.2, name, ha="center", va="center", fontsize=7)
        axes.text(at + 0.8, middle + height / 2 + 1.0, str(size), ha="center", fontsize=7.5)
    _arrow(axes, left + 31.5, left + 35.0, middle)
    axes.text(left + 35.6, middle, "score", va="center", fontsize=8, weight="bold")
    axes.annotate(
        "similar cases,\nt-SNE", (left + 20.8, middle + 5.0), (left + 25.0, middle + 11.5), fontsize=7.5, va="center",
        arrowprops={"arrowstyle": "<-", "color": ORANGE, "linewidth": 1.0},
    )  # fmt: skip


def _slab(axes: Axes, left: float, middle: float, height: float, depth: float, colour: str) -> None:
    """A feature map as a box in perspective."""
    low, high, lean = middle - height / 2, middle + height / 2, (0.9, 1.6)
    right = left + depth
    edge = {"edgecolor": "white", "linewidth": 0.6, "facecolor": colour}
    axes.add_patch(Rectangle((left, low), depth, height, **edge))
    top = [(left, high), (right, high), (right + lean[0], high + lean[1]), (left + lean[0], high + lean[1])]
    side = [(right, low), (right + lean[0], low + lean[1]), (right + lean[0], high + lean[1]), (right, high)]
    axes.add_patch(Polygon(top, alpha=0.55, **edge))
    axes.add_patch(Polygon(side, alpha=0.75, **edge))


def _arrow(axes: Axes, start: float, end: float, height: float) -> None:
    axes.annotate("", (end, height), (start, height), arrowprops={"arrowstyle": "->", "linewidth": 0.9})


def _logarithm(value: int) -> float:
    return float(max(value, 2).bit_length() - 1)
