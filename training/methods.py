"""Which methods generalise: six of them, chosen before any was run, compared within the train and val rows alone.

    python -m training.methods --manifest covid.csv --lungs work/lungs/lungs/best --framing stretch \\
        --imagenet resnet50-v1.safetensors --nih resnet50=work/nih/split-0/resnet50/best \\
        --nih resnet34=work/nih/split-0/resnet34/best --out methods.json

Every method is a frozen backbone with a fresh decision head, learned by the study's own loop on augmented views.
Each is judged by cross-validation grouped by patient, and by leaving out one source after the other. No test row is
opened.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from edge.engines.base import MASK_SIDE
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from edge.statistics import Interval, auc_interval
from training import options
from training.arrays import load
from training.augment import STRONG, Augmenter
from training.classify import Examples, Features, features_of, head_scores, head_task, source_weights
from training.devices import ALONE
from training.fit import Schedule, fit, quiet
from training.lungs import lung_probabilities
from training.model import (
    INPUTS,
    Classifier,
    ClassifierArchitecture,
    DecisionHead,
    initialise,
    inputs_of,
    load_lungs,
    reduce_to,
    weights_file,
)
from training.outcome import TriedMethod
from training.pretrained import first_weights
from training.progress import bar
from training.row import Row
from training.splits import hold_out
from training.study_cohort import StudyCohort, study_cohort
from training.study_folder import methods_written
from training.wishes import Wishes

VIEWS = 8
FOLDS, REPEATS = 5, 3
FEWEST_CLUSTERS = 5  # of a label: with fewer, redrawing them says nothing of others
SCHEDULE = Schedule(40, 32, 2e-3, patience=10)


@dataclass(frozen=True)
class Method:
    """One row of the table. start: nih or imagenet, the backbone's weights."""

    name: str
    why: str
    backbone: str
    start: str
    side: int
    lung_crop: bool = False
    balanced: bool = False
    flips: bool = False


_BEST = ("resnet50-v1", "nih", 256)
METHODS = (
    Method("NIH from scratch, ResNet34", "chest radiographs of one source teach anatomy, no source to read",
           "resnet34", "nih", 256),
    Method("ImageNet, ResNet50", "the paper's start; never saw a radiograph", "resnet50-v1", "imagenet", 256),
    Method("ImageNet then NIH, ResNet50", "edges from photographs, anatomy from one source", *_BEST),
    Method("the same + lung crop", "framing and borders differ between sources; lungs do not", *_BEST, lung_crop=True),
    Method("the same + balanced sources", "no source may stand for a label by its number", *_BEST, balanced=True),
    Method("the same + test-time flips", "the mean of two views varies less", *_BEST, flips=True),
)  # fmt: skip


@dataclass(frozen=True)
class MethodFeatures:
    """views: float32 [v, n, f], augmented. clean: float32 [2, n, f]: as it is, and flipped."""

    views: Tensor
    clean: Tensor


def compare(cohort: StudyCohort, labels: tuple[str, str], features: Mapping[str, MethodFeatures]) -> list[TriedMethod]:
    """AUC of every method, of patient folds and of every source left out, over whole clusters redrawn."""
    rows = cohort.rows
    positive = np.array([row.label == labels[1] for row in rows])
    table = []
    for method in METHODS:
        found = features[method.name]
        folds = np.mean([_cross_validated(method, found, rows, positive, seed) for seed in range(REPEATS)], axis=0)
        aucs = {f"{FOLDS} patient folds": _auc(rows, positive, folds, np.full(len(rows), True))}
        for source in sorted({row.source for row in rows}):
            held = np.array([row.source == source for row in rows])
            if len(set(positive[held])) == 2 and len(set(positive[~held])) == 2:
                learned = [_learned(method, found, rows, positive, ~held, seed=seed) for seed in range(REPEATS)]
                aucs[f"without {source}"] = _auc(rows, positive, np.mean(learned, axis=0), held)
        table.append(TriedMethod(method.name, method.why, aucs))
        told = ", ".join(f"{name} {auc.value:.2f}" for name, (auc, _) in aucs.items())
        click.echo(f"{method.name}: {told}", err=True)
    return table


