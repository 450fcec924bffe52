"""`edge-cxr train` and `edge-cxr evaluate`. Thin: the work is in the modules beside it."""

import contextlib
import hashlib
import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

import edge
from edge.bundle import open_bundle
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training import classify, lungs, options
from training.arrays import load_pixels, readable, standardise
from training.evaluate import Scored, Scorer, known_sizes, score_rows, shortcut_figures, split_figures, write_scores
from training.manifest import of_split, read_manifest, require_split
from training.model import load_lungs, require_pair, require_preprocessing, weights_sha256
from training.row import Row
from training.scorers import box_scorer, dice_figures, size_only, torch_scorer
from training.splits import hold_out

_Readable = tuple[tuple[Row, ...], tuple[Path, ...]]  # rows and their arrays
PRESETS = sorted({*lungs.PRESETS, *classify.PRESETS})
EVALUATE_EPILOG = "Example: edge-cxr evaluate --manifest covid.csv --split test_internal --bundle research --shortcuts"
EPILOG = """Example:

    edge-cxr train --network lungs --preset lungs --manifest lungs.csv --out work/lungs

    edge-cxr train --network classifier --preset scratch --manifest nih.csv --labels no_finding,pneumonia
    --lungs work/lungs/best --out work/chest
"""


@click.command(epilog=EPILOG)
@click.option("--network", type=click.Choice(["lungs", "classifier"]), required=True, help="Which network to train.")
@click.option("--preset", type=click.Choice(PRESETS), required=True, help="Architecture, schedule and augmentation.")
@click.option("--manifest", type=options.FILE, required=True, help="CSV: path,patient_id,label and optional columns.")
@click.option("--out", type=options.FOLDER, required=True, help="Folder for the weights; an interrupted run goes on.")
@click.option("--lungs", "lungs_path", type=options.CHECKPOINT, help="Lung checkpoint, for the classifier.")
@click.option("--init", type=options.CHECKPOINT, help="Checkpoint to start from, e.g. work/chest/best.")
@options.labels
@options.framing
@options.cache
@options.permitted_only
@options.leave_out_refused
@options.seed
def train(
    network: str, preset: str, manifest: Path, out: Path, cache: Path, labels: tuple[str, str], framing: str,
    lungs_path: Path | None, init: Path | None, permitted_only: bool, leave_out_refused: bool, seed: int,
) -> None:  # fmt: skip
    """Train one network from a manifest of radiographs."""
    known = lungs.PRESETS if network == "lungs" else classify.PRESETS
    if preset not in known:
        raise click.UsageError(
            f"--preset {preset} is not for --network {network}; use one of {', '.join(sorted(known))}"
        )
    rows = read_manifest(manifest, labels=None if network == "lungs" else labels, permitted_only=permitted_only)
    rows = hold_out(rows, shares=options.HELD_OUT, seed=seed)
    splits = [require_split(manifest, rows, split) for split in ("train", "val")]
    preprocessing = Preprocessing(framing=framing)
    if network == "classifier":
        if lungs_path is None:
            raise click.UsageError("the classifier reads a lung channel: name the lung checkpoint with --lungs")
        require_preprocessing(lungs_path, preprocessing.digest)
    sources = _sources(manifest, lungs_path, init)
    kept = [_standardised(split, preprocessing, cache, leave_out_refused) for split in splits]
    made_by = {**_made_by(network, preset, manifest, kept, seed, preprocessing, init), **sources}
    if network == "lungs":
        chosen = lungs.PRESETS[preset]
        chosen = replace(chosen, schedule=replace(chosen.schedule, seed=seed))
        learn, hold = (lungs.load_examples(split, paths, preprocessing, chosen.side) for split, paths in kept)
        best = lungs.train_lungs(learn, hold, chosen, out, made_by, init=init, say=_say)
    else:
        best = _train_classifier(kept, preset, out, made_by, labels, lungs_path, init, seed)
    click.echo(json.dumps({"checkpoint": str(best)}))


def _standardised(
    rows: tuple[Row, ...], preprocessing: Preprocessing, cache: Path, leave_out_refused: bool
) -> _Readable:
    kept = standardise(rows, preprocessing, cache)
    if leave_out_refused:
        for item in kept:
            if item.path is None:
                _say(f"left out: line {item.row.line}, {item.row.path.name}: {item.refusal}")
        kept = tuple(item for item in kept if item.path is not None)
        if not kept:
            raise UsageError(f"the box refuses every {rows[0].split} row; list radiographs that it reads")
    return readable(kept)


def _train_classifier(
    kept: list[_Readable], preset: str, out: Path, made_by: dict[str, Any], labels: tuple[str, str],
    lungs_path: Path, init: Path | None, seed: int,
) -> Path:  # fmt: skip
    chosen = classify.PRESETS[preset]
    chosen = replace(chosen, schedule=replace(chosen.schedule, seed=seed))
    side = chosen.architecture.side
    lung_net = load_lungs(lungs_path)
    learn, hold = (
        classify.ClassifierExamples(
            load_pixels(paths, side),
            lungs.lung_channel(lung_net, paths, side),
            torch.tensor([labels.index(row.label) for row in split]),
        )
        for split, paths in kept
    )
    return classify.train_classifier(learn, hold, chosen, out, made_by, init=init, say=_say)


