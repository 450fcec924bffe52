"""What limits a study's figures, as far as the study itself knows: the list on the first page."""

from collections.abc import Iterator

from edge.statistics import Proportion
from training.outcome import StudyOutcome
from training.report.sample import sample
from training.report.shortcuts import Shortcuts, other_sources
from training.report.wording import counted, listed

_SMALL = 100  # radiographs of a label: below that a share of 0.9 is known to about ± 0.06 at best


def limits(outcome: StudyOutcome, found: Shortcuts) -> tuple[str, ...]:
    return (*_size(outcome), *_division(outcome), *_sources(outcome, found), *_unknown(outcome), *_always(outcome))


def _size(outcome: StudyOutcome) -> Iterator[str]:
    chosen = sample(outcome, outcome.primary)
    for label, count in zip(outcome.labels, (int((~chosen.positive).sum()), int(chosen.positive.sum())), strict=True):
        if count == 0:
            yield f"The split {outcome.primary} holds no radiograph labelled {label}: half of the figures are missing."
        elif count < _SMALL:
            interval = Proportion(round(0.9 * count), count).interval
            yield (
                f"The split {outcome.primary} holds {counted(count, 'radiograph')} labelled {label}: a share near 0.9 "
                f"is known no better than {interval.low:.2f} to {interval.high:.2f}."
            )
    if chosen.patients() < len(chosen):
        yield (
            f"The {len(chosen)} radiographs of {outcome.primary} are of {counted(chosen.patients(), 'patient')}: "
            "Wilson's intervals take radiographs as independent and are too narrow then; those of the areas redraw "
            "patients."
        )


def _division(outcome: StudyOutcome) -> Iterator[str]:
    if len(outcome.draws) == 1:
        yield "The cohort was divided and trained once (the paper: 10 times): how much that matters is not known."
    elif len(outcome.draws) < 10:
        yield f"The cohort was divided and trained {len(outcome.draws)} times; the paper did so 10 times."
    if outcome.settings.get("preset") == "smoke":
        yield "The preset smoke trains for an epoch on tiny pictures: everything runs, but its figures mean nothing."


def _sources(outcome: StudyOutcome, found: Shortcuts) -> Iterator[str]:
    rows = [row for row in outcome.draws[0].rows if row.split == "train"]
    named = sorted({row.source for row in rows} - {""})
    if any(not row.source for row in rows):
        count = sum(not row.source for row in rows)
        yield f"{counted(count, 'training radiograph')} of {len(rows)} name no source: of those nothing is known."
    if len(named) == 1:
        yield f"All training radiographs whose source is named come from one, {named[0]}."
    one_label = [name for name in named if len({row.label for row in rows if row.source == name}) == 1]
    if len(named) > 1 and one_label:
        yield (
            f"Training sources that hold one label only: {listed(one_label)}. There the source gives the label away, "
            "and the networks may have learnt the source."
        )
    if not other_sources(outcome) and not found.left_out:
        yield "Nothing was tested on a source that was not trained on: nothing is known of another machine."


def _unknown(outcome: StudyOutcome) -> Iterator[str]:
    rows = outcome.draws[0].rows
    for name, count in (
        ("age", sum(row.age is None for row in rows)),
        ("sex", sum(row.sex == "" for row in rows)),
        ("view", sum(not row.view for row in rows)),
    ):
        if count:
            yield f"The {name} is not known of {count} of {len(rows)} radiographs."


def _always(outcome: StudyOutcome) -> Iterator[str]:
    yield (
        "Labels are the manifest's, and nobody checked them here. The P-R AUC depends on the share of "
        f"{outcome.labels[1]}, which in use will be another."
    )
