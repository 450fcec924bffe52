"""MODEL_CARD.md: what a bundle is, what it was measured to do, and what its weights owe to whom.

The first line is the figure that matters most to whoever would trust a score: another source, and whether it is chance.
"""

from typing import Any

from edge.phantom import LABELS
from edge.statistics import RESAMPLES
from edge.values import INTENDED_USE
from export.bundle_writer import BundleContent
from export.gate_card import gate_section

EXTERNAL = "test_eurorad"  # the split from a source that was never trained on, with both labels from it
_MEANING = {
    "test": "held-out phantoms",
    "test_internal": "same sources as the training, other patients",
    EXTERNAL: "another source, both labels from it",
    "test_mhh_positive_only": "one hospital, positive per patient",
    "test_nih_negative_only": "another source, negatives only",
}


def render_card(content: BundleContent, metrics: dict[str, Any], training: dict[str, Any]) -> str:
    """The whole card in Markdown."""
    parts = [
        first_line(content.role, metrics, content.labels),
        "",
        f"# Model card: {content.name}",
        "",
        f"{INTENDED_USE} Role: {content.role}. Members: {', '.join(content.members)} at "
        f"{content.network_input_size} pixels, lung U-Net at 256; precisions: {', '.join(content.precisions)}.",
        _calibration(content),
        "",
        "## Figures",
        f"Measured by the box's own pipeline, precision {training['default_precision']}; what its gates refuse is "
        f"counted and left out. AUC with a 95% interval from {RESAMPLES:,} bootstrap samples over patients, or over "
        "groups of patients where the manifest names them; sensitivity and specificity at the point named, with "
        "Wilson's 95% interval.",
        "",
        *_figures(metrics, content),
        "",
        *_separated(metrics),
        *_shortcuts(metrics),
        *_lungs(training.get("lung_dice", {})),
        *_accuracy(content.accuracy),
        "",
        *(gate_section(training["gate"]["rule"]) if "rule" in training["gate"] else ()),
        *_training(training),
        "",
        "## Limits",
        "Adults, frontal chest radiographs. The sets are small and the intervals wide. A model can read the source of "
        "a radiograph instead of the disease; compare with the shortcut baselines before believing any figure.",
        "",
        "## Licence and credits",
        f"Weights and reference embeddings: {training['licence']}.",
        *(f"- {credit}" for credit in training["credits"]),
    ]
    return "\n".join(parts) + "\n"


def first_line(role: str, metrics: dict[str, Any], labels: tuple[str, str] = LABELS) -> str:
    """labels: negative and positive, as a site calls them."""
    if role == "phantom":
        told = f"AUC {_auc(metrics['test'])} on held-out synthetic radiographs"
        return f"**Phantoms only: {told}; it knows nothing of patients.**"
    if role == "site":
        return _of_its_site(metrics, labels)
    figures = metrics[EXTERNAL]
    counts = f"{figures['n_covid']} COVID-19, {figures['n_other']} other"
    if "auc" not in figures or figures["auc_low"] <= 0.5 <= figures["auc_high"]:
        verdict = "not distinguishable from chance. Do not use its scores for any patient"
    else:
        verdict = "on one small set; no ground to use its scores for any patient"
    return f"**On a source it never saw (Eurorad: {counts}) the AUC is {_auc(figures)}: {verdict}.**"


def _of_its_site(metrics: dict[str, Any], labels: tuple[str, str]) -> str:
    measured = [(split, figures) for split, figures in metrics.items() if "auc" in figures]
    if not measured:
        return "**Nobody has measured its scores on radiographs that it was not trained on. Do not use them.**"
    split, figures = measured[0]
    counts = f"{figures['n_covid']} {labels[1]}, {figures['n_other']} {labels[0]}"
    return f"**On {split} ({counts}) the AUC is {_auc(figures)}; of other hospitals this says nothing.**"


def _auc(figures: dict[str, Any]) -> str:
    if "auc" not in figures:  # the gates refused every radiograph of a label
        return "not known, of one label only"
    return f"{figures['auc']:.2f} (95% interval {figures['auc_low']:.2f} to {figures['auc_high']:.2f})"


def _calibration(content: BundleContent) -> str:
    points = {precision: point for precision, point in content.operating_points.items() if point is not None}
    if not points:
        return "Not calibrated: results carry a score and no verdict, until a site calibrates or brings its own bundle."
    told = "Operating points: " + ", ".join(f"{point:.3f} ({precision})" for precision, point in points.items()) + "."
    scaled = {precision: found for precision, found in content.temperatures.items() if found is not None}
    if not scaled:
        return f"{told} The scores are not calibrated: read them as above or below the point, not as probabilities."
    temperatures = ", ".join(
        f"{found:.2f} ({precision}; expected calibration error of {proof.radiographs} radiographs {proof.ece:.3f}, "
        f"at most {proof.ece_high:.3f} by its 95% interval)"
        for precision, found in scaled.items()
        for proof in (content.calibration[precision],)
    )
    return f"{told} The scores are calibrated by temperatures: {temperatures}."


