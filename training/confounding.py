"""Whether a network reads the machine instead of the lungs: what its embedding and its scores know of the source, and
what shortcuts alone can do (the paper's discussion; DeGrave 2020, Maguolo and Nanni 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from edge.statistics import (
    Interval,
    Proportion,
    Times,
    auc,
    auc_interval,
    bootstrap_interval,
    finite,
    need_both_labels,
    same_length,
)

FOLDS = 5
LARGE_SHARE = 0.14  # of a variance: "large" by Cohen (1988)


@dataclass(frozen=True)
class SourceProbe:
    """How well a logistic regression on the embedding guesses the source of radiographs it was not fitted on.

    accuracy: to be set against chance, the share of the largest source. balanced: mean recall of the sources, to be set
    against balanced_chance. label_alone: the balanced accuracy of guessing from nothing but the label, for a perfect
    network too knows a source that is all positive; None where labels are not given.
    """

    accuracy: Proportion
    chance: float
    balanced: Interval
    sources: tuple[str, ...]
    label_alone: float | None = None

    @property
    def balanced_chance(self) -> float:
        """1 / sources where they hold the same shares of the labels, else more."""
        return 1 / len(self.sources) if self.label_alone is None else self.label_alone

    @property
    def reads(self) -> bool:
        """Whether it is clearly better than chance: the interval of the balanced accuracy lies above."""
        return self.balanced.low > self.balanced_chance


@dataclass(frozen=True)
class Verdict:
    """sentence: for the report's first page. reasons: all that was looked at, whichever way it points."""

    reads_the_machine: bool
    sentence: str
    reasons: tuple[str, ...]


def source_probe(
    embeddings: ArrayLike,
    sources: Sequence[str],
    clusters: Sequence[str],
    *,
    positive: ArrayLike | None = None,
    seed: int = 0,
) -> SourceProbe | None:
    """embeddings: [n, d] of radiographs that the network was not trained on. sources: "" where unknown, left out.

    Sources of at least five clusters take part; None where there are fewer than two. Folds never divide a cluster. The
    interval redraws clusters of the guesses; it does not refit.
    """
    features, names, groups = finite("embeddings", embeddings), np.asarray(sources), np.asarray(clusters)
    same_length(embeddings=features, sources=names, clusters=groups, positive=groups if positive is None else positive)
    kept = tuple(name for name in sorted(set(names) - {""}) if len(set(groups[names == name])) >= FOLDS)
    if len(kept) < 2:
        return None
    taken = np.isin(names, kept)
    truth = np.searchsorted(kept, names[taken])
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    guessed = cross_val_predict(
        _classifier(class_weight="balanced"), features[taken], truth, groups=groups[taken], cv=folds
    )
    hits = guessed == truth

    def balanced(times: Times) -> float | None:
        totals = np.bincount(truth, times, minlength=len(kept))
        return float((np.bincount(truth, times * hits, minlength=len(kept)) / totals).mean()) if totals.all() else None

    return SourceProbe(
        accuracy=Proportion(int(hits.sum()), len(hits)),
        chance=float(np.bincount(truth).max() / len(truth)),
        balanced=bootstrap_interval(balanced, groups[taken], seed=seed),
        sources=tuple(str(name) for name in kept),
        label_alone=None if positive is None else _label_alone(truth, np.asarray(positive, bool)[taken]),
    )


def explained_by_source(scores: ArrayLike, sources: Sequence[str], *, positive: ArrayLike | None = None) -> float:
    """Share 0..1 of the scores' variance that the means of the sources explain: epsilon squared (Kelley 1935), which is
    eta squared less what chance would give, here never below 0. Radiographs of source "" are left out.

    positive: where given, of the variance that the labels leave: sources that hold different shares of the labels
    explain the scores of a perfect network too. 0 where there is nothing to explain, or nothing to explain it with.
    """
    values, names = finite("scores", scores), np.asarray(sources)
    flags = np.zeros(len(values)) if positive is None else finite("positive", positive)
    same_length(scores=values, sources=names, positive=flags)
    known = names != ""
    values, labels = values[known] - values[known].mean() if known.any() else values[known], flags[known, None]
    common = np.hstack([np.ones_like(labels), labels])
    of_source = (names[known, None] == np.unique(names[known])).astype(float)
    before, after = _mean_square(common, values), _mean_square(np.hstack([common, of_source]), values)
    if np.isnan(after) or before <= 1e-12:  # as many sources as radiographs; scores that differ by rounding only
        return 0.0
    return max(0.0, 1 - after / before)


