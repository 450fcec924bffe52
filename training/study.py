"""The whole study: cohort, lung U-Net, every network on every division of the cohort, and what each answers.

    manifest -> rows -> standardised arrays -> cohort -> lungs -> draws x networks -> answers -> StudyOutcome

Whatever is done already is taken from the study's folder, so the same command goes on where it was killed.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from edge.errors import UsageError
from edge.imaging.preprocess import Preprocessing
from training.classify import (
    ClassifierPreset,
    Examples,
    Places,
    ask_checkpoint,
    first_features,
    train_classifier,
)
from training.devices import Place
from training.fit import Say
from training.model import load_lungs, weights_file, weights_sha256
from training.outcome import Answers, Draw, StudyOutcome, TriedMethod
from training.presets import LUNGS, PRESETS
from training.row import Row
from training.splits import draw_splits, hold_out_source, sources_of_both
from training.stacks import input_stack, radiograph_stack
from training.study_cohort import StudyCohort, study_cohort
from training.study_folder import StudyFolder, keep_answers, keep_features, keep_outcome, kept_answers, methods_read
from training.study_lungs import StudyLungs
from training.wishes import Wishes, versions

# The ablation's radiographs: resized, and nothing else.
UNPROCESSED = Preprocessing(
    framing="stretch", border_limit=0.0, low_percentile=0.0, high_percentile=100.0, clahe_clip_limit=0.01, clahe_tiles=1
)


class Study:
    """One run of the flow. Raises UsageError for a bad manifest or wish, before anything is trained."""

    def __init__(self, wishes: Wishes, place: Place, say: Say) -> None:
        self.wishes, self.place, self.say = wishes, place, say
        self.preset = PRESETS[wishes.preset]
        self.folder = StudyFolder(wishes.out)
        self.preprocessing = Preprocessing(framing=wishes.framing)
        self.manifest_sha256 = hashlib.sha256(wishes.manifest.read_bytes()).hexdigest()
        self.networks = {} if wishes.networks == (LUNGS,) else self._networks()
        self.methods = self._methods()
        self._examples: dict[tuple[int, bool, bool], Examples] = {}

    def run(self) -> StudyOutcome:
        """Train what is missing, ask every network, and keep the outcome."""
        draws, source_draws = self._divide()  # a cohort that cannot be divided is known before anything is trained
        primary = self._primary(draws["split-0"])
        self.say(f"{self.wishes.preset} on {self.place}: {len(self.cohort.rows)} radiographs, {len(draws)} divisions, "
                 f"{len(source_draws)} held-out sources, {', '.join(self.networks)}")  # fmt: skip
        overlaps = self.lungs.overlaps()
        outcome = StudyOutcome(
            title=self.wishes.manifest.stem,
            labels=self.wishes.labels,
            draws=tuple(self._drawn(name, rows, whole=name == "split-0") for name, rows in draws.items()),
            source_draws=tuple(
                self._drawn(name, rows, only=self.embedding_member) for name, rows in source_draws.items()
            ),
            excluded=self.cohort.excluded,
            networks=tuple(self.networks),
            embedding_member=self.embedding_member,
            primary=primary,
            lungs=overlaps,
            settings=self._settings(),
            methods=self.methods,
        )
        if self.place.first:
            self._keep_frozen()
            keep_outcome(self.folder, outcome)
        return outcome

    @cached_property
    def cohort(self) -> StudyCohort:
        return study_cohort(self.wishes, self.preprocessing, self.place)

    @cached_property
    def lungs(self) -> StudyLungs:
        alone = self.wishes.networks == (LUNGS,)
        tested = (
            () if alone else [row for row in self.cohort.held_out(self.wishes.seed) if row.split.startswith("test")]
        )
        return StudyLungs(self.wishes, self.preset.lungs, self.folder, tested, self.place, self.say)

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(name for name in self.preset.members if name in self.networks)

    @property
    def embedding_member(self) -> str:
        chosen = self.preset.embedding_member
        return chosen if chosen in self.networks else self.members[0]

    def _networks(self) -> dict[str, ClassifierPreset]:
        """The classifiers to train. One that begins from a file is left out, aloud, where no file is named."""
        known = self.preset.networks
        wanted = [name for name in self.wishes.networks if name != LUNGS] or list(known)
        for name in (*wanted, *self.wishes.inits):
            if name not in known:
                raise UsageError(f"preset {self.wishes.preset} has no network {name}; it has {', '.join(known)}")
        chosen = {}
        for name in wanted:
            if known[name].start == "file" and name not in self.wishes.inits:
                self.say(f"{name}: left out, for it begins from weights; name their file with --init {name}=FILE")
            else:
                schedule = replace(known[name].schedule, seed=self.wishes.seed)
                chosen[name] = replace(known[name], schedule=schedule)
        if not any(name in chosen for name in self.preset.members):
            raise UsageError(
                f"no network of the ensemble ({', '.join(self.preset.members)}) is left to train; name one of them "
                "with --network, and its first weights with --init where it begins from a file"
            )
        return chosen

    def _divide(self) -> tuple[dict[str, tuple[Row, ...]], dict[str, tuple[Row, ...]]]:
        """The rows of every draw by its name, and of every held-out source."""
        wishes, rows = self.wishes, self.cohort.rows
        count = self.preset.draws if wishes.draws is None else wishes.draws
        draws = {"split-0": self.cohort.held_out(wishes.seed)}
        for number in range(1, count):
            draws[f"split-{number}"] = draw_splits(rows, seed=wishes.seed + number)
        sources = sources_of_both(draws["split-0"], wishes.labels) if wishes.source_draws else ()
        held = {
            f"source-{number}": hold_out_source(draws["split-0"], source, seed=wishes.seed)
            for number, source in enumerate(sources)
        }
        for name, drawn in {**draws, **held}.items():
            self._require_both(name, drawn)
        return draws, held

    def _require_both(self, name: str, rows: Sequence[Row]) -> None:
        for split in ("train", "val"):
            there = {row.label for row in rows if row.split == split}
            missing = [label for label in self.wishes.labels if label not in there]
            if missing:
                raise UsageError(
                    f"{name} of {self.wishes.manifest.name} has no {split} row labelled {missing[0]}; list more "
                    "patients of that label, or correct the column split"
                )

    def _primary(self, rows: Sequence[Row]) -> str:
        """The test split that the study states its figures on: the one named, or the first that holds both labels."""
        tests = dict.fromkeys(row.split for row in rows if row.split.startswith("test"))
        if self.wishes.test_split is not None:
            if self.wishes.test_split not in tests:
                raise UsageError(f"there is no split {self.wishes.test_split}; there are {', '.join(tests)}")
            return self.wishes.test_split
        for split in tests:
            if len({row.label for row in rows if row.split == split}) == 2:
                return split
        raise UsageError(f"no test split of {self.wishes.manifest.name} holds both labels; list more patients")

    def _drawn(self, name: str, rows: tuple[Row, ...], *, whole: bool = False, only: str | None = None) -> Draw:
        """Every network trained on one division: all on the first, the ensemble's on the others, one where a source is
        held out."""
        names = tuple(self.networks) if whole else (only,) if only is not None else self.members
        answers = {network: self._answered(name, network, rows) for network in names}
        members = tuple(member for member in self.members if member in answers)
        return Draw(name, rows, answers, members)

    def _answered(self, draw: str, network: str, rows: tuple[Row, ...]) -> Answers:
        preset = self.networks[network]
        examples = self._examples_for(preset)
        places = Places(*(torch.tensor([at for at, row in enumerate(rows) if row.split == split], dtype=torch.int64)
                          for split in ("train", "val")))  # fmt: skip
        out, made_by = self.folder.network(draw, network), self._made_by(draw, network, rows)
        init = self.wishes.inits.get(network)
        best = train_classifier(examples, places, preset, out, made_by, init=init, place=self.place, say=self.say)
        asked = f"{weights_sha256(best)} {self.cohort.digest}"
        kept = kept_answers(self.folder.answers(draw, network), asked)
        if kept is None:
            kept = ask_checkpoint(best, examples, place=self.place)
            if self.place.first:
                keep_answers(self.folder.answers(draw, network), kept, asked)
        return kept

    def _examples_for(self, preset: ClassifierPreset) -> Examples:
        """Every radiograph of the cohort at the network's size; made once for all networks of that size."""
        side, cache = preset.architecture.side, self.wishes.cache
        key = (side, preset.unprocessed, preset.architecture.lung_crop)
        known = self._examples.get(key)
        if known is not None:
            return known
        paths = (
            self.cohort.paths if not preset.unprocessed else self.cohort.standardised_as(UNPROCESSED, cache, self.place)
        )
        if preset.architecture.lung_channel:
            network = load_lungs(self.lungs.checkpoint).to(self.place.device)
            sha256 = weights_sha256(self.lungs.checkpoint)
            radiographs, lungs = input_stack(network, sha256, paths, preset.architecture, cache, place=self.place)
        else:
            radiographs = radiograph_stack(paths, side, cache, place=self.place)
            lungs = torch.zeros(1, 1, side, side, dtype=torch.uint8).expand(len(paths), -1, -1, -1)
        labels = torch.tensor([self.wishes.labels.index(row.label) for row in self.cohort.rows])
        made = Examples(radiographs, lungs, labels, torch.ones(len(paths)))
        self._examples[key] = made
        return made

    def _keep_frozen(self) -> None:
        """Features of the embedding member's backbone as it began: how far a network gets that learned nothing here."""
        preset, init = self.networks[self.embedding_member], self.wishes.inits.get(self.embedding_member)
        features = None
        if init is not None or preset.start == "imagenet":
            features = first_features(self._examples_for(preset), preset, init, place=self.place)
        if features is None:
            self.folder.frozen.unlink(missing_ok=True)
        else:
            keep_features(self.folder.frozen, [row.line for row in self.cohort.rows], features.numpy())

    def _methods(self) -> tuple[TriedMethod, ...]:
        """What `python -m training.methods` wrote before, where it is named."""
        path = self.wishes.methods
        try:
            return () if path is None else methods_read(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as fault:
            raise UsageError(
                f"{self.wishes.methods} is no table of methods ({type(fault).__name__}); make it with python -m "
                "training.methods"
            ) from None

    def _settings(self) -> dict[str, Any]:
        """What made the study, without machine paths: enough to repeat it."""
        return {
            "preset": self.wishes.preset,
            "manifest": self.wishes.manifest.name,
            "manifest_sha256": self.manifest_sha256,
            "framing": self.wishes.framing,
            "preprocessing_digest": self.preprocessing.digest,
            "permitted_only": self.wishes.permitted_only,
            "seed": self.wishes.seed,
            "operating_rule": self.wishes.operating_rule,
            "command": self.wishes.command,
            "place": str(self.place),
            "versions": versions(),
        }

    def _made_by(self, draw: str, network: str, rows: Sequence[Row]) -> dict[str, Any]:
        init = self.wishes.inits.get(network)
        splits = [row.split for row in rows]
        return {
            "network": network,
            "preset": self.wishes.preset,
            "manifest": self.wishes.manifest.name,
            "manifest_sha256": self.manifest_sha256,
            "draw": draw,
            "labels": list(self.wishes.labels),
            "arrays_sha256": self.cohort.digest,
            "rows": {"train": splits.count("train"), "val": splits.count("val")},
            "rows_sha256": _digest([(row.line, row.split) for row in rows]),
            "seed": self.wishes.seed,
            "preprocessing_digest": (UNPROCESSED if self.networks[network].unprocessed else self.preprocessing).digest,
            "lungs_sha256": weights_sha256(self.lungs.checkpoint),
            "init": None if init is None else init.name if init.suffix else init.parent.name,
            "init_sha256": None if init is None else hashlib.sha256(weights_file(init).read_bytes()).hexdigest(),
            "versions": versions(),
        }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
