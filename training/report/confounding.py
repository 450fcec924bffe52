"""The chapter on source confounding: does the model read the lungs, or the machine?"""

from collections.abc import Iterator

from training.outcome import StudyOutcome
from training.report.document import Block, Heading, Items, Missing, Notice, Paragraph, Table
from training.report.paper import name_of
from training.report.shortcuts import FROZEN, Shortcuts, models, other_sources
from training.report.wording import NONE, counted, interval, listed, proportion

_WHY = (
    "A network that is trained on radiographs of several machines can learn which machine made a radiograph, and call "
    "it by that where machines and labels go together (the paper's Discussion; its references 30 and 32). Four things "
    "are looked at: whether the embedding knows the source, and the width and aspect ratio of the file, which say "
    "nothing about lungs; how much of the score the source explains; how far shortcuts alone get; and what is left on "
    "a source that the network was never trained on."
)


def chapter(outcome: StudyOutcome, found: Shortcuts, numbers: Iterator[str]) -> tuple[Block, ...]:
    return (
        Heading("Source confounding"),
        Paragraph(_WHY),
        Notice(found.verdict.sentence, loud=found.verdict.reads_the_machine),
        Items(tuple(_capital(reason) for reason in found.verdict.reasons)),
        probe_table(outcome, found, next(numbers)),
        baseline_table(outcome, found, next(numbers)),
        left_out_table(outcome, found, next(numbers)),
    )


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:] + ("" if sentence.endswith(".") else ".")


def probe_table(outcome: StudyOutcome, found: Shortcuts, number: str) -> Table:
    """What the embedding and the score know of the source."""
    sources = {row.source for row in found.unseen.rows if row.source}
    rows: list[tuple[str, str, str]] = []
    probe = found.probe
    if probe is None:
        rows.append(
            ("source from the embedding", "cannot be probed: two sources with five patients or groups are needed", NONE)
        )
    else:
        share = proportion(probe.accuracy)
        rows.append(("source from the embedding, accuracy", share, f"{probe.chance:.2f}, always the largest source"))
        chance = f"{probe.balanced_chance:.2f}, the label alone or chance"
        rows.append(("source from the embedding, mean recall of the sources", interval(probe.balanced), chance))
    rows += [(f"{name} from the embedding, R²", interval(value), "0") for name, value in found.readable.items()]
    if len(sources) > 1:
        rows.append(("variance of the score that the source explains", f"{found.explained:.0%}", "0%"))
        within = f"{found.explained_within_labels:.0%}"
        rows.append(("the same, of what the labels leave", within, "0%"))
    told = f"Probed among {listed(probe.sources)}. " if probe else ""
    caption = (
        f"What the embedding of {name_of(outcome.embedding_member)} and the ensemble's score know of the source: n = "
        f"{len(found.unseen)} radiographs of val and the test splits, from {counted(len(sources), 'named source')}. "
        f"{told}Probes are linear and judged on patients that they were not fitted on."
    )
    return Table(number, caption, ("What is read", "How well", "If nothing were known"), tuple(rows))


def baseline_table(outcome: StudyOutcome, found: Shortcuts, number: str) -> Table | Missing:
    """Shortcuts beside the model, on every test split with both labels."""
    splits = tuple(found.areas)
    if not splits:
        return Missing(number, "no test split holds both labels.")
    shown = models(outcome)
    names = list(dict.fromkeys(name for part in found.areas.values() for name in part if name not in shown))
    rows = [(f"{name} alone", *(interval(found.areas[split].get(name)) for split in splits)) for name in names]
    rows = [
        (f"{FROZEN} of a network that saw no radiograph of this cohort" if FROZEN in row[0] else row[0], *row[1:])
        for row in rows
    ]
    alone = (f"{found.alone[split]:.2f}" if split in found.alone else NONE for split in splits)
    rows.append(("source alone (its share of positives in training)", *alone))
    rows += [
        (f"model: {name_of(name)}", *(interval(found.areas[split].get(name)) for split in splits)) for name in shown
    ]
    without = [] if found.frozen else ["features of a frozen network were not made"]
    without += [] if found.view else ["no view is known"]
    said = f" Not in the table: {listed(without)}." if without else ""
    caption = (
        "ROC AUC of logistic regressions on what has nothing to do with lungs, fitted on the training radiographs, "
        f"beside the model's. A model that is no better than the best of them has shown nothing.{said}"
    )
    strong = frozenset({len(rows) - 1})
    elsewhere = other_sources(outcome)
    header = ("Read from", *(f"{split} (source not trained on)" if split in elsewhere else split for split in splits))
    return Table(number, caption, header, tuple(rows), strong)


def left_out_table(outcome: StudyOutcome, found: Shortcuts, number: str) -> Table | Missing:
    """Leave one source out."""
    if not found.left_out:
        return Missing(
            number,
            "no network was trained without one source: that needs two sources or more which hold both labels, and the "
            "study's leave-one-source-out draws.",
        )
    rows = []
    for item in found.left_out:
        positives = int(item.inside.positive.sum())
        figures = item.measures
        rows.append(
            (
                item.name,
                item.member,
                f"{positives} / {len(item.inside) - positives}",
                interval(figures.roc_auc),
                proportion(figures.sensitivity),
                proportion(figures.specificity),
            )
        )
    caption = (
        "Leave one source out: trained anew on the other sources, measured on all radiographs of the one left out. "
        f"{outcome.labels[1]} / {outcome.labels[0]} are counts of radiographs."
    )
    size = f"{outcome.labels[1]} / {outcome.labels[0]}"
    return Table(
        number, caption, ("Source left out", "Network", size, "ROC AUC", "Sensitivity", "Specificity"), tuple(rows)
    )
