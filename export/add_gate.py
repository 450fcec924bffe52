"""Gives a written bundle its gate: gate.npz, the limits in the manifest, and in the model card what it refuses.

And the levels that drift is measured from: they are of the same radiographs.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundle import GATE, read_bundle
from edge.errors import UsageError
from edge.frontal import FEATURES
from export.assemble import taking_place_of
from export.bundle_writer import read_content, write_manifest
from export.card import render_card
from export.drift_levels import drift_levels
from export.gate_pictures import FRONTAL, INVERTED, Pictured
from export.gate_rule import Fitted, arrays_of, fit
from training import options
from training.manifest import of_split, read_manifest
from training.progress import bar
from training.row import TRAINING_SPLITS, Row
from training.scorers import box_scorer
from training.splits import hold_out

LEAST_RADIOGRAPHS = 200  # of fewer, two in a hundred is no number to set a limit by
NOT_FRONTAL = "not_frontal"  # a split of radiographs that the gate must refuse; none of it is learned

Groups = Mapping[str, Sequence[Path]]  # by the name that the card calls them


def rows_to_learn(manifest: Path, *, permitted_only: bool, seed: int) -> tuple[Row, ...]:
    """The train and val rows; of a manifest without splits, those that `train` would not hold out as test."""
    rows = read_manifest(manifest, labels=None, permitted_only=permitted_only)
    rows = hold_out(rows, shares=options.HELD_OUT, seed=seed)
    return tuple(row for row in rows if row.split in TRAINING_SPLITS)


def groups_to_judge(manifest: Path, *, permitted_only: bool, seed: int) -> Groups:
    """Test splits and `not_frontal`, what is held out of a manifest without splits, or every file of a plain list."""
    with manifest.open(encoding="utf-8", newline="") as text:
        lines = csv.DictReader(text)
        if "patient_id" not in (lines.fieldnames or ()):
            return {manifest.name: [manifest.parent / line["path"] for line in lines]}
    rows = read_manifest(manifest, labels=None, apart=False)
    if not any(row.split for row in rows):
        rows = read_manifest(manifest, labels=None, apart=False, permitted_only=permitted_only)
        rows = hold_out(rows, shares=options.HELD_OUT, seed=seed)
    splits = sorted({row.split for row in rows if row.split.startswith("test") or row.split == NOT_FRONTAL})
    named = {split: split if split != "test" else f"test ({manifest.name})" for split in splits}
    return {named[split]: [row.path for row in of_split(rows, split)] for split in splits}


def add_gate(folder: Path, pictures: Sequence[Pictured], groups: Groups, *, out: Path) -> str:
    """Write `out`, the bundle of `folder` with a gate fitted on pictures; returns its id. The two may be the same.

    groups are judged by the box's own pipeline, with the new gate. Raises UsageError for too few radiographs.
    """
    frontal = sum(each.kind == FRONTAL for each in pictures)
    if frontal < LEAST_RADIOGRAPHS or not any(each.kind == INVERTED for each in pictures):
        raise UsageError(f"{frontal} frontal radiographs are too few to set a gate by; give {LEAST_RADIOGRAPHS}")
    reference = read_bundle(folder).reference()
    fitted = fit(pictures, reference.embeddings)
    with taking_place_of(out) as fresh:
        shutil.copytree(folder, fresh, dirs_exist_ok=True)
        np.savez(fresh / GATE, features=np.int64(FEATURES), **arrays_of(fitted.rule))
        content = replace(
            read_content(fresh), gates=fitted.limits, drift=drift_levels(_passed(pictures, fitted), reference)
        )
        write_manifest(fresh, content)
        found = _judged(fresh, content.training["default_precision"], groups)
        gate = {**content.training["gate"], "rule": _record(fitted, found)}
        content = replace(content, training={**content.training, "gate": gate})
        if content.metrics:  # before there are figures there is no card
            card = render_card(content, content.metrics, content.training)
            (fresh / "MODEL_CARD.md").write_text(card, encoding="utf-8")
        identity = write_manifest(fresh, content)
    return identity


def _passed(pictures: Sequence[Pictured], fitted: Fitted) -> list[Pictured]:
    frontal = [each for each in pictures if each.kind == FRONTAL]
    return [each for each, reason in zip(frontal, fitted.refusals[FRONTAL], strict=True) if reason is None]


def _judged(bundle: Path, precision: str, groups: Groups) -> dict[str, Counter[str]]:
    """Per group how often the box gave which reason; "" is a score."""
    with box_scorer(bundle, precision) as score:
        return {
            name: Counter(score(path).reason for path in bar(paths, name, total=len(paths)))
            for name, paths in groups.items()
        }


def _record(fitted: Fitted, found: Mapping[str, Counter[str]]) -> dict[str, Any]:
    learned = {kind: Counter(str(reason or "") for reason in reasons) for kind, reasons in fitted.refusals.items()}
    return {"learned": {kind: _counted(counts) for kind, counts in sorted(learned.items())},
            "judged": {name: _counted(counts) for name, counts in found.items()}}  # fmt: skip


def _counted(counts: Counter[str]) -> dict[str, Any]:
    """total, and how many were refused by each reason."""
    refused = {reason: count for reason, count in sorted(counts.items()) if reason}
    return {"total": counts.total(), "refused": refused}
