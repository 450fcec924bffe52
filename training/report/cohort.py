"""Table 1 and who else is in the cohort: demographics beside the paper's, exclusions counted, and the splits."""

from collections.abc import Sequence

from training.cohort import Table1, exclusion_counts, table1
from training.outcome import StudyOutcome
from training.report import paper
from training.report.document import Missing, Table
from training.report.wording import NONE, percent
from training.row import Row


def demographics(outcome: StudyOutcome, number: str) -> Table:
    """Table 1, the paper's beside it; the positive label first, as there."""
    rows = outcome.draws[0].rows
    ours = [_line(line) for line in reversed(table1(rows, outcome.labels))]
    theirs = [
        _paper(
            "COVID-19 positive", paper.POSITIVE_PATIENTS, paper.POSITIVE_IMAGES, paper.POSITIVE_SEX, paper.POSITIVE_AGE
        ),
        _paper(
            "COVID-19 negative", paper.NEGATIVE_PATIENTS, paper.NEGATIVE_IMAGES, paper.NEGATIVE_SEX, paper.NEGATIVE_AGE
        ),
    ]
    caption = (
        "Demographics of the patients and radiographs that take part, beside the paper's. Sex and age are counted by "
        "patient, age at the earliest radiograph."
    )
    header = (
        "Label", "Patients", "Radiographs", "Men / women / unknown", "Age, years ± std", "Age known", "Hospitals",
    )  # fmt: skip
    return Table(number, caption, header, (*ours, *theirs))


def _line(line: Table1) -> tuple[str, ...]:
    sexes = " / ".join(f"{count} ({line.percent(count):.0f}%)" for count in (line.men, line.women, line.unknown))
    age = NONE if line.mean_age_years is None else f"{line.mean_age_years:.0f}"
    age += "" if line.std_age_years is None else f" ± {line.std_age_years:.0f}"
    hospitals = str(line.hospitals) if line.hospitals else "none named"
    return (
        line.label,
        str(line.patients),
        str(line.images),
        sexes,
        age,
        percent(line.ages_known, line.patients),
        hospitals,
    )


def _paper(name: str, patients: int, images: int, sexes: tuple[int, int, int], age: tuple[int, int]) -> tuple[str, ...]:
    counts = " / ".join(percent(count, patients) for count in sexes)
    return (f"{name} (paper)", str(patients), str(images), counts, f"{age[0]} ± {age[1]}", NONE, "4 in all")


def exclusions(outcome: StudyOutcome, number: str) -> Table | Missing:
    """Counted by reason and label. No detail: it may name what a manifest holds."""
    if not outcome.excluded:
        return Missing(number, "no radiograph of the manifest was excluded.")
    counts = exclusion_counts(outcome.excluded)
    found = sorted({item.label for item in counts})
    rows = []
    for reason in sorted({item.reason for item in counts}):
        of_label = [
            sum(item.images for item in counts if (item.reason, item.label) == (reason, label)) for label in found
        ]
        rows.append((reason, *map(str, of_label), str(sum(of_label))))
    totals = [sum(item.images for item in counts if item.label == label) for label in found]
    rows.append(("all", *map(str, totals), str(sum(totals))))
    taking_part = len(outcome.draws[0].rows)
    share = sum(totals) / (sum(totals) + taking_part)
    caption = (
        f"Radiographs of the manifest that take no part, {share:.0%} of {sum(totals) + taking_part}: lateral views, "
        "rectangular artefacts, minors (under 18), files that the box refuses, and what the manifest itself sets "
        f"aside. The paper excluded {paper.EXCLUDED_IMAGES} of {paper.ALL_IMAGES} "
        f"({paper.EXCLUDED_IMAGES / paper.ALL_IMAGES:.0%})."
    )
    header = ("Reason", *(label or "no label" for label in found), "All")
    return Table(number, caption, header, tuple(rows), frozenset({len(rows) - 1}))


def splits(outcome: StudyOutcome, number: str) -> Table:
    """Of draws[0]: how many of each label, of how many patients and sources."""
    rows = outcome.draws[0].rows
    names = dict.fromkeys(["train", "val", *outcome.draws[0].tests()])
    lines = [_split(name, [row for row in rows if row.split == name], outcome.labels) for name in names]
    caption = (
        f"Splits of the division {outcome.draws[0].name}. No patient is in two of them. Networks learn from train; val "
        "stops them early, and sets temperature and operating point; nothing was chosen on a test split."
    )
    header = ("Split", "Patients", outcome.labels[1], outcome.labels[0], "Sources")
    return Table(number, caption, header, tuple(lines))


def _split(name: str, rows: Sequence[Row], labels: tuple[str, str]) -> tuple[str, ...]:
    counts = {label: sum(row.label == label for row in rows) for label in labels}
    sources = sorted({row.source or "not named" for row in rows})
    told = ", ".join(sources) if len(sources) <= 6 else f"{', '.join(sources[:5])} and {len(sources) - 5} more"
    return (
        name,
        str(len({row.patient_id for row in rows})),
        str(counts[labels[1]]),
        str(counts[labels[0]]),
        told or NONE,
    )