def source_alone_auc(
    train_sources: Sequence[str], train_positive: ArrayLike, test_sources: Sequence[str], test_positive: ArrayLike
) -> float | None:
    """AUC where a radiograph's score is the share of positives of its source in training; of an unknown source, that of
    all training radiographs. None where the test set has one label, or the training none."""
    taught, flags = np.asarray(train_positive, bool), np.asarray(test_positive, bool)
    same_length(train_sources=train_sources, train_positive=taught)
    same_length(test_sources=test_sources, test_positive=flags)
    if not len(taught) or flags.all() or not flags.any():
        return None
    names = np.asarray(train_sources)
    shares = {str(name): taught[names == name].mean() for name in np.unique(names)}
    return auc([shares.get(str(name), taught.mean()) for name in test_sources], flags)


def readable(embeddings: ArrayLike, values: ArrayLike, clusters: Sequence[str], *, seed: int = 0) -> Interval:
    """R² of a ridge regression of a value (log width, aspect) on the embedding, for radiographs it was not fitted on.

    Below 0 it is worse than the mean. 0 where every value is the same. Raises ValueError with fewer than two clusters.
    """
    features, truth = finite("embeddings", embeddings), finite("values", values)
    same_length(embeddings=features, values=truth, clusters=clusters)
    count = len(set(clusters))
    if count < 2:
        raise ValueError(f"a value is read across patients or groups, of which two are needed; there are {count}")
    if np.ptp(truth) == 0:
        return Interval(0.0, 0.0, 0.0)
    folds = GroupKFold(min(FOLDS, count), shuffle=True, random_state=seed)
    ridge = RidgeCV(np.logspace(-1, 5, 13)) if count >= FOLDS else Ridge()  # of too few nothing can be chosen
    guessed = cross_val_predict(
        make_pipeline(StandardScaler(), ridge), features, truth, groups=np.asarray(clusters), cv=folds
    )

    def r_squared(times: Times) -> float | None:
        total = times @ (truth - np.average(truth, weights=times)) ** 2
        return float(1 - times @ (truth - guessed) ** 2 / total) if len(set(truth[times > 0])) > 1 else None

    return bootstrap_interval(r_squared, clusters, seed=seed)


def baselines(
    train_features: Mapping[str, ArrayLike],
    train_positive: ArrayLike,
    test_features: Mapping[str, ArrayLike],
    test_positive: ArrayLike,
    test_clusters: Sequence[str],
) -> dict[str, Interval]:
    """AUC of a logistic regression on each set of features [n, f], by its name. Empty where the test set has one label.

    Raises ValueError where the training radiographs have one label.
    """
    taught, flags = np.asarray(train_positive, bool), np.asarray(test_positive, bool)
    need_both_labels(taught)
    same_length(test_positive=flags, test_clusters=test_clusters)
    if train_features.keys() != test_features.keys():
        raise ValueError(
            f"training has the features {[*train_features]}, the test set {[*test_features]}; give the same"
        )
    if flags.all() or not flags.any():
        return {}
    areas = {}
    for name, features in train_features.items():
        model = _classifier().fit(finite(name, features), taught)
        guessed = model.decision_function(finite(name, test_features[name]))
        areas[name] = auc_interval(guessed.round(9), flags, test_clusters)  # equal features are a tie, to the last bit
    return areas


