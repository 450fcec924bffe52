"""Figures s3 and s4: what augmentation does to a radiograph, and what the U-Net finds in it; with their tables."""

import numpy as np

from training.augment import PAPER, Augmentation, Chance
from training.outcome import LungOverlap, StudyOutcome
from training.report.document import Missing, Picture, Table
from training.report.drawing import SKY, VERMILLION, canvas, in_style, png, show_colours, show_radiograph, tinted
from training.report.images import AUGMENTATIONS, Images
from training.report.sample import Sample, sample
from training.report.wording import NONE, counted, listed

_LUNG = 0.5  # probability from which a pixel counts as lung
_RANGES = {
    "brighten": "added to grey levels of 0..1",
    "sharpen": "strength",
    "gamma": "exponent",
    "shear": "degrees",
    "rotate": "degrees",
    "clahe": "clip limit",
    "blur": "sigma in pixels",
    "scale": "factor of each axis",
    "flip": "left to right",
    "translate": "share of the side",
    "contrast": "factor",
    "resolution": "share of the side that is left",
    "noise": "standard deviation",
    "marker": "height as a share of the side",
    "border": "share of the side",
}


@in_style
def augmentations(outcome: StudyOutcome, images: Images) -> Picture | Missing:
    """Figure s3: the contact sheet, in the paper's order."""
    train = sample(outcome, "train")
    if not len(train):
        return Missing("Figure s3", "there is no training radiograph.")
    row = train.rows[0]
    shown = images.augmented(row, tuple(AUGMENTATIONS))
    pictures = [("Original", images.pixels(row))]
    pictures += [(AUGMENTATIONS[name], shown[name]) for name in AUGMENTATIONS if name in shown]
    columns = 5
    rows = -(-len(pictures) // columns)
    figure = canvas(1.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False)
    names = []
    for axes, letter, (name, pixels) in zip(panels.flat, "abcdefghijkl", pictures, strict=False):
        show_radiograph(axes, pixels, f"({letter}) {name}", side=260)
        names.append(f"({letter}) {name}")
    for axes in panels.flat[len(pictures) :]:
        axes.set_visible(False)
    caption = (
        f"Augmentation of a training radiograph, row {row.line} of the manifest: {listed(names)}. Each is shown alone, "
        "at the upper end of its range; in training each is drawn with its own probability and strength."
    )
    return Picture("Figure s3", caption, f"Contact sheet: {listed(names)}.", png(figure), "png")


def augmentation_table(used: Augmentation | None, number: str) -> Table | Missing:
    """used: of the network whose embedding the report shows; beside the supplement's list."""
    if used is None:
        return Missing(number, "the embedding member was trained without augmentation.")
    rows = [
        (
            AUGMENTATIONS.get(name, name.capitalize()),
            meaning,
            _chance(getattr(used, name)),
            _chance(getattr(PAPER, name)),
        )
        for name, meaning in _RANGES.items()
        if getattr(used, name).probability or getattr(PAPER, name).probability
    ]
    caption = (
        "Augmentations: probability and range, from which the strength is drawn uniformly. The supplement gives the "
        "probabilities, the 7 degrees and the 0.2 of scale; the other ranges of the last column are this project's "
        "reading of it."
    )
    header = ("Transformation", "What the range means", "This study", "After the paper's supplement")
    return Table(number, caption, header, tuple(rows))


def _chance(chance: Chance) -> str:
    if not chance.probability:
        return NONE
    span = "" if chance.low == chance.high else f", {chance.low:g} to {chance.high:g}"
    return f"p = {chance.probability:g}{span}"


@in_style
def segmentation(outcome: StudyOutcome, images: Images) -> Picture | Missing:
    """Figure s4: three test radiographs, the lung probability, and its outline at one half."""
    chosen = sample(outcome, outcome.primary)
    if not len(chosen):
        return Missing("Figure s4", f"the split {outcome.primary} is empty.")
    shares = {place: float((images.lungs(chosen.rows[place]) >= _LUNG).mean()) for place in _looked_at(chosen)}
    order = sorted(shares, key=lambda place: (shares[place], place))
    places = list(dict.fromkeys([order[0], order[len(order) // 2], order[-1]]))
    figure = canvas(2.35 * len(places))
    panels = figure.subplots(len(places), 3, squeeze=False)
    told = []
    for number, place in enumerate(places):
        row = chosen.rows[place]
        pixels, lungs = images.pixels(row), images.lungs(row)
        show_radiograph(panels[number, 0], pixels, f"({'abc'[number]}) Radiograph")
        panels[number, 1].imshow(lungs, cmap="cividis", vmin=0, vmax=1)
        panels[number, 1].set(xticks=[], yticks=[], frame_on=False)
        panels[number, 1].set_title("Probability of lung")
        show_colours(panels[number, 2], tinted(pixels, lungs, SKY), f"Lung: {shares[place]:.0%} of the square")
        if lungs.min() < _LUNG <= lungs.max():
            scale = (np.arange(len(lungs)) + 0.5) * 360 / len(lungs) - 0.5
            panels[number, 2].contour(scale, scale, lungs, [_LUNG], colors=VERMILLION, linewidths=0.9)
        told.append(f"({'abc'[number]}) row {row.line} of the manifest, {shares[place]:.0%}")
    caption = (
        f"Lung segmentation by the U-Net on radiographs of {outcome.primary}: of {counted(len(shares), 'radiograph')} "
        f"looked at, those with the least, the median and the most lung: {listed(told)}. Middle: probability, yellow "
        "is lung. Right: the same over the radiograph, outlined at one half."
    )
    return Picture("Figure s4", caption, f"Radiographs with their lung masks: {listed(told)}.", png(figure), "png")


def _looked_at(chosen: Sample, most: int = 60) -> range:
    """Evenly spread over the split: the U-Net is asked anew for each."""
    return range(0, len(chosen), -(-len(chosen) // most))


def overlap_table(outcome: StudyOutcome, number: str) -> Table | Missing:
    """Dice and IoU with annotators' masks; the labels of the lung manifest counted apart where it has several."""
    rows = []
    for part in outcome.lungs:
        labels = [row.label for row in part.rows]
        rows.append(_overlap(part, part.split, np.ones(len(part.dice), bool)))
        if len(set(labels)) > 1:
            for label in sorted(set(labels)):
                kept = np.array([one == label for one in labels], bool)
                rows.append(_overlap(part, f"{part.split}, {label or 'no label'}", kept))
    if not rows:
        return Missing(number, "no annotated lung masks were given, so the overlap of the U-Net's masks is not known.")
    caption = "Overlap of the U-Net's masks with those of annotators, on patients it was not trained on."
    header = ("Split", "Masks", "Dice, median", "Dice, 5th percentile", "Dice, lowest", "IoU, median")
    return Table(number, caption, header, tuple(rows))


def _overlap(part: LungOverlap, name: str, kept: np.ndarray) -> tuple[str, ...]:
    dice, iou = part.dice[kept], part.iou[kept]
    figures = (np.median(dice), np.percentile(dice, 5), dice.min(), np.median(iou)) if len(dice) else ()
    return (name, str(len(dice)), *(f"{figure:.3f}" for figure in figures), *[NONE] * (4 - len(figures)))
