"""Fits the rule that tells frontal chests from all else, and draws every limit of the gate from rules that have
not seen the patient.

Frontal chests, also moved, enlarged, unevenly lit and blurred a little, against variants and drawings: a logistic
regression on the numbers of edge/frontal.py. No picture that tests the gate is ever seen here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from edge.frontal import SMALL, FrontalRule, likeness, look_small
from edge.gate_limits import GateLimits, Limits
from edge.quality import Measures, judge, nearest_distance
from edge.statistics import Proportion
from edge.values import Reason
from export.gate_pictures import FOLDS, FRONTAL, INVERTED, SPOILT, Pictured
from training.progress import bar

REFUSED_AT_MOST = 0.02  # of held-out frontal radiographs, by all checks together
_REFUSED_BY_RULE = (0.0175, 0.015, 0.0125, 0.01, 0.0075, 0.005)  # the first that keeps all checks within that
_PENALTY = 0.003  # LogisticRegression's C: hundreds of features, and not many more patients
_COPIES = 5  # of each frontal radiograph, changed within what a radiographer does
_LEAST_SCALE = 1e-3
_SLACK = 0.8
_LUNG_MARGIN = 0.02
_OTHER_BELOW = 0.02  # the share of pictures that are no chest and may lie below where the limit could be

Cells = NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """The rule of all pictures, and the limits. refusals: of every picture by its kind, each judged by a rule that was
    fitted without its patient; a reason or None.
    """

    rule: FrontalRule
    limits: GateLimits
    refusals: dict[str, list[Reason | None]]

    @property
    def frontal(self) -> Proportion:
        """Frontal radiographs that are refused."""
        return proportion(self.refusals[FRONTAL])


def proportion(refusals: Sequence[Reason | None]) -> Proportion:
    return Proportion(sum(reason is not None for reason in refusals), len(refusals))


def fit(pictures: Sequence[Pictured], reference: Cells) -> Fitted:
    """reference: the embeddings of the bundle's reference cases."""
    apart = [fit_rule(without(pictures, fold)) for fold in bar(range(FOLDS), "gate", total=FOLDS)]
    measured = [(each.kind, measures_of(each, apart[each.fold], reference)) for each in pictures]
    limits = _limits(
        [values for kind, values in measured if kind == FRONTAL],
        [values for kind, values in measured if kind == INVERTED],
        [values for kind, values in measured if kind != FRONTAL and kind not in SPOILT],
    )
    refusals: dict[str, list[Reason | None]] = defaultdict(list)
    for kind, values in measured:
        refusals[kind].append(_reason(values, limits))
    return Fitted(fit_rule(pictures), limits, dict(refusals))


def without(pictures: Sequence[Pictured], fold: int) -> list[Pictured]:
    """What the rule is fitted on that judges this fold: of its patients nothing, no variant either."""
    return [each for each in pictures if each.fold != fold]


def fit_rule(pictures: Sequence[Pictured]) -> FrontalRule:
    """Of frontal pictures against all others but the SPOILT."""
    learned = [each for each in pictures if each.kind not in SPOILT]
    rng = np.random.default_rng(0)
    seen, other = [], []
    for each in learned:
        mask, picture = each.mask.astype(np.float32), each.picture.astype(np.float32)
        copies = _COPIES if each.frontal else 1
        looks = [look_small(mask, picture), *(look_small(*_changed(mask, picture, rng)) for _ in range(copies))]
        seen += [look.features for look in looks]
        other += [not each.frontal] * len(looks)
    features = np.stack(seen)
    mean, scale = features.mean(axis=0), features.std(axis=0) + _LEAST_SCALE
    fitted = LogisticRegression(C=_PENALTY, max_iter=3000, class_weight="balanced")
    fitted.fit((features - mean) / scale, other)
    return FrontalRule(
        weights=fitted.coef_[0].astype(np.float32),
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        bias=float(np.float32(fitted.intercept_[0])),
        template=_template(learned),
    )


def measures_of(each: Pictured, rule: FrontalRule, reference: Cells) -> Measures:
    """As the box measures it, but for rounding."""
    look = look_small(each.mask.astype(np.float32), each.picture.astype(np.float32))
    return Measures(
        lung_fraction=each.lung_fraction,
        contrast=look.contrast,
        distance=nearest_distance(each.embedding, reference),
        inverted=likeness(look.picture, rule.template),
        not_frontal=rule.distance(look.features),
    )


