"""The paper's figures as it prints them, each with its place, to stand beside this cohort's. Nothing is recomputed.

COVID-19 Classification of X-ray Images Using Deep Neural Networks. Its test split counts 350 images in the text and 351
in Table 2; its ROC AUC is 0.96 in the text and 0.95 in the caption of Figure 2. Both are kept as printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from edge.statistics import Interval
from training.outcome import ENSEMBLE
from training.presets import NO_PREPROCESSING

BY_SCORES, BY_LABELS = "knn-scores", "knn-labels"
NAMES: Mapping[str, str] = {
    "resnet34": "ResNet34",
    "resnet50": "ResNet50",
    NO_PREPROCESSING: "ResNet50, no preprocessing",
    "resnet152": "ResNet152",
    "chexpert": "CheXpert",
    "vgg16": "VGG16",
    ENSEMBLE: "Ensemble",
    BY_SCORES: "KNN vote by scores",
    BY_LABELS: "KNN vote by labels",
}


@dataclass(frozen=True)
class Share:
    """A percentage as printed, with its counts."""

    percent: float
    count: int
    total: int


@dataclass(frozen=True)
class Printed:
    """What the paper states of one network, and where."""

    place: str
    accuracy: Share
    sensitivity: Share
    specificity: Share
    roc_auc: Interval | None = None
    pr_auc: Interval | None = None


TABLE_2: Mapping[str, Printed] = {
    "resnet34": Printed("Table 2", Share(86.8, 305, 351), Share(83.81, 151, 180), Share(90.0, 154, 171)),
    "resnet50": Printed("Table 2", Share(90.0, 316, 351), Share(90.5, 163, 180), Share(89.4, 153, 171)),
    NO_PREPROCESSING: Printed("Table 2", Share(85.1, 298, 350), Share(82.1, 147, 179), Share(88.3, 151, 171)),
    "resnet152": Printed("Table 2", Share(87.1, 306, 351), Share(83.3, 150, 180), Share(91.2, 156, 171)),
    "chexpert": Printed("Table 2", Share(80.6, 283, 351), Share(81.1, 146, 180), Share(80.6, 137, 171)),
    "vgg16": Printed("Table 2", Share(85.2, 299, 351), Share(81.6, 147, 180), Share(88.8, 152, 171)),
    ENSEMBLE: Printed(
        "Table 2; areas in Results",
        Share(90.3, 317, 351),
        Share(90.5, 163, 180),
        Share(90.0, 154, 171),
        roc_auc=Interval(0.96, 0.93, 0.97),
        pr_auc=Interval(0.96, 0.94, 0.97),
    ),
    BY_SCORES: Printed("Qualitative analysis", Share(87.0, 305, 350), Share(83.2, 149, 179), Share(91.2, 156, 171)),
}

# Results, "Quantitative analysis of the model": 95% intervals of the ensemble, in per cent.
ENSEMBLE_INTERVALS: Mapping[str, tuple[float, float]] = {
    "accuracy": (86.3, 93.7),
    "sensitivity": (85.0, 94.0),
    "specificity": (84.3, 94.0),
}

# Results, "Qualitative analysis of the model": 22 images, 9 of them positive.
HARD_ACCURACY_PERCENT = 77
HARD_SENSITIVITY_PERCENT = 77
HARD_IMAGES = 22

# Caption of Figure 6: mean and standard deviation of the distance between training and test images.
DISTANCES: Mapping[str, tuple[float, float]] = {
    "overall": (3.9, 2.5),
    "positive": (1.4, 1.9),
    "negative": (2.2, 1.3),
    "between": (5.8, 1.9),
}

NEIGHBOURS = 4  # k of the vote

# Table 1: patients, images, men/women/unknown, age and its standard deviation in years.
POSITIVE_PATIENTS, POSITIVE_IMAGES, POSITIVE_SEX, POSITIVE_AGE = 360, 1191, (199, 132, 29), (60, 18)
NEGATIVE_PATIENTS, NEGATIVE_IMAGES, NEGATIVE_SEX, NEGATIVE_AGE = 1024, 1135, (353, 323, 348), (65, 19)

# Supplement, "Analysis of patient subgroups": hospital, negative images, normal, abnormal.
NORMAL_ABNORMAL: tuple[tuple[str, int, int, int], ...] = (
    ("Rabin Medical Center", 767, 366, 401),
    ("Shaare Zedek", 145, 70, 75),
)
EXCLUDED_IMAGES, ALL_IMAGES = 101, 2426  # Methods, "Data and patients": lateral, or with rectangular artefacts


def name_of(network: str) -> str:
    """A network as people write it; one that the paper does not know keeps its own name."""
    return NAMES.get(network, network)
