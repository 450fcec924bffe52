"""The lung U-Net of a study: trained on masks, or taken from a checkpoint, and its overlap with masks it never saw."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edge.engines.base import MASK_SIDE
from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training import options
from training.arrays import readable, standardise
from training.devices import Place
from training.fit import Say
from training.lungs import LungExamples, LungPreset, dice_of, iou, load_examples, train_lungs
from training.manifest import of_split, read_manifest
from training.model import copy_checkpoint, load_lungs, require_preprocessing, weights_sha256
from training.outcome import LungOverlap
from training.row import TRAINING_SPLITS, Row
from training.splits import hold_out
from training.study_folder import StudyFolder
from training.wishes import Wishes, versions


class StudyLungs:
    """Masks come from the lung manifest, or from the column mask_path of the study's own."""

    def __init__(
        self, wishes: Wishes, preset: LungPreset, folder: StudyFolder, tested: Sequence[Row], place: Place, say: Say
    ) -> None:
        """tested: rows of the study's tests; whoever is among them is not learned from, whatever manifest says so."""
        self._wishes, self._folder, self._place, self._say = wishes, folder, place, say
        self._tested = {("patient", row.patient_id) for row in tested} | {
            ("file", str(row.path.resolve())) for row in tested
        }
        self._tested |= {("group", row.group_id) for row in tested if row.group_id}
        self._preset = replace(preset, schedule=replace(preset.schedule, seed=wishes.seed))
        self._manifest = wishes.lung_manifest or wishes.manifest
        self._preprocessing = Preprocessing(framing=wishes.framing)

    @cached_property
    def checkpoint(self) -> Path:
        """Trained where none was named. Raises UsageError without masks, or for one that read other radiographs."""
        if self._wishes.lungs is not None:
            require_preprocessing(self._wishes.lungs, self._preprocessing.digest)
            self._take(self._wishes.lungs)
            return self._folder.lungs / "best"
        train, val = (self._kept(split) for split in ("train", "val"))
        if not train[0] or not val[0]:
            raise UsageError(
                "the networks read a lung channel: name lung weights with --lungs, or masks with --lung-manifest or in "
                f"the column mask_path of {self._wishes.manifest.name}, for some train and some val rows"
            )

        def load_at(side: int) -> tuple[LungExamples, LungExamples]:
            learn, hold = (load_examples(rows, paths, self._preprocessing, side) for rows, paths in (train, val))
            return learn, hold

        made_by = self._made_by(len(train[0]), len(val[0]))
        return train_lungs(load_at, self._preset, self._folder.lungs, made_by, place=self._place, say=self._say)

    def _take(self, checkpoint: Path) -> None:
        """A copy, so that the folder holds all it needs. Raises UsageError when it holds other lung weights already."""
        own = self._folder.lungs / "best"
        if own.with_suffix(".json").exists():
            if weights_sha256(own) != weights_sha256(checkpoint):
                raise UsageError(
                    f"{self._folder.path.name} holds other lung weights than --lungs names; choose another --out"
                )
        elif self._place.first:
            copy_checkpoint(checkpoint, own)
        self._place.wait()

    def overlaps(self) -> list[LungOverlap]:
        """Of every test split that has masks, at the 256 pixels of the exported graph."""
        splits = dict.fromkeys(row.split for row in self._rows if row.split.startswith("test"))
        found = []
        for split in splits:
            rows, paths = self._kept(split)
            examples = load_examples(rows, paths, self._preprocessing, MASK_SIDE)
            dice = dice_of(load_lungs(self.checkpoint).to(self._place.device), examples)
            found.append(LungOverlap(split, rows, dice.double().numpy(), iou(dice.double()).numpy()))
        return found

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        """Rows with masks, each with its split; labelled by their finding where the manifest has no label."""
        trains = self._wishes.lungs is None  # otherwise the rows only measure
        permitted_only = self._wishes.permitted_only
        rows = read_manifest(self._manifest, labels=None, permitted_only=permitted_only, apart=trains)
        if trains:  # over every row, with a mask or not: the study draws the same
            rows = hold_out(rows, shares=options.HELD_OUT, seed=self._wishes.seed)
        rows = tuple(
            row for row in rows if row.mask_path and not (row.split in TRAINING_SPLITS and self._is_tested(row))
        )
        return tuple(replace(row, label=row.label or row.columns.get("finding", "")) for row in rows)

    def _is_tested(self, row: Row) -> bool:
        who = {("patient", row.patient_id), ("group", row.group_id), ("file", str(row.path.resolve()))}
        return not self._tested.isdisjoint(who)

    def _kept(self, split: str) -> tuple[tuple[Row, ...], tuple[Path, ...]]:
        rows = of_split(self._rows, split)
        kept = standardise(rows, self._preprocessing, self._wishes.cache, place=self._place)
        if self._wishes.leave_out_refused:
            for item in kept:
                if item.path is None:
                    self._say(f"left out: line {item.row.line}, {item.row.path.name}: {item.refusal}")
            kept = tuple(item for item in kept if item.path is not None)
        return readable(kept)

    def _made_by(self, train: int, val: int) -> dict[str, Any]:
        return {
            "network": "lungs",
            "preset": self._wishes.preset,
            "manifest": self._manifest.name,
            "manifest_sha256": hashlib.sha256(self._manifest.read_bytes()).hexdigest(),
            "rows": {"train": train, "val": val},
            "seed": self._wishes.seed,
            "preprocessing_digest": self._preprocessing.digest,
            "versions": versions(),
        }