def verdict(
    probe: SourceProbe | None,
    *,
    model: Interval | None,
    shortcuts: Mapping[str, Interval],
    external: Mapping[str, Interval],
    explained: float,
    source_alone: float | None = None,
) -> Verdict:
    """The model reads the machine if the probe is clearly better than chance (the interval of its balanced accuracy
    lies above balanced_chance) AND at least one of these holds, the burden of proof being the model's:

    - on the held-out set its AUC is not clearly better than its best shortcut: the interval reaches down to that AUC;
    - on a source it was not trained on its AUC's interval reaches 0.5, or lies wholly below the held-out AUC;
    - the source explains a large share of the scores (LARGE_SHARE or more).

    model: AUC on the held-out set. shortcuts: `baselines` on that set of what has nothing to do with lungs; frozen
    features see lungs and are none. external: AUC by source held out. explained: `explained_by_source`, within labels.
    source_alone: `source_alone_auc`, which counts as a shortcut. Without a probe there is nothing to judge by.
    """
    findings = [*_against_shortcuts(model, shortcuts, source_alone), *_on_other_sources(model, external)]
    share = f"the source explains {explained:.0%} of the scores' variance within the labels"
    findings.append((explained >= LARGE_SHARE, share))
    against = [text for doubtful, text in findings if doubtful]
    if probe is None:
        first = "fewer than two sources have five patients or groups each"
        sentence = f"Whether the model reads the machine cannot be judged: {'; '.join([first, *against[:1]])}."
        return Verdict(False, sentence, (first, *(text for _, text in findings)))
    seen = (
        f"a probe guesses the source from the embedding with balanced accuracy {_written(probe.balanced)}, "
        f"chance {probe.balanced_chance:.2f}"
    )
    opening = {
        (True, True): "The model reads the machine",
        (True, False): "The embedding knows the machine, but nothing shows that the scores follow it",
        (False, True): "The embedding does not show the machine, but the model is not shown to read the lungs either",
        (False, False): "Nothing shows that the model reads the machine",
    }[probe.reads, bool(against)]
    told = against[0] if against else findings[0][1]
    reasons = (seen, *(text for _, text in findings))
    return Verdict(probe.reads and bool(against), f"{opening}: {seen}; {told}.", reasons)


def _against_shortcuts(
    model: Interval | None, shortcuts: Mapping[str, Interval], source_alone: float | None
) -> list[tuple[bool, str]]:
    """Whether the model has failed to beat the best shortcut, and how that is said."""
    areas = {name: area.value for name, area in shortcuts.items()}
    if source_alone is not None:
        areas["source"] = source_alone
    if model is None or not areas:
        return []
    best = max(areas, key=lambda name: areas[name])
    beaten = model.low > areas[best]
    than = f"clearly better than its best shortcut, the {best} alone, with {areas[best]:.2f}"
    return [(not beaten, f"on the held-out set its AUC {_written(model)} is {'' if beaten else 'not '}{than}")]


def _on_other_sources(model: Interval | None, external: Mapping[str, Interval]) -> list[tuple[bool, str]]:
    """Whether the model loses on each source it was not trained on, and how that is said."""
    return [
        (
            area.low <= 0.5 or (model is not None and area.high < model.value),
            f"on {source}, which it was not trained on, its AUC is {_written(area)}",
        )
        for source, area in external.items()
    ]


def _written(interval: Interval) -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _classifier(**options: str) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000, **options))


def _label_alone(truth: NDArray[np.intp], positive: NDArray[np.bool_]) -> float:
    """Mean recall where each label is guessed to be of the source that holds the largest share of it."""
    shares = np.bincount(truth, positive) / np.bincount(truth)
    return float((shares.max() + 1 - shares.min()) / len(shares))


def _mean_square(design: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """What a least-squares fit leaves, by its degrees of freedom; NaN where it has none left."""
    fit, _, rank, _ = np.linalg.lstsq(design, values)
    left, freedom = values - design @ fit, len(values) - rank
    return float(left @ left / freedom) if freedom > 0 else np.nan
