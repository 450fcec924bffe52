"""The first page: what the study is, what it found, whether to believe it, and how it was made."""

from collections.abc import Iterator, Mapping
from typing import Any

from training.measures import measure
from training.outcome import StudyOutcome
from training.report import paper
from training.report.document import Block, Code, Heading, Items, Missing, Notice, Paragraph, Table
from training.report.limits import limits
from training.report.sample import rule_of, sample
from training.report.shortcuts import Shortcuts, other_sources
from training.report.wording import NONE, counted, interval, listed, proportion, share

_USE = "Research use only. Not a medical device."


def first_page(outcome: StudyOutcome, found: Shortcuts, numbers: Iterator[str], *, seed: int = 0) -> tuple[Block, ...]:
    negative, positive = outcome.labels
    members = [paper.name_of(name) for name in outcome.draws[0].members]
    ensemble = f"the mean of {listed(members)}" if len(members) > 1 else f"{members[0]} alone"
    what = (
        f"Networks are trained to tell {positive} from {negative} on frontal chest radiographs, after the paper "
        "COVID-19 Classification of X-ray Images Using Deep Neural Networks, and tested on patients they never saw. "
        f"The ensemble is {ensemble}. {_USE}"
    )
    return (
        Paragraph(what),
        Paragraph(_cohort(outcome)),
        Notice(found.verdict.sentence, loud=found.verdict.reads_the_machine),
        headline(outcome, next(numbers), seed=seed),
        elsewhere(outcome, found, next(numbers), seed=seed),
        Heading("What limits these figures", 3),
        Items(limits(outcome, found)),
        Heading("How it was made", 3),
        *_made(outcome.settings, next(numbers)),
    )


def _cohort(outcome: StudyOutcome) -> str:
    rows, (negative, positive) = outcome.draws[0].rows, outcome.labels
    held = sample(outcome, outcome.primary)
    n_positive, n_held = (sum(row.label == positive for row in part) for part in (rows, held.rows))
    sources = len({row.source for row in rows} - {""})
    hospitals = len({row.hospital for row in rows} - {""})
    origin = [counted(sources, "source")] * (sources > 0) + [counted(hospitals, "hospital")] * (hospitals > 0)
    return (
        f"Cohort: {counted(len(rows), 'radiograph')} ({n_positive} {positive}, {len(rows) - n_positive} {negative}) of "
        f"{counted(len({row.patient_id for row in rows}), 'patient')} from "
        f"{listed(origin) if origin else 'sources that are not named'}; {len(outcome.excluded)} excluded. Figures are "
        f"stated on {outcome.primary}: {len(held)} radiographs ({n_held} {positive}, {len(held) - n_held} {negative}) "
        f"of {counted(held.patients(), 'patient')}. {counted(len(outcome.draws), 'division')} of the cohort "
        f"{'was' if len(outcome.draws) == 1 else 'were'} trained."
    )


def headline(outcome: StudyOutcome, number: str, *, seed: int = 0) -> Table:
    """The ensemble on the primary test split, beside the paper's."""
    chosen = sample(outcome, outcome.primary)
    figures = measure(chosen.scores, chosen.positive, chosen.clusters, point=chosen.point, seed=seed)
    printed, ranges = paper.TABLE_2["ensemble"], paper.ENSEMBLE_INTERVALS
    rows = (
        ("Accuracy", proportion(figures.accuracy), share(printed.accuracy, ranges["accuracy"])),
        ("Sensitivity", proportion(figures.sensitivity), share(printed.sensitivity, ranges["sensitivity"])),
        ("Specificity", proportion(figures.specificity), share(printed.specificity, ranges["specificity"])),
        ("ROC AUC", interval(figures.roc_auc), interval(printed.roc_auc)),
        ("P-R AUC", interval(figures.pr_auc), interval(printed.pr_auc)),
    )
    caption = (
        f"The ensemble on {outcome.primary}, n = {len(chosen)}, with 95% intervals and counts; positive from a score "
        f"of {chosen.point:.2f} (rule: {rule_of(outcome)}). Beside it the paper's, on its own cohort."
    )
    return Table(number, caption, ("Measure", "This cohort", "Paper"), rows)


def elsewhere(outcome: StudyOutcome, found: Shortcuts, number: str, *, seed: int = 0) -> Table:
    """The other test splits, and each source held out; where neither is, the table says so."""
    negative, positive = outcome.labels
    unknown, rows = other_sources(outcome), []
    for split in outcome.draws[0].tests():
        if split != outcome.primary:
            chosen = sample(outcome, split)
            figures = measure(chosen.scores, chosen.positive, chosen.clusters, point=chosen.point, seed=seed)
            trained = "no" if split in unknown else "yes, or not known"
            sizes = f"{int(chosen.positive.sum())} / {int((~chosen.positive).sum())}"
            shares = (proportion(figures.sensitivity), proportion(figures.specificity))
            rows.append((split, trained, sizes, interval(figures.roc_auc), *shares))
    for item in found.left_out:
        sizes = f"{int(item.inside.positive.sum())} / {int((~item.inside.positive).sum())}"
        shares = (proportion(item.measures.sensitivity), proportion(item.measures.specificity))
        name = f"{item.name}, left out of training: {item.member}"
        rows.append((name, "no", sizes, interval(item.measures.roc_auc), *shares))
    if not rows:
        rows.append(("no other test split, and no source left out", *[NONE] * 5))
    caption = (
        f"Elsewhere: the ensemble on the other test splits, and networks trained without one source on that source. "
        f"{positive} / {negative} are counts of radiographs. Only rows whose source was not trained on tell how the "
        "model does on another machine."
    )
    header = ("Tested on", "Source trained on", f"{positive} / {negative}", "ROC AUC", "Sensitivity", "Specificity")
    return Table(number, caption, header, tuple(rows))


def _made(settings: Mapping[str, Any], number: str) -> Iterator[Block]:
    command = settings.get("command")
    if command:
        yield Code(str(command))
    rows = tuple(_flat({name: value for name, value in settings.items() if name != "command"}))
    if rows:
        yield Table(number, "Settings, enough to repeat the study.", ("Setting", "Value"), rows)
    else:
        yield Missing(number, "the study kept no settings, so it cannot be repeated from this page.")


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            told = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            yield (f"{before}{name}", told)
