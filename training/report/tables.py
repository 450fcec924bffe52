"""Table 2 and what belongs to it: every network on a split, beside the paper, on every other split, and over draws."""

from collections.abc import Mapping

from training.measures import Measures, bootstrap, measure, pooled
from training.outcome import ENSEMBLE, StudyOutcome
from training.report import paper
from training.report.document import Missing, Table
from training.report.retrieval import votes
from training.report.sample import drawn, networks, sample
from training.report.wording import NONE, counted, interval, proportion, share

_MEASURES = ("Accuracy", "Sensitivity", "Specificity", "ROC AUC", "P-R AUC")
_SAMPLES = 100  # bootstrap samples of each draw, as in the paper
Found = Mapping[str, Measures]  # by network, in the order of Table 2
_VOTE_POINT = 0.5  # half of the neighbours: the vote has no validation scores to set another


def measured(outcome: StudyOutcome, split: str, *, seed: int = 0) -> Found:
    """Each network and the ensemble on a split, then the two votes."""
    found = {}
    for name in networks(outcome):
        chosen = sample(outcome, split, name)
        found[name] = measure(chosen.scores, chosen.positive, chosen.clusters, point=chosen.point, seed=seed)
    answer = votes(outcome, split)
    if answer is not None:
        chosen = sample(outcome, split)
        for name, scores in ((paper.BY_SCORES, answer.by_score), (paper.BY_LABELS, answer.by_label)):
            found[name] = measure(scores, chosen.positive, chosen.clusters, point=_VOTE_POINT, seed=seed)
    return found


def network_table(outcome: StudyOutcome, number: str, found: Found) -> Table | Missing:
    """Table 2: on the primary test split."""
    chosen = sample(outcome, outcome.primary)
    if not len(chosen):
        return Missing(number, f"the split {outcome.primary} is empty.")
    rows = [(_named(outcome, name), *_cells(figures)) for name, figures in found.items()]
    n_positive = int(chosen.positive.sum())
    caption = (
        f"Every network on {outcome.primary}: n = {len(chosen)} radiographs, {n_positive} {outcome.labels[1]} and "
        f"{len(chosen) - n_positive} {outcome.labels[0]}, of {counted(chosen.patients(), 'patient')}. Shares with "
        "Wilson's 95% interval and counts; areas with a 95% interval from 2,000 bootstrap samples of whole patients "
        f"or groups. Members of the ensemble carry a star. The vote is that of the {paper.NEIGHBOURS} nearest training "
        f"radiographs of other patients in the embedding of {paper.name_of(outcome.embedding_member)}: the mean of "
        "their scores (the paper's way), or the share of their labels, positive from 0.5."
    )
    return Table(number, caption, ("Network", *_MEASURES), tuple(rows), _strong(found))


def paper_table(outcome: StudyOutcome, number: str, found: Found) -> Table:
    """This cohort beside the paper's row, network by network."""
    rows: list[tuple[str, ...]] = []
    for name, printed in paper.TABLE_2.items():
        figures = found.get(name)
        ours = _cells(figures) if figures is not None else (NONE,) * len(_MEASURES)
        rows.append((f"{paper.name_of(name)}: here", *ours))
        limits = paper.ENSEMBLE_INTERVALS if name == ENSEMBLE else {}
        rows.append(
            (
                f"{paper.name_of(name)}: paper",
                share(printed.accuracy, limits.get("accuracy")),
                share(printed.sensitivity, limits.get("sensitivity")),
                share(printed.specificity, limits.get("specificity")),
                interval(printed.roc_auc),
                interval(printed.pr_auc),
            )
        )
    missing = [paper.name_of(name) for name in paper.TABLE_2 if name not in found]
    without = f" Not trained here: {', '.join(missing)}." if missing else ""
    caption = (
        f"This cohort ({outcome.primary}) beside the paper's, whose test set held 179 or 180 positive and 171 negative "
        "radiographs from the same four hospitals and machines as its training set; its percentages are written as "
        "shares, with its counts as printed (350 or 351 radiographs; 80.6% for 137 of 171 is the paper's). Other "
        f"cohorts are no better or worse for another figure.{without}"
    )
    strong = frozenset(place for place, row in enumerate(rows) if row[0].startswith(paper.name_of(ENSEMBLE)))
    return Table(number, caption, ("Network", *_MEASURES), tuple(rows), strong)


