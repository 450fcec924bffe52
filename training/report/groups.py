"""Tables by who is in them: sex, age, hospital; normal and abnormal negatives; the cases that are hard to call."""

from collections.abc import Iterable, Sequence

from training.cohort import negatives_by_hospital
from training.outcome import StudyOutcome
from training.report import paper
from training.report.document import Missing, Table
from training.report.sample import all_tests, sample
from training.report.wording import NONE, interval, proportion
from training.subgroups import UNKNOWN, Subgroup, by_abnormal, by_age, by_hospital, by_sex, hard_cases


def subgroup_table(outcome: StudyOutcome, number: str) -> Table | Missing:
    """The primary test split by sex, age and hospital; what the manifest does not know is said in the caption."""
    chosen = sample(outcome, outcome.primary)
    if not len(chosen):
        return Missing(number, f"the split {outcome.primary} is empty.")
    kinds = {"sex": by_sex, "age": by_age, "hospital": by_hospital}
    rows: list[tuple[str, ...]] = []
    unknown = []
    for kind, grouped in kinds.items():
        found = grouped(chosen.rows, chosen.scores, outcome.labels[1], point=chosen.point)
        if [group.name for group in found] == [UNKNOWN]:
            unknown.append(kind)
        else:
            rows += [_row(f"{kind}: {group.name}", group) for group in found]
    if not rows:
        return Missing(number, "the manifest knows neither sex, age nor hospital of the test radiographs.")
    without = f" The manifest does not name: {', '.join(unknown)}." if unknown else ""
    caption = (
        f"The ensemble on {outcome.primary} by subgroup. Ages in years. Groups are small: look at the intervals before "
        f"comparing two of them.{without}"
    )
    return Table(number, caption, _header("Group", outcome.labels), tuple(rows))


def abnormal_table(outcome: StudyOutcome, number: str) -> Table | Missing:
    """Negatives of the whole cohort per hospital, normal and abnormal, and how those of the test splits are called."""
    found = negatives_by_hospital(outcome.draws[0].rows, outcome.labels[0])
    if not found:
        reason = f"the manifest does not say of any {outcome.labels[0]} radiograph whether it is abnormal."
        return Missing(number, reason)
    tests = all_tests(outcome)
    called = {
        (group.hospital, group.name): proportion(group.measures.specificity)
        for group in by_abnormal(tests.rows, tests.scores, outcome.labels[1], point=tests.point)
    }
    rows = []
    for item in found:
        figures = [called.get((item.hospital or UNKNOWN, name), NONE) for name in ("normal", "abnormal")]
        counts = (item.images, item.normal, item.abnormal, item.unknown)
        rows.append((item.hospital or UNKNOWN, *map(str, counts), *figures))
    rows += [
        (f"{name} (paper)", *map(str, (total, normal, abnormal, total - normal - abnormal)), NONE, NONE)
        for name, total, normal, abnormal in paper.NORMAL_ABNORMAL
    ]
    caption = (
        f"{outcome.labels[0].capitalize()} radiographs of the cohort by hospital, and whether their lungs are normal "
        "or abnormal, beside the paper's supplement; and the specificity of the ensemble on those of the test splits."
    )
    header = (
        "Hospital",
        f"Radiographs, {outcome.labels[0]}",
        "Normal",
        "Abnormal",
        "Unknown",
        "Specificity, normal",
        "Specificity, abnormal",
    )
    return Table(number, caption, header, tuple(rows))


def hard_table(outcome: StudyOutcome, number: str) -> Table | Missing:
    """The cases that radiologists called hard, beside the paper's."""
    tests = all_tests(outcome)
    found = hard_cases(tests.rows, tests.scores, outcome.labels[1], point=tests.point)
    if found is None:
        return Missing(number, "the manifest names no test radiograph as hard to diagnose (column hard).")
    printed = (
        f"{paper.HARD_ACCURACY_PERCENT / 100:.2f}", f"{paper.HARD_SENSITIVITY_PERCENT / 100:.2f}", NONE, NONE, NONE,
    )  # fmt: skip
    rows = (_row("here", found), ("paper (Qualitative analysis)", "9 / 13", *printed))
    caption = "Radiographs that radiologists called hard to diagnose, in all test splits together."
    return Table(number, caption, _header("Cohort", outcome.labels), rows)


def _header(first: str, labels: Sequence[str]) -> tuple[str, ...]:
    size = f"{labels[1]} / {labels[0]}"
    return (first, size, "Accuracy", "Sensitivity", "Specificity", "ROC AUC", "P-R AUC")


def _row(name: str, group: Subgroup) -> tuple[str, ...]:
    figures = group.measures
    shares: Iterable[str] = map(proportion, (figures.accuracy, figures.sensitivity, figures.specificity))
    areas = map(interval, (figures.roc_auc, figures.pr_auc))
    return (name, f"{group.n_positive} / {group.n_negative}", *shares, *areas)
