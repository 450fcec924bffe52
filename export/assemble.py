"""Graphs and radiographs -> a bundle folder: gate limits, reference set, operating points and golden cases.

Everything is asked of the engine that the box itself will run. Figures are added later by `amend`.
"""

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from edge.bundle import Bundle, read_bundle
from edge.calibration import Proof, proven_scaling
from edge.errors import UsageError
from edge.gate_limits import GateLimits, Limits
from edge.imaging.preprocess import Preprocessing
from edge.operating_point import youden_point
from edge.reference_cases import is_patient_key
from edge.temperature import apply_temperature
from edge.values import case_id_of
from export.bundle_writer import BundleContent, read_content, write_manifest
from export.golden import write_golden
from export.loose_graphs import FP32, with_fp32
from export.recipes import Recipe
from export.thumbnails import write_thumbnails
from training.progress import bar
from training.row import Row
from training.scorers import EngineAnswer, ask_engine

GATE_PERCENTILES = (0.2, 99.8)  # rounded outwards to 0.01: at most 1% of frontal radiographs may be refused
GATE_MARGIN = 0.03


@dataclass(frozen=True)
class Radiographs:
    """reference, validation: labelled rows. gate: frontal radiographs that the gate must let pass, no test row.

    thumbnails: whether the bundle holds small pictures of its reference cases, and is patient data by that.
    """

    reference: Sequence[Row]
    validation: Sequence[Row]
    gate: Sequence[Row]
    thumbnails: bool = False


def assemble(
    recipe: Recipe, graphs: Path, members: tuple[str, ...], side: int, radiographs: Radiographs,
    training: dict[str, Any], out: Path,
) -> str:  # fmt: skip
    """Write the bundle folder `out`; returns the bundle id. An older one stays as it was until the new one is complete.

    graphs: folder with model.fp32.onnx, a model.<precision>.onnx for each precision of the recipe, and accuracy.json of
    `calibrate`, or the bundle records no outcome of the accuracy gate. Raises UsageError, before anything is written,
    for a graph that is missing, and for an outcome that is of other graphs or labels, that failed, or that did not
    judge flipped decisions where the bundle will decide.
    """
    accuracy = _accuracy(graphs, recipe)
    with taking_place_of(out) as fresh:
        (fresh / "golden").mkdir()
        for precision in recipe.precisions:
            shutil.copyfile(graphs / f"model.{precision}.onnx", fresh / f"model.{precision}.onnx")
        content = BundleContent(
            name=recipe.name,
            role=recipe.role,
            labels=recipe.labels,
            members=members,
            embedding_member=members[0],
            network_input_size=side,
            preprocessing=Preprocessing(framing=recipe.framing),
            precisions=recipe.precisions,
            operating_points=dict.fromkeys(recipe.precisions),
            temperatures=dict.fromkeys(recipe.precisions),
            gates=GateLimits(Limits(0.0, 1.0)),
            metrics={},
            training={**training, **recipe.terms},
            accuracy=accuracy,
        )
        write_manifest(fresh, content)  # a draft: enough for the engine
        draft = read_bundle(fresh)
        limits, gate = _gate(draft, recipe.default_precision, radiographs.gate)
        content = replace(content, gates=GateLimits(limits), training={**content.training, "gate": gate})
        if recipe.decides:
            content = _deciding(content, draft, radiographs.validation)
            write_manifest(fresh, content)
            draft = read_bundle(fresh)  # what is asked from here on is scaled by its temperatures
        references = _drawn(radiographs.reference, recipe.references)
        _write_reference(with_fp32(draft, graphs / f"model.{FP32}.onnx"), references, fresh)
        if radiographs.thumbnails:
            write_thumbnails(fresh, [row.path for row in references])
        write_golden(draft, recipe.default_precision, fresh)
        identity = write_manifest(fresh, content)
    return identity


@contextmanager
def taking_place_of(out: Path) -> Iterator[Path]:
    """A fresh folder beside `out` to write to, which becomes `out` in the end; a failure leaves `out` as it was."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as beside:
        fresh = Path(beside, "new")
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rename(Path(beside, "old"))
        fresh.rename(out)


def amend(folder: Path, metrics: dict[str, Any], training: dict[str, Any], card: str) -> str:
    """Add figures, provenance and the model card to a written bundle; returns its new id."""
    content = read_content(folder)
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return write_manifest(folder, replace(content, metrics=metrics, training={**content.training, **training}))


def _accuracy(graphs: Path, recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What the gate found of the recipe's precisions; nothing where it was not run."""
    held = {precision: _digest(graphs, precision) for precision in (FP32, *recipe.precisions)}
    outcomes = gate_outcomes(graphs)
    found = {precision: outcomes[precision] for precision in recipe.precisions if precision in outcomes}
    again = f"run: edge-cxr calibrate --graphs {graphs}"
    for precision, outcome in found.items():
        for key, name in (("graph_sha256", precision), ("fp32_sha256", FP32)):
            judged = str(outcome.get(key))
            if judged != held[name]:
                raise UsageError(f"the accuracy gate judged {precision} by another model.{name}.onnx ({judged[:12]}) "
                                 f"than {graphs} holds ({held[name][:12]}); {again}")  # fmt: skip
        _require_fit(precision, outcome, recipe, again)
    return found


