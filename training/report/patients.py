"""Figures s1 and s2: sex and age of the test set, and where the calls went wrong."""

import numpy as np
from matplotlib.axes import Axes

from training.cohort import table1
from training.outcome import StudyOutcome
from training.report.document import Missing, Picture
from training.report.drawing import BLUE, GREY, ORANGE, canvas, drawable, in_style, svg
from training.report.sample import Sample, sample
from training.report.wording import counted, kept_short

_SEXES = ("men", "women", "unknown")
_DECADE = 10  # years


@in_style
def sex(outcome: StudyOutcome) -> Picture | Missing:
    """Figure s1: patients of the primary test split by sex; (a) negative, (b) positive, as the paper draws them."""
    chosen = sample(outcome, outcome.primary)
    if not any(row.sex for row in chosen.rows):
        return Missing("Figure s1", f"the manifest names no sex in {outcome.primary}.")
    figure = canvas(2.2)
    told = []
    panels = figure.subplots(1, 2, sharex=True)
    for axes, letter, flag in zip(panels, "ab", (False, True), strict=True):
        part = chosen.where(chosen.positive == flag)
        found = table1(part.rows, (outcome.labels[int(flag)],))[0]
        counts = (found.men, found.women, found.unknown)
        total = max(1, sum(counts))
        axes.barh(_SEXES, counts, color=[BLUE, ORANGE, GREY], height=0.62)
        for at, count in enumerate(counts):
            axes.text(count, at, f"  {count} ({count / total:.0%})", va="center")
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        label = drawable(kept_short(outcome.labels[int(flag)], 16))
        axes.set(xlabel="Patients", title=f"({letter}) {label}, {counted(part.patients(), 'patient')}")
        told.append(
            f"({letter}) {outcome.labels[int(flag)]}: "
            + ", ".join(f"{count} {name}" for count, name in zip(counts, _SEXES, strict=True))
        )
    caption = (
        f"Sex of the patients in {outcome.primary}, n = {chosen.patients()} patients. {'; '.join(told)}. How well each "
        "group is called stands in the table of subgroups."
    )
    return Picture("Figure s1", caption, f"Bars of patients by sex. {'; '.join(told)}.", svg(figure), "svg")


@in_style
def age(outcome: StudyOutcome) -> Picture | Missing:
    """Figure s2: radiographs of the primary test split by age, called correctly or not; (a) negative, (b) positive."""
    chosen = sample(outcome, outcome.primary)
    known = chosen.where(np.array([row.age is not None for row in chosen.rows], bool))
    if not len(known):
        return Missing("Figure s2", f"the manifest names no age in {outcome.primary}.")
    years = _years(known)
    bins = np.arange(np.floor(years.min() / _DECADE), np.floor(years.max() / _DECADE) + 2) * _DECADE
    figure = canvas(2.7)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    told = []
    for axes, letter, flag in zip(panels, "ab", (False, True), strict=True):
        part = known.where(known.positive == flag)
        wrong = int((~part.correct).sum())
        _ages(axes, part, bins)
        label = outcome.labels[int(flag)]
        axes.set(xlabel="Age (years)", title=f"({letter}) {drawable(kept_short(label, 16))} (n = {len(part)})")
        told.append(f"({letter}) {label}: n = {len(part)}, {wrong} incorrect")
    panels[0].set_ylabel("Radiographs")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=2)
    unknown = len(chosen) - len(known)
    without = f" {counted(unknown, 'radiograph')} without an age {'is' if unknown == 1 else 'are'} left out." * (
        unknown > 0
    )
    caption = (
        f"Age in {outcome.primary}, by whether the ensemble called the radiograph correctly at {chosen.point:.2f}. "
        f"{'; '.join(told)}.{without}"
    )
    return Picture("Figure s2", caption, f"Stacked histograms of age. {'; '.join(told)}.", svg(figure), "svg")


def _years(part: Sample) -> np.ndarray:
    return np.array([row.age for row in part.rows], float)


def _ages(axes: Axes, part: Sample, bins: np.ndarray) -> None:
    right, _ = np.histogram(_years(part.where(part.correct)), bins)
    wrong, _ = np.histogram(_years(part.where(~part.correct)), bins)
    width = 0.9 * _DECADE
    axes.bar(bins[:-1], right, width, align="edge", color=BLUE, label="called correctly")
    some = wrong > 0  # a bar of no height would still draw its edge
    axes.bar(
        bins[:-1][some], wrong[some], width, bottom=right[some], align="edge", color=ORANGE, hatch="///",
        edgecolor="black", linewidth=0.6, label="called incorrectly",
    )  # fmt: skip
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xticks(bins[:: 1 if len(bins) < 9 else 2])
