"""The cohort: who takes part in a study, who does not and why, and what Table 1 says of those who do.

The same exclusions for train, val and tests, before any division is drawn. Values only; the report writes the tables.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from edge.imaging.header import ADULT_YEARS, FRONTAL_VIEWS, OPEN_VIEWS, OTHER_PROJECTIONS, OTHER_VIEWS
from training.arrays import Kept, in_processes, load
from training.artefacts import Rectangle, has_rectangle
from training.outcome import Excluded
from training.row import Row

LATERAL, MINOR, REFUSED, ARTEFACT = "lateral", "minor", "refused", "artefact"
_OPEN = frozenset({*OPEN_VIEWS, "SEMIERECT", "SITTING", "BEDSIDE", "NA", "N", "A"})  # N/A
_FRONTAL = frozenset({*FRONTAL_VIEWS, "ANTEROPOSTERIOR", "POSTEROANTERIOR"})


@dataclass(frozen=True)
class ExclusionCount:
    """How many radiographs of one split and label were left out for one reason. split: as in the manifest."""

    reason: str
    split: str
    label: str
    images: int


@dataclass(frozen=True)
class Table1:
    """One label's line of the paper's Table 1. Sex and age are of patients, age at their earliest.

    mean_age_years, std_age_years: of the patients whose age is known, std of a sample; None where too few are.
    hospitals: how many are named.
    """

    label: str
    patients: int
    images: int
    men: int
    women: int
    unknown: int
    ages_known: int
    mean_age_years: float | None
    std_age_years: float | None
    hospitals: int

    def percent(self, patients: int) -> float:
        """Of this label's patients, 0..100."""
        return 100 * patients / self.patients if self.patients else 0.0


@dataclass(frozen=True)
class HospitalNegatives:
    """Negative images of one hospital, with and without another finding in the lungs (the supplement's table)."""

    hospital: str
    images: int
    normal: int
    abnormal: int

    @property
    def unknown(self) -> int:
        return self.images - self.normal - self.abnormal


def gather(
    kept: Sequence[Kept], *, workers: int | None = None
) -> tuple[tuple[Row, ...], tuple[Path, ...], tuple[Excluded, ...]]:
    """The rows that take part with their arrays, and those that do not, in the order given.

    kept: every row of the manifest, as `standardise` left it.
    """
    reasons = [_reason(item) for item in kept]
    in_question = [place for place, reason in enumerate(reasons) if reason is None]
    paths = [path for place in in_question if (path := kept[place].path) is not None]
    boxes = in_processes(_rectangle, paths, "look for artefacts", workers=workers or os.cpu_count() or 1)
    for place, box in zip(in_question, boxes, strict=True):
        if box is not None:
            where = f"row {box.top}, column {box.left} of the standardised radiograph"
            reasons[place] = Excluded(kept[place].row, ARTEFACT, f"{box.width} x {box.height} pixels at {where}")
    taken = [item for item, reason in zip(kept, reasons, strict=True) if reason is None]
    return (
        tuple(item.row for item in taken),
        tuple(item.path for item in taken if item.path is not None),
        tuple(reason for reason in reasons if reason is not None),
    )


def exclusion_counts(excluded: Iterable[Excluded]) -> tuple[ExclusionCount, ...]:
    """By reason, split and label, sorted."""
    counts = Counter((item.reason, item.row.split, item.row.label) for item in excluded)
    return tuple(ExclusionCount(*key, count) for key, count in sorted(counts.items()))


def table1(rows: Sequence[Row], labels: Sequence[str]) -> tuple[Table1, ...]:
    """One for each label, in their order. A patient with radiographs of both labels counts in both."""
    return tuple(_demographics([row for row in rows if row.label == label], label) for label in labels)


def negatives_by_hospital(rows: Sequence[Row], negative: str) -> tuple[HospitalNegatives, ...]:
    """Of the hospitals that say of any negative whether its lungs are normal, sorted by name."""
    found = []
    negatives = [row for row in rows if row.label == negative]
    for hospital in sorted({row.hospital for row in negatives}):
        said = Counter(row.abnormal for row in negatives if row.hospital == hospital)
        if said[False] or said[True]:
            found.append(HospitalNegatives(hospital, said.total(), said[False], said[True]))
    return tuple(found)


def frontal(view: str) -> bool:
    """Whether a manifest's view is AP or PA, or leaves it open, as "supine" or an empty cell; else it is another."""
    words = re.findall("[A-Z]+", re.sub(r"[.\-]", "", view.upper()))
    if any(word in OTHER_VIEWS or word.startswith(OTHER_PROJECTIONS) for word in words):
        return False
    return not _FRONTAL.isdisjoint(words) or _OPEN.issuperset(words)


def _reason(item: Kept) -> Excluded | None:
    """Why it takes no part, as far as its row and the box know."""
    row = item.row
    if not row.counted:
        return Excluded(row, row.split, "set aside by the manifest")
    if not frontal(row.view):
        return Excluded(row, LATERAL, f"view {row.view}")
    if row.age is not None and row.age < ADULT_YEARS:
        return Excluded(row, MINOR, f"under {ADULT_YEARS} years")
    if item.path is None:
        return Excluded(row, REFUSED, item.refusal)
    return None


def _rectangle(path: Path) -> Rectangle | None:
    return has_rectangle(load(path).pixels)


def _demographics(rows: Sequence[Row], label: str) -> Table1:
    patients: dict[str, list[Row]] = {}
    for row in rows:
        patients.setdefault(row.patient_id, []).append(row)
    sexes = Counter(_sex(of_patient) for of_patient in patients.values())
    known = [[row.age for row in of_patient if row.age is not None] for of_patient in patients.values()]
    ages = [min(years) for years in known if years]
    return Table1(
        label=label,
        patients=len(patients),
        images=len(rows),
        men=sexes["M"],
        women=sexes["F"],
        unknown=sexes[""],
        ages_known=len(ages),
        mean_age_years=fmean(ages) if ages else None,
        std_age_years=stdev(ages) if len(ages) > 1 else None,
        hospitals=len({row.hospital for row in rows} - {""}),
    )


def _sex(of_patient: Sequence[Row]) -> str:
    """Empty where the rows name none, or both."""
    named = {row.sex for row in of_patient} - {""}
    return named.pop() if len(named) == 1 else ""