def split_table(outcome: StudyOutcome, number: str, *, seed: int = 0) -> Table | Missing:
    """Appendix: every network on every test split but the primary one."""
    rows: list[tuple[str, ...]] = []
    strong: list[int] = []
    for split in outcome.draws[0].tests():
        if split == outcome.primary:
            continue
        chosen = sample(outcome, split)
        n_positive = int(chosen.positive.sum())
        for name, figures in measured(outcome, split, seed=seed).items():
            if name == ENSEMBLE:
                strong.append(len(rows))
            size = f"{n_positive} / {len(chosen) - n_positive}"
            rows.append((split, _named(outcome, name), size, *_cells(figures)))
    if not rows:
        return Missing(number, f"{outcome.primary} is the only test split.")
    caption = (
        f"Every network on the other test splits; {outcome.labels[1]} / {outcome.labels[0]} are counts of radiographs. "
        "A split that holds one label has no specificity or no sensitivity, and no area."
    )
    size = f"{outcome.labels[1]} / {outcome.labels[0]}"
    return Table(number, caption, ("Split", "Network", size, *_MEASURES), tuple(rows), frozenset(strong))


def draw_table(outcome: StudyOutcome, number: str, *, seed: int = 0) -> Table:
    """The ensemble on each draw's own test split."""
    rows = []
    for draw, chosen in drawn(outcome):
        figures = measure(chosen.scores, chosen.positive, chosen.clusters, point=chosen.point, seed=seed)
        n_positive = int(chosen.positive.sum())
        rows.append((draw.name, f"{n_positive} / {len(chosen) - n_positive}", *_cells(figures)))
    alone = " There is one draw only, so nothing can be said of how far the figures depend on it." * (len(rows) == 1)
    caption = (
        f"The ensemble in each draw: the cohort divided anew by patient, every member trained anew. "
        f"{outcome.draws[0].name} is the division of all other tables and figures.{alone}"
    )
    size = f"{outcome.labels[1]} / {outcome.labels[0]}"
    return Table(number, caption, ("Draw", size, *_MEASURES), tuple(rows), frozenset({0}))


def pooled_table(outcome: StudyOutcome, number: str, *, seed: int = 0) -> Table | Missing:
    """Intervals over all draws and their bootstrap samples together."""
    rows, strong = [], []
    for name in networks(outcome):
        samples = [
            bootstrap(
                chosen.scores, chosen.positive, chosen.clusters, point=chosen.point, samples=_SAMPLES, seed=seed + place
            )
            for place, (_, chosen) in enumerate(drawn(outcome, name))
            if chosen.both_labels
        ]
        if samples:
            found = pooled(samples)
            figures = (found[key] for key in ("accuracy", "sensitivity", "specificity", "roc_auc"))
            strong += [len(rows)] if name == ENSEMBLE else []
            rows.append((_named(outcome, name), f"{len(samples)} x {_SAMPLES}", *map(interval, figures)))
    if not rows:
        return Missing(number, "no draw has both labels in its test split.")
    caption = (
        "Over the bootstrap samples of all draws together: median, 2.5th and 97.5th percentile (the paper's method). "
        "Networks that are only compared were trained on the first draw alone."
    )
    header = ("Network", "Draws x samples", *_MEASURES[:4])
    return Table(number, caption, header, tuple(rows), frozenset(strong))


def _named(outcome: StudyOutcome, network: str) -> str:
    return paper.name_of(network) + (" *" if network in outcome.draws[0].members else "")


def _strong(found: Found) -> frozenset[int]:
    return frozenset(place for place, name in enumerate(found) if name == ENSEMBLE)


def _cells(figures: Measures) -> tuple[str, ...]:
    return (
        proportion(figures.accuracy),
        proportion(figures.sensitivity),
        proportion(figures.specificity),
        interval(figures.roc_auc),
        interval(figures.pr_auc),
    )
