"""Similar cases among the training radiographs: the vote on a split, and the pictures and distances of figure 6."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from numpy.typing import NDArray

from training.neighbours import Distances, Votes, distances, vote
from training.outcome import StudyOutcome
from training.report import paper
from training.report.document import Missing, Picture, Table
from training.report.drawing import canvas, drawable, in_style, png, show_radiograph
from training.report.images import Images
from training.report.sample import Sample, sample
from training.report.wording import NONE, kept_short, mean_std

_PAIRS = ("overall", "positive", "negative", "between")


def votes(outcome: StudyOutcome, split: str) -> Votes | None:
    """Of the embedding member's nearest training radiographs; None where a query has none of another patient."""
    reference, queries = (sample(outcome, name, outcome.embedding_member) for name in ("train", split))
    strangers = [set(reference.clusters) - {cluster} for cluster in queries.clusters]
    if not len(queries) or not all(strangers):
        return None
    return vote(
        queries.embeddings,
        reference.embeddings,
        reference.scores,
        reference.positive,
        k=paper.NEIGHBOURS,
        query_clusters=queries.clusters,
        reference_clusters=reference.clusters,
    )


@in_style
def neighbours(outcome: StudyOutcome, images: Images) -> Picture | Missing:
    """Figure 6: a test radiograph of each label, and the two training radiographs nearest to it."""
    found = votes(outcome, outcome.primary)
    if found is None or found.nearest.shape[1] < 2:
        return Missing("Figure 6", "a query needs two training radiographs of other patients.")
    train, test = (sample(outcome, name, outcome.embedding_member) for name in ("train", outcome.primary))
    chosen = [place for flag in (False, True) if (place := _typical(test, found, flag)) is not None]
    figure = canvas(2.75 * len(chosen))
    bands = np.atleast_1d(figure.subfigures(len(chosen), 1))
    told = []
    for letter, band, query in zip("ab", bands, chosen, strict=False):
        near = [(int(at), float(far)) for at, far in zip(found.nearest[query], found.distances[query], strict=True)][:2]
        _row(band, letter, test, query, train, near, images, outcome.labels)
        names = " and ".join(f"{far:.2f} ({outcome.labels[int(train.positive[at])]})" for at, far in near)
        told.append(f"({letter}) {outcome.labels[int(test.positive[query])]}: distances {names}")
    alone = "" if len(chosen) == 2 else f" {outcome.primary} holds radiographs of one label only."
    caption = (
        f"Left: a radiograph of {outcome.primary}; beside it the two nearest training radiographs of other patients in "
        f"the embedding of {paper.name_of(outcome.embedding_member)}, with their true labels. {'; '.join(told)}. Of "
        "each label the query is shown whose nearest distance is the median, whether its neighbours agree or not."
        f"{alone} Whether a short distance means similar findings needs a radiologist."
    )
    alt = f"{len(chosen)} rows of three radiographs, a query and its two nearest. {'; '.join(told)}."
    return Picture("Figure 6", caption, alt, png(figure), "png")


def _typical(test: Sample, found: Votes, flag: bool) -> int | None:
    """The query of a label whose nearest distance is the median of its label."""
    places = np.flatnonzero(test.positive == flag)
    if not len(places):
        return None
    order = places[np.argsort(found.distances[places, 0], kind="stable")]
    return int(order[(len(order) - 1) // 2])


def _row(
    band: SubFigure,
    letter: str,
    test: Sample,
    query: int,
    train: Sample,
    near: list[tuple[int, float]],
    images: Images,
    labels: tuple[str, str],
) -> None:
    panels: NDArray[np.object_] = band.subplots(1, 3)
    _panel(panels[0], images.pixels(test.rows[query]), f"({letter}) Query, {_called(labels, test, query)}")
    for axes, (at, far) in zip(panels[1:], near, strict=True):
        _panel(axes, images.pixels(train.rows[at]), f"Distance {far:.2f}, {_called(labels, train, at)}")


def _panel(axes: Axes, pixels: NDArray[np.uint8], title: str) -> None:
    show_radiograph(axes, pixels, drawable(title))


def _called(labels: tuple[str, str], chosen: Sample, place: int) -> str:
    return f"{kept_short(labels[int(chosen.positive[place])], 12)}\nscore {chosen.scores[place]:.2f}"


def distance_table(outcome: StudyOutcome, number: str) -> Table | Missing:
    """Between training and test embeddings, beside the paper's."""
    train, test = (sample(outcome, name, outcome.embedding_member) for name in ("train", outcome.primary))
    if not len(train) or not len(test):
        return Missing(number, f"there are no embeddings of train or of {outcome.primary}.")
    found = distances(test.embeddings, test.positive, train.embeddings, train.positive)
    negative, positive = outcome.labels
    names = ("all pairs", f"both {positive}", f"both {negative}", "of different labels")
    rows = [
        (name, _spread(found, pair), mean_std(paper.DISTANCES[pair], 1))
        for name, pair in zip(names, _PAIRS, strict=True)
    ]
    apart, within = paper.DISTANCES["between"][0], "1.4 and 2.2"
    ratio = NONE if found.ratio is None else f"{found.ratio:.2f}"
    rows.append(("different labels / one label", ratio, f"{apart} against {within}"))
    caption = (
        f"Distances between the embeddings of {len(test)} radiographs of {outcome.primary} and {len(train)} training "
        f"radiographs, mean ± standard deviation, beside the paper's (caption of its Figure 6). Lengths depend on the "
        "network; only their ratios can be compared."
    )
    return Table(number, caption, ("Pairs", "This cohort", "Paper"), tuple(rows))


def _spread(found: Distances, pair: str) -> str:
    spread = getattr(found, pair)
    return NONE if spread is None else mean_std(spread)