def _figures(metrics: dict[str, Any], content: BundleContent) -> list[str]:
    negative, positive = content.labels if content.role == "site" else ("other", "COVID-19")
    lines = [
        f"| split | what it is | {positive} / {negative} / refused | AUC | sensitivity | specificity | point |",
        "|---|---|---|---|---|---|---|",
    ]
    for split, figures in metrics.items():
        counts = f"{figures['n_covid']} / {figures['n_other']} / {figures['n_refused']}"
        found, spared = _share(figures.get("sensitivity")), _share(figures.get("specificity"))
        meaning = _MEANING.get(split, "")
        lines.append(
            f"| {split} | {meaning} | {counts} | {_auc(figures)} | {found} | {spared} | {figures['point']:.2f} |"
        )
    return lines


def _separated(metrics: dict[str, Any]) -> list[str]:
    """What an interval of no width is worth, where there is one."""
    splits = [split for split, figures in metrics.items() if "auc" in figures and figures["auc"] in (0, 1)]
    if not splits:
        return []
    told = "every score of one label lies above every score of the other, so that every bootstrap sample has the same"
    return [f"{', '.join(splits)}: {told} AUC; its interval says nothing of other radiographs.", ""]


def _share(share: dict[str, Any] | None) -> str:
    if share is None:
        return "-"
    return f"{share['count']}/{share['total']} = {share['value']:.2f} ({share['low']:.2f} to {share['high']:.2f})"


def _shortcuts(metrics: dict[str, Any]) -> list[str]:
    """Baselines that have seen no lung, where they were measured."""
    rows = {split: figures["shortcuts"] for split, figures in metrics.items() if "shortcuts" in figures}
    if not rows:
        return []
    measured = next(iter(rows.values()))
    names = list(measured["areas"])
    return [
        f"AUC of logistic regressions that see no lung at all, fitted on the {measured['n_fitted']} readable train "
        "rows, over the radiographs that this model scored:",
        "",
        f"| split | this model | {' | '.join(names)} |",
        "|---" * (len(names) + 2) + "|",
        *(
            f"| {split} | {' | '.join(map(_auc, (metrics[split], *found['areas'].values())))} |"
            for split, found in rows.items()
        ),
        "",
    ]


def _lungs(dice: dict[str, Any]) -> list[str]:
    if not dice:
        return []
    return [
        "Dice of the lung mask against the masks given (two annotators of real radiographs agree at 0.951):",
        "",
        "| split | median | tenth percentile | masks | radiographs | masks refused |",
        "|---|---|---|---|---|---|",
        *(
            f"| {split} | {figures['median']:.3f} | {figures['tenth_percentile']:.3f} | {figures['n']} "
            f"| {figures['n_radiographs']} | {figures['n_refused']} |"
            for split, figures in dice.items()
        ),
        "",
    ]


def _accuracy(accuracy: dict[str, dict[str, Any]]) -> list[str]:
    """Each precision against fp32, as the accuracy gate judged it; fp32 itself needs no line."""
    lines = []
    for precision, found in accuracy.items():
        if precision == "fp32":
            continue
        verdict = "the accuracy gate holds" if found["passed"] else f"the gate fails: {'; '.join(found['failures'])}"
        judged = "" if found["decisions_judged"] else "; counted, not judged"
        lines.append(
            f"{precision} against fp32 on {found['radiographs']} radiographs: {verdict}. {found['flipped']} decisions "
            f"flip (at most {found['flipped_upper']:.2%} by the 95% bound{judged}), AUC {found['auc_fp32']:.3f} "
            f"before, {found['auc']:.3f} after, {found['recall']:.3f} of the 4 nearest cases stay; score change at "
            f"most {found['score_change_max']:.3f}, mean {found['score_change_mean']:.4f}; embedding cosine at least "
            f"{found['embedding_cosine_min']:.3f}; mask Dice at least {found['lung_dice_min']:.3f}."
        )
    return lines or ["No precision went through the accuracy gate."]


def _training(training: dict[str, Any]) -> list[str]:
    lines = ["## Training"]
    for name, record in {"lungs": training["lungs"], **training["members"]}.items():
        rows = record["rows"]
        lines.append(f"- {name}: {rows['train']} train and {rows['val']} val rows of {record['manifest']}, "
                     f"preset {record['preset']}, seed {record['seed']}.")  # fmt: skip
    if "pretraining" in training:
        figures = training["pretraining"]["test"]
        labels = f"{figures['n_covid']} positive, {figures['n_other']} negative"
        lines.append(f"- pretraining, held-out patients of its one source ({labels}): AUC {_auc(figures)}.")
    gate = training["gate"]
    if "rule" not in gate:
        lines.append(
            f"- lung gate: {gate['refused']} of {gate['radiographs']} frontal train and val radiographs refused."
        )
    commands = [command for command in training.get("commands", ()) if command.strip()]
    return [*lines, "", "```", *commands, "```"] if commands else lines