@click.command(epilog=EVALUATE_EPILOG)
@click.option("--manifest", type=options.FILE, required=True, help="CSV: path,patient_id,label and optional columns.")
@click.option("--split", "names", multiple=True, default=["test"], show_default=True, help="Splits to score.")
@click.option("--bundle", type=options.FOLDER, help="Score by the box's own pipeline, with this bundle.")
@click.option("--precision", default="int8", show_default=True, help="Precision of the bundle.")
@click.option("--lungs", "lungs_path", type=options.CHECKPOINT, help="Without a bundle: the lung checkpoint,")
@click.option("--member", type=options.CHECKPOINT, help="and the classifier's.")
@click.option("--shortcuts", is_flag=True, help="Also baselines on width, aspect and view, fitted on the train rows.")
@click.option("--lung-masks", is_flag=True, help="Dice of the bundle's lung mask instead of scores.")
@click.option("--scores", "scores_csv", type=options.NEW_FILE, help="Write one line a radiograph here.")
@options.labels
@options.framing
@options.permitted_only
@options.seed
def evaluate(
    manifest: Path, names: tuple[str, ...], bundle: Path | None, precision: str, lungs_path: Path | None,
    member: Path | None, shortcuts: bool, lung_masks: bool, scores_csv: Path | None, labels: tuple[str, str],
    framing: str, permitted_only: bool, seed: int,
) -> None:  # fmt: skip
    """Print the figures of a manifest's splits as JSON.

    A manifest without splits: give the --seed and --permitted-only of the training, or other patients are held out.
    """
    rows = read_manifest(
        manifest, labels=None if lung_masks else labels, permitted_only=permitted_only, apart=not lung_masks
    )
    rows = hold_out(rows, shares=options.HELD_OUT, seed=seed)
    splits = {name: require_split(manifest, rows, name) for name in names}
    if lung_masks:
        if bundle is None:
            raise click.UsageError("name the bundle whose lung masks are measured with --bundle")
        click.echo(json.dumps({name: dice_figures(part, bundle, precision) for name, part in splits.items()}, indent=1))
        return
    positive = labels[1]
    fitted: tuple[Scored, ...] = ()
    with _scorer(bundle, precision, lungs_path, member, framing) as scorer:
        if shortcuts:
            fitted = known_sizes(score_rows(of_split(rows, "train"), size_only), positive_label=positive)
        scored = {name: score_rows(part, scorer) for name, part in splits.items()}
    if scores_csv is not None:
        write_scores([item for part in scored.values() for item in part], scores_csv)
    point = _operating_point(bundle, precision)
    figures = {name: split_figures(part, positive_label=positive, point=point) for name, part in scored.items()}
    for name, part in scored.items():
        if shortcuts and "auc" in figures[name]:
            figures[name]["shortcuts"] = shortcut_figures(fitted, part, positive_label=positive)
    click.echo(json.dumps(figures, indent=1))


def _operating_point(bundle: Path | None, precision: str) -> float:
    """The bundle's own; one half where none was set."""
    point = None if bundle is None else open_bundle(str(bundle)).manifest.operating_points[precision]
    return 0.5 if point is None else point


def _scorer(
    bundle: Path | None, precision: str, lungs_path: Path | None, member: Path | None, framing: str
) -> contextlib.AbstractContextManager[Scorer]:
    if bundle is not None:
        return box_scorer(bundle, precision)
    if lungs_path is None or member is None:
        raise click.UsageError("name a bundle with --bundle, or weights with --lungs and --member")
    preprocessing = Preprocessing(framing=framing)
    require_preprocessing(member, preprocessing.digest)
    require_pair(lungs_path, member)
    return contextlib.nullcontext(torch_scorer(lungs_path, member, preprocessing))


def _sources(manifest: Path, lungs_path: Path | None, init: Path | None) -> dict[str, str | None]:
    """Digests of what a run starts from: one with another manifest or other weights is another run."""
    return {
        "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(),
        "lungs_sha256": None if lungs_path is None else weights_sha256(lungs_path),
        "init_sha256": None if init is None else weights_sha256(init),
    }


def _made_by(
    network: str, preset: str, manifest: Path, kept: list[_Readable], seed: int,
    preprocessing: Preprocessing, init: Path | None,
) -> dict[str, Any]:  # fmt: skip
    """What made the weights, without machine paths: enough to repeat it."""
    return {
        "network": network,
        "preset": preset,
        "manifest": manifest.name,
        "rows": {"train": len(kept[0][0]), "val": len(kept[1][0])},
        "seed": seed,
        "preprocessing_digest": preprocessing.digest,
        "init": init.parent.name if init else None,
        "versions": {"edge-cxr": edge.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    click.Group(commands=[train, evaluate])()
