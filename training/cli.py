"""`edge-cxr train`, `evaluate` and `manifest`. Thin: the work is in the modules beside it."""

import contextlib
import json
from pathlib import Path

import click

from edge.bundle import open_bundle
from edge.engines.opening import choose_precision
from edge.imaging.preprocess import Preprocessing
from training import options
from training.devices import Place
from training.devices import place as this_place
from training.evaluate import Scored, Scorer, known_sizes, score_rows, shortcut_figures, split_figures, write_scores
from training.listing import create_site_key, list_folder, read_site_key, told, write_listing
from training.manifest import of_split, read_manifest, require_split
from training.model import require_pair, require_preprocessing
from training.presets import LUNGS, PRESETS
from training.scorers import box_scorer, dice_figures, size_only, torch_scorer
from training.splits import hold_out
from training.study import Study
from training.study_folder import StudyFolder
from training.study_report import report_again, report_study
from training.wishes import Wishes

NETWORKS = list(dict.fromkeys([LUNGS, *(name for preset in PRESETS.values() for name in preset.networks)]))
EVALUATE_EPILOG = """Example:

    edge-cxr evaluate --manifest chest.csv --study work/study

    edge-cxr evaluate --manifest covid.csv --split test_internal --bundle research --shortcuts
"""
MANIFEST_EPILOG = """Example:

    edge-cxr manifest archive --site-key /var/lib/edge-cxr/site.key --label-from-folder --out chest.csv

    edge-cxr manifest archive --site-key site.key --new-site-key --out chest.csv

The second makes a key where there is no box yet: put it into the box's empty state folder before its first start.
"""
EPILOG = """Example:

    edge-cxr train --preset paper --manifest chest.csv --lung-manifest lungs.csv --out work/study

    edge-cxr train --preset scratch --network lungs --manifest lungs.csv --out work/lungs

    edge-cxr train --preset finetune --manifest chest.csv --lungs work/lungs/lungs/best
    --init resnet34=work/earlier/split-0/resnet34/best --out work/study

With several GPUs: torchrun --nproc-per-node 4 -m training.cli train ... Killed, the same command goes on where it was.
"""


