"""A study on disk: where each network of each draw lies, what it answered, and what the study came to.

The rows' columns stay in the manifest; the folder names them by line.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.statistics import Interval
from training.manifest import read_manifest
from training.outcome import Answers, Draw, Excluded, LungOverlap, StudyOutcome, TriedMethod
from training.presets import LUNGS
from training.row import Row

OUTCOME = "study.json"


@dataclass(frozen=True)
class StudyFolder:
    path: Path

    @property
    def lungs(self) -> Path:
        return self.path / LUNGS

    @property
    def outcome(self) -> Path:
        return self.path / OUTCOME

    @property
    def frozen(self) -> Path:
        """Features of the embedding member's backbone before it saw this cohort."""
        return self.path / "frozen.npz"

    @property
    def sizes(self) -> Path:
        return self.path / "sizes.json"

    @property
    def report(self) -> Path:
        return self.path / "report"

    def network(self, draw: str, network: str) -> Path:
        return self.path / draw / network

    def answers(self, draw: str, network: str) -> Path:
        return self.network(draw, network) / "answers.npz"


def keep_answers(path: Path, answers: Answers, asked: str) -> None:
    """asked: what was asked of which weights; other answers are never taken for these."""
    beside = path.with_name(f".{path.name}")
    np.savez_compressed(beside, scores=answers.scores, embeddings=answers.embeddings, asked=np.array(asked))
    beside.replace(path)


def keep_features(path: Path, lines: list[int], features: NDArray[np.float32]) -> None:
    """features: float32 [n, f] of the manifest's lines."""
    beside = path.with_name(f".{path.name}")
    np.savez_compressed(beside, lines=np.array(lines), features=features)
    beside.replace(path)


def kept_answers(path: Path, asked: str | None = None) -> Answers | None:
    """None where there are none, or none to what is asked; asked None: whatever was."""
    if not path.exists():
        return None
    with np.load(path) as kept:
        if asked is not None and str(kept["asked"]) != asked:
            return None
        return Answers(kept["scores"], kept["embeddings"])


def keep_outcome(folder: StudyFolder, outcome: StudyOutcome) -> None:
    """All of it but the answers, which each network's folder holds."""
    draws = {
        kind: [
            {"name": draw.name, "members": draw.members, "networks": list(draw.answers),
             "lines": [row.line for row in draw.rows], "splits": [row.split for row in draw.rows]}
            for draw in part
        ]
        for kind, part in (("draws", outcome.draws), ("source_draws", outcome.source_draws))
    }  # fmt: skip
    record = {
        "title": outcome.title,
        "labels": outcome.labels,
        **draws,
        "excluded": [[item.row.line, item.reason, item.detail] for item in outcome.excluded],
        "networks": outcome.networks,
        "embedding_member": outcome.embedding_member,
        "primary": outcome.primary,
        "lungs": [
            {"split": part.split, "labels": [row.label for row in part.rows],
             "dice": part.dice.tolist(), "iou": part.iou.tolist()}
            for part in outcome.lungs
        ],
        "settings": outcome.settings,
        "methods": methods_written(outcome.methods),
    }  # fmt: skip
    beside = folder.path / f".{OUTCOME}"
    beside.write_text(json.dumps(record, indent=1, default=list), encoding="utf-8")
    beside.replace(folder.path / OUTCOME)


def read_outcome(folder: StudyFolder, manifest: Path) -> StudyOutcome:
    """The outcome of a finished study. Raises UsageError when it is not, or was made from another manifest."""
    record = _record(folder)
    found, expected = hashlib.sha256(manifest.read_bytes()).hexdigest(), record["settings"]["manifest_sha256"]
    if found != expected:
        raise UsageError(
            f"{manifest.name} is not the manifest of {folder.path.name} (SHA-256 {found[:12]}, the study's "
            f"{expected[:12]}); name the one it was trained with"
        )
    of_line = {row.line: row for row in read_manifest(manifest, labels=None, apart=False)}
    return StudyOutcome(
        title=record["title"],
        labels=tuple(record["labels"]),
        draws=tuple(_draw(folder, part, of_line) for part in record["draws"]),
        source_draws=tuple(_draw(folder, part, of_line) for part in record["source_draws"]),
        excluded=tuple(Excluded(of_line[line], reason, detail) for line, reason, detail in record["excluded"]),
        networks=tuple(record["networks"]),
        embedding_member=record["embedding_member"],
        primary=record["primary"],
        lungs=[_overlap(part) for part in record["lungs"]],
        settings=record["settings"],
        methods=methods_read(record["methods"]),
    )


def methods_written(methods: Sequence[TriedMethod]) -> list[dict[str, Any]]:
    return [
        {"method": method.name, "why": method.why,
         "auc": {name: {**asdict(auc), "n": count} for name, (auc, count) in method.aucs.items()}}
        for method in methods
    ]  # fmt: skip


def methods_read(record: Sequence[Mapping[str, Any]]) -> tuple[TriedMethod, ...]:
    return tuple(
        TriedMethod(row["method"], row["why"], {
            name: (Interval(auc["value"], auc["low"], auc["high"]), auc["n"]) for name, auc in row["auc"].items()
        })
        for row in record
    )  # fmt: skip


def _record(folder: StudyFolder) -> dict[str, Any]:
    try:
        return json.loads((folder.path / OUTCOME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{folder.path.name} holds no finished study; run edge-cxr train with this --out until it ends"
        ) from None


def _draw(folder: StudyFolder, part: dict[str, Any], of_line: Mapping[int, Row]) -> Draw:
    answers = {}
    for network in part["networks"]:
        kept = kept_answers(folder.answers(part["name"], network))
        if kept is None:
            raise UsageError(f"{part['name']}/{network} holds no answers; run edge-cxr train with this --out again")
        answers[network] = kept
    rows = tuple(replace(of_line[line], split=split) for line, split in zip(part["lines"], part["splits"], strict=True))
    return Draw(part["name"], rows, answers, tuple(part["members"]))


def _overlap(part: dict[str, Any]) -> LungOverlap:
    rows = tuple(Row(0, Path(), "", label, part["split"], "", "", None) for label in part["labels"])
    return LungOverlap(part["split"], rows, np.array(part["dice"]), np.array(part["iou"]))
