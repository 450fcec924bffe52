"""Figure 1 and figure 5: single radiographs on their way through the pipeline, and the ones that are hard to call."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from training.outcome import ENSEMBLE, StudyOutcome
from training.report.document import Missing, Picture
from training.report.drawing import (
    BLACK,
    GREY,
    SKY,
    VERMILLION,
    canvas,
    drawable,
    in_style,
    png,
    show_colours,
    show_radiograph,
    tinted,
)
from training.report.images import AUGMENTATIONS, Images
from training.report.paper import name_of
from training.report.sample import Sample, all_tests, sample
from training.report.wording import kept_short, listed
from training.row import Row

_SHOWN = ("brighten", "flip", "rotate", "clahe", "scale")  # of the paper's figure 1


@in_style
def pipeline(outcome: StudyOutcome, images: Images) -> Picture | Missing:
    """Figure 1: from the standardised radiograph to the score, with the pictures of one case."""
    chosen = sample(outcome, outcome.primary)
    places = np.flatnonzero(chosen.positive) if chosen.positive.any() else np.arange(len(chosen))
    if not len(places):
        return Missing("Figure 1", f"the split {outcome.primary} is empty.")
    order = places[np.argsort(chosen.scores[places], kind="stable")]
    place = int(order[len(order) // 2])
    row = chosen.rows[place]
    pixels, lungs, evidence = images.pixels(row), images.lungs(row), images.evidence(row)
    figure = canvas(3.55)
    above, below = figure.subfigures(2, 1, height_ratios=[1, 1.45])
    shown = _augmentations(above.subplots(1, len(_SHOWN) + 1), row, images)
    panels = below.subplots(1, 4 if evidence is not None else 3)
    show_colours(panels[0], tinted(pixels, lungs, SKY), f"({shown[0]}) Lung probability")
    show_colours(panels[1], _channels(pixels, lungs), f"({shown[1]}) Network input")
    _scores(panels[2], outcome, chosen, place)
    panels[2].set_title(f"({shown[2]}) Scores")
    if evidence is not None:
        show_colours(panels[3], tinted(pixels, evidence, VERMILLION), f"({shown[3]}) Evidence")
    where = (
        f" ({shown[3]}) Evidence: the score at each place, stronger orange is higher." if evidence is not None else ""
    )
    label = outcome.labels[int(chosen.positive[place])]
    caption = (
        f"The pipeline with one case: row {row.line} of the manifest, {label}, the median score of its label in "
        f"{outcome.primary} (n = {len(places)}). Top: (a) the standardised radiograph (cropped, brightness "
        "standardised, squared to 1024 pixels, CLAHE), then augmentations, each alone; they are drawn at random in "
        f"training, never in use. Bottom: ({shown[0]}) lung probability of the U-Net, ({shown[1]}) the network's "
        f"input, red the radiograph, green the lung probability, blue the empty channel, ({shown[2]}) the score of "
        f"each member and of the ensemble, dashed the operating point {chosen.point:.2f}.{where}"
    )
    alt = (
        f"Radiograph of row {row.line}, its augmentations, lung probability and network input; the ensemble's score is "
        f"{chosen.scores[place]:.2f}, the true label {label}."
    )
    return Picture("Figure 1", caption, alt, png(figure), "png")


def _augmentations(panels: Sequence[Axes], row: Row, images: Images) -> str:
    """Fills the upper row; returns the letters that are left for the lower one."""
    augmented = images.augmented(row, _SHOWN)
    letters = iter("abcdefghijkl")
    show_radiograph(panels[0], images.pixels(row), f"({next(letters)}) Original", side=200)
    names = [name for name in _SHOWN if name in augmented]
    for axes, name in zip(panels[1:], names, strict=False):
        show_radiograph(axes, augmented[name], f"({next(letters)}) {AUGMENTATIONS[name]}", side=200)
    for axes in panels[1 + len(names) :]:
        axes.set_visible(False)
    for axes in panels:
        axes.title.set_fontsize(8)
    return "".join(letters)


def _channels(pixels: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """[s, s, 3] as the network reads it, shown as red, green and blue."""
    side = lungs.shape[0]
    step = max(1, pixels.shape[0] // side)
    grey = pixels[: side * step, : side * step].reshape(side, step, side, step).mean(axis=(1, 3))
    return np.stack([grey, lungs * 255, np.zeros_like(grey)], axis=-1).round().astype(np.uint8)


def _scores(axes: Axes, outcome: StudyOutcome, chosen: Sample, place: int) -> None:
    names = (*outcome.draws[0].members, ENSEMBLE)
    values = [float(sample(outcome, outcome.primary, name).scores[place]) for name in names]
    colours = [GREY] * (len(names) - 1) + [BLACK]
    axes.barh(range(len(names)), values, height=0.6, color=colours)
    for at, value in enumerate(values):
        inside = value > 0.6
        axes.text(
            value + (-0.03 if inside else 0.03), at, f"{value:.2f}", ha="right" if inside else "left", va="center",
            color="white" if inside else "black", fontsize=7.5,
        )  # fmt: skip
    axes.axvline(chosen.point, color=VERMILLION, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), [drawable(kept_short(name_of(name), 11)) for name in names])
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.4, -0.6), xticks=[0, 0.5, 1], box_aspect=1)
    axes.tick_params(axis="y", length=0, labelsize=7.5)


@in_style
def hard(outcome: StudyOutcome, images: Images) -> Picture | Missing:
    """Figure 5: three hard cases that were called correctly; where none is named, the most doubtful correct ones."""
    tests = all_tests(outcome)
    named = np.array([row.hard for row in tests.rows], bool)
    correct = tests.where(tests.correct & named) if named.any() else tests.where(tests.correct)
    if not len(correct):
        kind = "hard radiograph" if named.any() else "radiograph"
        return Missing("Figure 5", f"no {kind} of a test split was called correctly.")
    chosen = _mixed(correct) if named.any() else _doubtful(correct)
    evidence = [images.evidence(row) for row in chosen.rows]
    rows = 2 if all(one is not None for one in evidence) else 1
    figure = canvas(2.75 if rows == 1 else 4.9)
    panels = figure.subplots(rows, 3, squeeze=False)
    told = []
    for place, (row, one) in enumerate(zip(chosen.rows, evidence, strict=True)):
        label, score = outcome.labels[int(chosen.positive[place])], float(chosen.scores[place])
        letter = "abc"[place]
        title = f"({letter}) Score {score:.2f}, truth: {drawable(kept_short(label, 12))}"
        show_radiograph(panels[0, place], images.pixels(row), title)
        if rows == 2 and one is not None:
            show_colours(panels[1, place], tinted(images.pixels(row), one, VERMILLION))
        told.append(f"({letter}) row {row.line} of the manifest, {label}, score {score:.2f}")
    for axes in panels[:, len(chosen) :].flat:
        axes.set_visible(False)
    what = (
        f"{int(named.sum())} radiographs of the test splits are named hard to diagnose, {len(correct)} of them were "
        f"called correctly; {len(chosen)} of those are shown"
        if named.any()
        else "The manifest names no hard cases, so these are the correctly called radiographs of the test splits whose "
        f"scores lie nearest to the operating point {chosen.point:.2f} (of {len(correct)})"
    )
    below = " Below: evidence, the score at each place, stronger orange is higher." if rows == 2 else ""
    caption = f"{what}: {listed(told)}.{below}"
    return Picture("Figure 5", caption, f"Radiographs with their scores: {listed(told)}.", png(figure), "png")


def _mixed(correct: Sample) -> Sample:
    """Up to three in the manifest's order, of both labels where there are."""
    order = sorted(range(len(correct)), key=lambda place: correct.rows[place].line)
    first = [next((place for place in order if correct.positive[place] == flag), None) for flag in (True, False)]
    taken = [place for place in first if place is not None]
    taken += [place for place in order if place not in taken][: 3 - len(taken)]
    return _at(correct, taken)


def _doubtful(correct: Sample) -> Sample:
    order = np.argsort(np.abs(correct.scores - correct.point), kind="stable")
    return _at(correct, [int(place) for place in order[:3]])


def _at(chosen: Sample, places: Sequence[int]) -> Sample:
    kept = np.isin(np.arange(len(chosen)), places)
    return chosen.where(kept)