def _auc(
    rows: Sequence[Row], positive: NDArray[np.bool_], scores: NDArray[np.float64], held: NDArray[np.bool_]
) -> tuple[Interval, int]:
    """With its interval where both labels have enough patients or groups to be redrawn; NaN for its ends otherwise."""
    clusters = [row.cluster for row, kept in zip(rows, held, strict=True) if kept]
    found = auc_interval(list(scores[held]), list(positive[held]), clusters)
    counts = [len({row.cluster for row in np.array(rows, object)[held & label]}) for label in (positive, ~positive)]
    if min(counts) < FEWEST_CLUSTERS:
        found = Interval(found.value, math.nan, math.nan)
    return found, int(held.sum())


def _cross_validated(
    method: Method, found: MethodFeatures, rows: Sequence[Row], positive: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    """Scores [n], each of a head that saw neither the row nor its patient or group."""
    fold_of = _folds(rows, seed)
    scores = np.zeros(len(rows))
    for fold in bar(range(FOLDS), f"{method.name}, repeat {seed + 1}", total=FOLDS):
        held = fold_of == fold
        scores[held] = _learned(method, found, rows, positive, ~held, seed=seed)[held]
    return scores


def _folds(rows: Sequence[Row], seed: int) -> NDArray[np.int64]:
    """[n]: the fold of each row; clusters stay whole, and every fold has its share of both labels."""
    fold_of = np.full(len(rows), -1)
    open_rows = [replace(row, split="") for row in rows]
    for fold in range(FOLDS - 1):
        left = [row for row, known in zip(open_rows, fold_of, strict=True) if known < 0]
        drawn = hold_out(left, shares={"test": 1 / (FOLDS - fold)}, seed=seed * 100 + fold)
        lines = {row.line for row in drawn if row.split == "test"}
        for at, row in enumerate(open_rows):
            if row.line in lines:
                fold_of[at] = fold
    fold_of[fold_of < 0] = FOLDS - 1
    return fold_of


def _learned(
    method: Method, found: MethodFeatures, rows: Sequence[Row], positive: NDArray[np.bool_],
    learning: NDArray[np.bool_], *, seed: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Scores [n] of every row, by a head learned on the learning rows; a sixth of their clusters stops it early."""
    inner = hold_out([replace(row, split="") for row, kept in zip(rows, learning, strict=True) if kept],
                     shares={"val": 1 / 6}, seed=seed)  # fmt: skip
    stopping = {row.line for row in inner if row.split == "val"}
    val = torch.tensor([at for at, row in enumerate(rows) if learning[at] and row.line in stopping])
    train = torch.tensor([at for at, row in enumerate(rows) if learning[at] and row.line not in stopping])
    labels = torch.from_numpy(positive.astype(np.int64))
    weights = torch.ones(len(rows))
    if method.balanced:
        weights = source_weights(labels, [row.source for row in rows], train)
    torch.manual_seed(seed)
    head = DecisionHead(found.views.shape[-1])
    learned = Features(found.views[:, train], labels[train], weights[train])
    held_out = Features(found.clean[:1, val], labels[val], weights[val])
    task = head_task(head, learned, held_out, label_smoothing=0.05)
    architecture = ClassifierArchitecture(backbone=method.backbone, side=method.side)
    with tempfile.TemporaryDirectory() as folder:
        best = fit(head, architecture, task, replace(SCHEDULE, seed=seed), Path(folder), {}, place=ALONE, say=quiet)
        initialise(head, best)
    head.eval()
    asked = found.clean if method.flips else found.clean[:1]
    return torch.stack([head_scores(head, view) for view in asked]).mean(dim=0).double().numpy()


def _kept_features(
    method: Method, cohort: StudyCohort, lungs: Path, weights: Mapping[tuple[str, str], Path], cache: Path
) -> MethodFeatures:
    """Made once for these weights, radiographs and this method; the heads that learn on them take no time beside it."""
    first = weights[method.start, method.backbone]
    shown = [method.backbone, method.start, method.side, method.lung_crop]
    made_of = [shown, INPUTS, cohort.digest, _sha256(first), _sha256(lungs), asdict(STRONG), VIEWS]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    kept = cache / "features" / f"{key[:32]}.safetensors"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        found = method_features(method, cohort, lungs, weights)
        beside = kept.with_suffix(".part")
        save_file({"views": found.views, "clean": found.clean}, beside)
        beside.replace(kept)
    tensors = load_file(kept)
    return MethodFeatures(tensors["views"], tensors["clean"])


def _sha256(weights: Path) -> str:
    return hashlib.sha256(weights_file(weights).read_bytes()).hexdigest()


def method_features(
    method: Method, cohort: StudyCohort, lungs: Path, weights: Mapping[tuple[str, str], Path]
) -> MethodFeatures:
    """Of the frozen backbone, on augmented views and on the radiographs as they are."""
    network = Classifier(ClassifierArchitecture(backbone=method.backbone, side=method.side))
    start = weights[method.start, method.backbone]
    if start.suffix:
        first_weights(network.backbone, method.backbone, start, quiet)
    else:
        initialise(network, start)
    network.eval()
    examples = _examples(cohort, lungs, method)
    everything = torch.arange(len(examples.labels))
    torch.manual_seed(0)
    augmenter = Augmenter(STRONG)
    views = [features_of(network, examples, everything, augmenter) for _ in bar(range(VIEWS), method.name, total=VIEWS)]
    flipped = replace(examples, radiographs=examples.radiographs.flip(-1), lungs=examples.lungs.flip(-1))
    clean = [features_of(network, whole, everything) for whole in (examples, flipped)]
    return MethodFeatures(torch.stack(views), torch.stack(clean))


def _examples(cohort: StudyCohort, lungs: Path, method: Method) -> Examples:
    lung_net = load_lungs(lungs)
    radiographs, channels = [], []
    for path in bar(cohort.paths, "radiographs", total=len(cohort.paths)):
        pixels = torch.from_numpy(load(path).pixels)[None, None]  # [1, 1, 1024, 1024]
        probability = lung_probabilities(lung_net, reduce_to(pixels.float(), MASK_SIDE).round().to(torch.uint8))
        radiograph, lung = inputs_of(pixels.float() / 255, probability, method.side, lung_crop=method.lung_crop)
        radiographs.append((radiograph * 255).round().to(torch.uint8))
        channels.append((lung * 255).round().to(torch.uint8))
    count = len(cohort.paths)
    return Examples(
        torch.cat(radiographs), torch.cat(channels), torch.zeros(count, dtype=torch.int64), torch.ones(count)
    )


@click.command(
    epilog="Example: python -m training.methods --manifest covid.csv --lungs work/lungs/best --out methods.json"
)
@click.option("--manifest", type=options.FILE, required=True, help="Only its train and val rows are opened.")
@click.option("--lungs", type=options.CHECKPOINT, required=True, help="Lung checkpoint.")
@click.option("--imagenet", type=options.FILE, required=True, help="ResNet50's ImageNet weights, .safetensors.")
@click.option("--nih", "pretrained", multiple=True, required=True, metavar="NETWORK=CHECKPOINT")
@click.option("--out", type=options.NEW_FILE, required=True, help="JSON: one row a method.")
@options.labels
@options.framing
@options.cache
def main(
    manifest: Path, lungs: Path, imagenet: Path, pretrained: tuple[str, ...], out: Path, labels: tuple[str, str],
    framing: str, cache: Path,
) -> None:  # fmt: skip
    """Compare the six methods within the train and val rows of a manifest."""
    wishes = Wishes(manifest, "finetune", out.parent, cache, labels, framing, leave_out_refused=True)
    cohort = study_cohort(wishes, Preprocessing(framing=framing), ALONE, splits=("train", "val"))
    if not cohort.rows:
        raise UsageError(f"{manifest.name} has no train and no val row; write them into its column split")
    weights = {("imagenet", "resnet50-v1"): imagenet}
    for item in pretrained:
        network, _, path = item.partition("=")
        weights["nih", network if network != "resnet50" else "resnet50-v1"] = Path(path)
    features = {method.name: _kept_features(method, cohort, lungs, weights, cache) for method in METHODS}
    table = compare(cohort, labels, features)
    out.write_text(json.dumps(methods_written(table), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