def _inits(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    inits = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not name or not path:
            raise click.BadParameter(
                f"{value!r} is not NETWORK=FILE; write, for example, resnet50=resnet50.safetensors"
            )
        if not any(Path(f"{path}{suffix}").is_file() for suffix in ("", ".safetensors")):
            raise click.BadParameter(f"there is no file {path}, nor {path}.safetensors")
        checkpoint = path.removesuffix(".safetensors")
        inits[name] = Path(checkpoint if Path(f"{checkpoint}.json").is_file() else path)
    return inits


@click.command(epilog=EPILOG)
@click.option("--preset", type=click.Choice(list(PRESETS)), required=True, help="Networks, schedules, augmentation.")
@click.option("--manifest", type=options.FILE, required=True, help="CSV: path,patient_id,label and optional columns.")
@click.option("--out", type=options.FOLDER, required=True, help="Folder of the study; an interrupted run goes on.")
@click.option("--network", "networks", type=click.Choice(NETWORKS), multiple=True,
              help="Only these; 'lungs' alone trains the U-Net alone.  [default: all of the preset]")  # fmt: skip
@click.option("--lungs", type=options.CHECKPOINT, help="Lung checkpoint, instead of training one.")
@click.option("--lung-manifest", type=options.FILE, help="CSV with mask_path; without it, the manifest's own masks.")
@click.option("--init", "inits", multiple=True, callback=_inits, metavar="NETWORK=FILE",
              help="First weights: a checkpoint of ours without suffix, or a .safetensors file.")  # fmt: skip
@click.option("--draws", type=click.IntRange(1, 100), help="Divisions of the cohort.  [default: the preset's]")
@click.option("--source-draws/--no-source-draws", default=True, show_default=True, help="Also hold out each source.")
@click.option("--operating-rule", default="half", show_default=True, callback=options.operating_rule,
              help="half, youden, or sensitivity=0.90: how the operating point is set on val rows.")  # fmt: skip
@click.option("--test-split", help="On which the study states its figures.  [default: the first with both labels]")
@click.option("--methods", type=options.FILE, help="Table of methods tried before, from python -m training.methods.")
@click.option("--report/--no-report", default=True, show_default=True, help="Write the study's report in the end.")
@options.labels
@options.framing
@options.cache
@options.permitted_only
@options.leave_out_refused
@options.seed
def train(inits: dict[str, Path], report: bool, **wished: object) -> None:
    """Train networks from a manifest of radiographs, and write the study's report.

    The U-Net, every network of the preset on every division of the cohort, what each answers, and the report with its
    tables and figures.
    """
    wishes = Wishes(inits=inits, **wished)  # type: ignore[arg-type]  # click has checked each
    with this_place() as place:
        study = Study(wishes, place, lambda line: _say(line, place))
        if wishes.networks == (LUNGS,):
            made = {"checkpoint": str(study.lungs.checkpoint)}
        else:
            outcome = study.run()
            made = {"study": str(wishes.out)}
            if report and place.first:
                made["report"] = str(report_study(outcome, study))
    if place.first:
        click.echo(json.dumps(made))


@click.command(epilog=EVALUATE_EPILOG)
@click.option("--manifest", type=options.FILE, required=True, help="CSV: path,patient_id,label and optional columns.")
@click.option("--study", "study_folder", type=options.FOLDER, help="Write the report of this study again.")
@click.option("--report", type=options.FOLDER, help="Folder for that report.  [default: the study's own]")
@click.option("--without-radiographs", is_flag=True, help="Leave out of that report what shows patients' radiographs.")
@click.option("--split", "names", multiple=True, default=["test"], show_default=True, help="Splits to score.")
@click.option("--bundle", type=options.FOLDER, help="Score by the box's own pipeline, with this bundle.")
@click.option("--precision", default="auto", show_default=True,
              help="Precision of the bundle; auto: what the box would choose on a CPU.")  # fmt: skip
@click.option("--lungs", "lungs_path", type=options.CHECKPOINT, help="Without a bundle: the lung checkpoint,")
@click.option("--member", type=options.CHECKPOINT, help="and the classifier's.")
@click.option("--shortcuts", is_flag=True, help="Also baselines on width, aspect and view, fitted on the train rows.")
@click.option("--lung-masks", is_flag=True, help="Dice of the bundle's lung mask instead of scores.")
@click.option("--scores", "scores_csv", type=options.NEW_FILE, help="Write one line a radiograph here.")
@options.labels
@options.framing
@options.cache
@options.permitted_only
@options.seed
def evaluate(
    manifest: Path, names: tuple[str, ...], bundle: Path | None, precision: str, lungs_path: Path | None,
    member: Path | None, shortcuts: bool, lung_masks: bool, scores_csv: Path | None, labels: tuple[str, str],
    framing: str, permitted_only: bool, seed: int, study_folder: Path | None, cache: Path,
    report: Path | None, without_radiographs: bool,
) -> None:  # fmt: skip
    """Print the figures of a manifest's splits as JSON, or write the report of a study.

    A manifest without splits: give the --seed and --permitted-only of the training, or other patients are held out.
    """
    if study_folder is not None:
        folder = StudyFolder(study_folder)
        written = report_again(folder, manifest, cache, report or folder.report, radiographs=not without_radiographs)
        click.echo(json.dumps({"report": str(written)}))
        return
    rows = read_manifest(
        manifest, labels=None if lung_masks else labels, permitted_only=permitted_only, apart=not lung_masks
    )
    rows = hold_out(rows, shares=options.HELD_OUT, seed=seed)
    splits = {name: require_split(manifest, rows, name) for name in names}
    if bundle is not None:
        precision = choose_precision(open_bundle(str(bundle)), precision)
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


@click.command(epilog=MANIFEST_EPILOG)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--site-key", type=options.NEW_FILE, required=True, help="The box's key: site.key in its state folder.")
@click.option("--new-site-key", is_flag=True, help="Make that key first; none may be there.")
@click.option("--out", type=options.NEW_FILE, required=True, help="The manifest, a CSV; an older one is replaced.")
@click.option("--label-from-folder", is_flag=True, help="Labels are the names of the folders right below FOLDER.")
def manifest(folder: Path, site_key: Path, new_site_key: bool, out: Path, label_from_folder: bool) -> None:
    """List the radiographs below FOLDER as a training manifest in which patients are known by keys, not by names.

    Files are read as the box reads them; what it would refuse unread is counted and left out. File names stand in the
    manifest as they are.
    """
    if new_site_key:
        create_site_key(site_key)
    listing = list_folder(folder, out, site_key=read_site_key(site_key), label_from_folder=label_from_folder)
    write_listing(listing, out)
    if listing.refused:
        click.echo(f"left out: {told(listing.refused)}", err=True)
    if listing.without_id:
        click.echo(f"{listing.without_id} without PatientID: each counts as a patient of its own", err=True)
    counts = {"radiographs": len(listing.rows), "patients": len({row.patient_id for row in listing.rows})}
    click.echo(json.dumps({"manifest": str(out), **counts, "without_id": listing.without_id,
                           "refused": dict(sorted(listing.refused.items()))}))  # fmt: skip


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


def _say(line: str, place: Place) -> None:
    if place.first:
        click.echo(line, err=True)


if __name__ == "__main__":
    click.Group(commands=[train, evaluate, manifest])()
