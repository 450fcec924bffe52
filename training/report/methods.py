"""The table of methods that were tried before the study, if any were."""

from collections.abc import Iterator

from training.outcome import StudyOutcome
from training.report.document import Block, Heading, Paragraph, Table
from training.report.wording import NONE, interval

_TOLD = (
    "Chosen before any was run, and compared within the train and val rows alone: cross-validation grouped by patient, "
    "and every source with both labels left out in turn. No test row was opened for it."
)


def chapter(outcome: StudyOutcome, numbers: Iterator[str]) -> Iterator[Block]:
    if not outcome.methods:
        return
    judged = list(dict.fromkeys(name for method in outcome.methods for name in method.aucs))
    counts = {name: count for method in outcome.methods for name, (_, count) in method.aucs.items()}
    rows = tuple(
        (method.name, method.why, *(interval(method.aucs[name][0]) if name in method.aucs else NONE for name in judged))
        for method in outcome.methods
    )
    yield Heading("Methods tried")
    yield Paragraph(_TOLD)
    header = ("Method", "Why", *(f"AUC, {name}, n = {counts[name]}" for name in judged))
    yield Table(next(numbers), "AUC with 95% intervals, redrawn over patients or groups.", header, rows)