def _require_fit(precision: str, outcome: dict[str, Any], recipe: Recipe, again: str) -> None:
    labels = list(recipe.labels)
    if outcome.get("labels") != labels:
        raise UsageError(f"the accuracy gate judged {precision} for the labels {outcome.get('labels')}, not {labels}; "
                         f"{again} --labels {','.join(labels)}")  # fmt: skip
    if not outcome["passed"]:
        raise UsageError(f"{precision} failed the accuracy gate ({'; '.join(outcome['failures'])}); calibrate with "
                         "more radiographs, or assemble with --name, which leaves it out")  # fmt: skip
    if recipe.decides and not outcome["decisions_judged"]:
        raise UsageError(f"the accuracy gate did not judge the decisions of {precision}, and this bundle decides; "
                         f"{again} without --undecided")  # fmt: skip


def _digest(graphs: Path, precision: str) -> str:
    graph = graphs / f"model.{precision}.onnx"
    if not graph.is_file():
        raise UsageError(f"{graphs} holds no {graph.name}; run: edge-cxr export, then calibrate")
    return hashlib.sha256(graph.read_bytes()).hexdigest()


def gate_outcomes(graphs: Path) -> dict[str, dict[str, Any]]:
    """Per precision, as `calibrate` left them beside the graphs; empty where it was not run."""
    written = graphs / "accuracy.json"
    return json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}


def _answers(bundle: Bundle, precision: str, rows: Sequence[Row], description: str) -> list[EngineAnswer]:
    paths = [row.path for row in rows]
    return list(bar(ask_engine(bundle, precision, paths), description, total=len(paths)))


def _gate(bundle: Bundle, precision: str, rows: Sequence[Row]) -> tuple[Limits, dict[str, Any]]:
    """Limits on the lung fraction, and the percentiles that they were drawn from."""
    fractions = []
    for answer in bar(ask_engine(bundle, precision, [row.path for row in rows]), "gate", total=len(rows)):
        fractions.append(answer.lung_fraction)
    low, high = np.percentile(fractions, GATE_PERCENTILES)
    limits = Limits(math.floor(low * 100) / 100, math.ceil(high * 100) / 100, GATE_MARGIN)
    seen = {f"p{share}": round(float(np.percentile(fractions, share)), 4) for share in (0, 0, 1, 5, 50, 95, 99, 100)}
    refused = sum(not limits.low <= fraction <= limits.high for fraction in fractions)
    return limits, {"radiographs": len(fractions), "refused": refused, "lung_fraction": seen}


def _deciding(content: BundleContent, draft: Bundle, rows: Sequence[Row]) -> BundleContent:
    """With operating points, and with temperatures where these validation rows prove them."""
    positive = [row.label == content.labels[1] for row in rows]
    clusters = [row.cluster for row in rows]
    points, temperatures = dict(content.operating_points), dict(content.temperatures)
    proofs: dict[str, Proof] = {}
    for precision in content.precisions:
        answers = _answers(draft, precision, rows, f"operating point {precision}")
        scores = [answer.prediction.score for answer in answers]
        # The gate's point decides as fp32 does; without a gate each precision has its own.
        point = content.accuracy.get(precision, {}).get("operating_point")
        if point is None:
            point = youden_point(scores, positive)
        scaling = proven_scaling(scores, positive, clusters)
        points[precision] = point if scaling is None else float(apply_temperature(point, scaling.temperature))
        temperatures[precision] = None if scaling is None else scaling.temperature
        if scaling is not None and scaling.proof is not None:
            proofs[precision] = scaling.proof
    return replace(content, operating_points=points, temperatures=temperatures, calibration=proofs)


def _drawn(rows: Sequence[Row], count: int) -> Sequence[Row]:
    """So many of them, in their order; 0 for all."""
    if 0 < count < len(rows):
        return sorted(Random(0).sample(list(rows), count), key=lambda row: row.line)
    return rows


def _write_reference(bundle: Bundle, rows: Sequence[Row], out: Path) -> None:
    """As the trained network itself answers, so that every precision retrieves among the same cases."""
    answers = _answers(bundle, FP32, rows, "reference")
    np.savez_compressed(
        out / "reference.npz",
        embeddings=np.stack([answer.prediction.embedding for answer in answers]).astype(np.float32),
        labels=np.array([row.label for row in rows]),
        scores=np.array([answer.prediction.score for answer in answers], np.float32),
        case_ids=np.array([case_id_of(answer.source.sha256) for answer in answers]),
        origins=np.array([row.columns.get("origin", "") for row in rows]),
        # Keys alone: a manifest that a person wrote may hold names.
        patients=np.array([row.patient_id if is_patient_key(row.patient_id) else "" for row in rows]),
    )