def arrays_of(rule: FrontalRule) -> dict[str, NDArray[np.float32]]:
    """What stands in gate.npz besides the version of the features."""
    return {
        "weights": rule.weights, "mean": rule.mean, "scale": rule.scale, "bias": np.float32(rule.bias),
        "template": rule.template,
    }  # fmt: skip


def _template(learned: Sequence[Pictured]) -> Cells:
    """The mean of frontal chests and their mirror images."""
    pictures = [look_small(each.mask.astype(np.float32), each.picture.astype(np.float32)).picture
                for each in learned if each.frontal]  # fmt: skip
    mean = np.mean(pictures, axis=0)
    return np.asarray((mean + mean[:, ::-1]) / 2, np.float32)


def _limits(frontal: Sequence[Measures], inverted: Sequence[Measures], other: Sequence[Measures]) -> GateLimits:
    """Wide for all but the rule, which tells most: two checks that refuse the same would only add up their mistakes.

    Rounded, so that a manifest reads well.
    """
    fractions, contrast, alike, distances = (
        np.array([getattr(each, name) for each in frontal])
        for name in ("lung_fraction", "contrast", "inverted", "distance")
    )
    least = _SLACK * float(contrast.min())
    upturned = float(np.median([each.inverted for each in inverted]))
    turned = (float(np.quantile(alike, 0.01)) + upturned) / 2
    far = float(np.quantile(distances, 0.99)) / _SLACK**2
    limits = GateLimits(
        Limits(round(_SLACK * float(fractions.min()), 3), round(float(fractions.max()) / _SLACK, 3), _LUNG_MARGIN),
        contrast=Limits(low=round(least, 4), margin=round(0.15 * least, 4)),
        inverted=Limits(low=round(turned, 3), margin=0.1),
        distance=Limits(high=round(far, 3), margin=round(0.15 * far, 3)),
    )
    values = np.array([each.not_frontal for each in frontal])
    least_other = float(np.quantile([each.not_frontal for each in other], _OTHER_BELOW))
    for share in _REFUSED_BY_RULE:
        most = float(np.quantile(values, 1 - share))
        high = max(most, (most + least_other) / 2)  # where all else lies farther off, nobody need be refused
        margin = max(high - float(np.quantile(values, 0.95)), 0.01)
        limits = replace(limits, not_frontal=Limits(high=round(high, 3), margin=round(margin, 3)))
        if _refused(frontal, limits) <= REFUSED_AT_MOST * len(frontal):
            break
    return limits


def _refused(frontal: Sequence[Measures], limits: GateLimits) -> int:
    return sum(_reason(each, limits) is not None for each in frontal)


def _reason(values: Measures, limits: GateLimits) -> Reason | None:
    """The first, as the box gives it."""
    return next((finding.reason for finding in judge(values, limits) if finding.reason is not None), None)


def _changed(mask: Cells, picture: Cells, rng: Generator) -> tuple[Cells, Cells]:
    """Tilted, moved, nearer or farther, lighter or darker, unevenly lit, collimated, blurred, noisy: each a little."""
    moved = cv2.getRotationMatrix2D((SMALL / 2, SMALL / 2), rng.normal(0, 4), rng.uniform(0.85, 1.3))
    moved[:, 2] += rng.normal(0, 5, 2)
    mask, picture = cv2.warpAffine(mask, moved, (SMALL, SMALL)), cv2.warpAffine(picture, moved, (SMALL, SMALL))
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.6, 1.6)
    if rng.random() < 0.5:
        picture = picture + _light(rng)
    if rng.random() < 0.3:
        mask, picture = _collimated(mask, picture, rng)
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.5, 1.5))
    if rng.random() < 0.3:
        picture = picture + rng.normal(0, 0.05, picture.shape)
    return mask, np.clip(picture, 0, 1).astype(np.float32)


def _light(rng: Generator) -> NDArray[np.float64]:
    """Brighter to one side, and to the rim or the middle."""
    down, right = np.mgrid[-1 : 1 : SMALL * 1j, -1 : 1 : SMALL * 1j]
    return np.asarray(rng.normal(0, 0.12) * down + rng.normal(0, 0.12) * right
                      + rng.normal(0, 0.1) * (down**2 + right**2))  # fmt: skip


def _collimated(mask: Cells, picture: Cells, rng: Generator) -> tuple[Cells, Cells]:
    """An even band along one side."""
    turns, width = int(rng.integers(4)), int(rng.integers(2, 12))
    mask, picture = np.rot90(mask, turns).copy(), np.rot90(picture, turns).copy()
    mask[:width], picture[:width] = 0, rng.random()
    return np.rot90(mask, -turns).copy(), np.rot90(picture, -turns).copy()
