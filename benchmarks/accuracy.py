"""The accuracy gate on this machine: every precision that a bundle holds, asked through the box's own engines.

On a GPU it is the plan that holds or fails. What is judged, and by which limits, is calib's.
"""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from calib.gate import Asked, GateFailed, Limits, Outcome, judge
from calib.gate import table as table_of
from calib.gate_set import GateSet, gate_set, rows_of
from calib.ranges import read_input
from calib.selection import USUAL, CalibrationSet, choose
from edge.bundle import Bundle, Manifest, open_bundle
from edge.config import Config
from edge.engines import Engine, Outputs, open_engine
from edge.errors import UsageError
from edge.reading_room import kept_plans
from edge.values import PRECISIONS, EngineIdentity
from export.parity import joined
from training.progress import bar
from training.row import Row

REFERENCE = "fp32"


@dataclass(frozen=True)
class Cohort:
    """Whom to ask about, as `calibrate` was told. seed: of the splits of a manifest without. cache: of arrays."""

    manifests: tuple[Path, ...]
    cache: Path
    permitted_only: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Judged:
    """What a precision came to, and the engine that answered for it."""

    engine: EngineIdentity
    outcome: Outcome


@dataclass(frozen=True)
class Accuracy:
    """precisions: fp32 first. fp32_sha256: of the graph that they are measured by. gate_sha256: of the gate set."""

    bundle_id: str
    fp32_sha256: str
    gate_sha256: str
    precisions: Mapping[str, Judged]

    def as_record(self) -> dict[str, Any]:
        stamps = {"bundle_id": self.bundle_id, "fp32_sha256": self.fp32_sha256, "gate_sha256": self.gate_sha256}
        found = {
            name: {"backend": judged.engine.backend, "version": judged.engine.version, **judged.outcome.as_record()}
            for name, judged in self.precisions.items()
        }
        return {**stamps, "precisions": found}

    def table(self) -> str:
        told = ", ".join(f"{name} by {judged.engine.backend}" for name, judged in self.precisions.items())
        return f"{table_of({name: judged.outcome for name, judged in self.precisions.items()})}\nanswered: {told}"

    def require(self) -> None:
        """Raises GateFailed naming the precisions that fail."""
        failed = [name for name, judged in self.precisions.items() if not judged.outcome.passed]
        if failed:
            raise GateFailed(f"the accuracy gate fails for {', '.join(failed)} on this machine; set another "
                             "precision here, or calibrate again and assemble the bundle anew")  # fmt: skip


def measure_accuracy(config: Config, cohort: Cohort, fp32: Path | None, *, say: Callable[[str], None]) -> Accuracy:
    """Ask the engines that this machine would take for each precision. say: told of what can be no more than a warning.

    fp32: the graph that the bundle's int8 was made from, where it does not hold one itself; asked by OpenVINO.
    Raises UsageError where there is no fp32 to measure by, or two; and what opening an engine raises.
    """
    bundle = open_bundle(config.bundle, trusted_keys=config.trusted_keys)
    asked = askable(bundle, fp32)
    manifest = bundle.manifest
    rows = rows_of(cohort.manifests, permitted_only=cohort.permitted_only, seed=cohort.seed)

    def opened(precision: str) -> Engine:
        backend = config.backend if precision in manifest.precisions else "openvino"
        return open_engine(asked, backend=backend, precision=precision, plans=kept_plans(config))

    for precision in _precisions(manifest):
        opened(precision).close()  # a plan that is missing must not be found out after an hour of asking
    calibration = calibration_of(manifest, [row for part in rows for row in part], say)
    gate = gate_set(rows, calibration, manifest.preprocessing, cohort.cache, positive=manifest.labels[1])
    digest = hashlib.sha256(asked.model_bytes(REFERENCE)).hexdigest()
    return Accuracy(bundle.id, digest, gate.sha256, judge_precisions(manifest, gate, opened))


def judge_precisions(manifest: Manifest, gate: GateSet, opened: Callable[[str], Engine]) -> dict[str, Judged]:
    """fp32, by itself, and every other precision of a bundle by it. opened: the engine of a precision; closed here."""
    found: dict[str, Judged] = {}
    fp32: Asked | None = None
    for precision in _precisions(manifest):
        with contextlib.closing(opened(precision)) as engine:
            radiographs = _ask(engine, gate.radiographs, f"gate {precision}")
            asked = Asked(radiographs, _ask(engine, gate.cases, f"cases {precision}"))
        fp32 = fp32 or asked
        outcome = judge(fp32, asked, gate.labels, limits=_limits(manifest, precision))
        found[precision] = Judged(engine.identity, outcome)
    return found


def askable(bundle: Bundle, fp32: Path | None) -> Bundle:
    """The bundle with an fp32 to measure by, its own or the graph named, and no outcome of an earlier gate: a precision
    that failed answers for nobody, but here it is asked whether it still does.
    """
    manifest = replace(bundle.manifest, accuracy={})
    held = f"bundle {manifest.name} holds {', '.join(manifest.precisions)}"
    if REFERENCE in manifest.precisions:
        if fp32 is not None:
            raise UsageError(f"{held}: its own fp32 is what the others are measured by; leave out --fp32 {fp32.name}")
        return replace(bundle, manifest=manifest)
    if fp32 is None:
        raise UsageError(
            f"{held} and no fp32 to measure by; name the graph that it was made from: --fp32 model.fp32.onnx"
        )
    manifest = replace(manifest, precisions=(REFERENCE, *manifest.precisions))
    return replace(bundle, manifest=manifest, files={**bundle.files, f"model.{REFERENCE}.onnx": fp32.read_bytes()})


def calibration_of(manifest: Manifest, rows: Sequence[Row], say: Callable[[str], None]) -> CalibrationSet:
    """The radiographs that int8 was calibrated with, chosen again from the rows as its bundle recorded it."""
    recorded = manifest.accuracy.get("int8", {})
    chosen = choose(rows, recorded.get("calibration_radiographs", USUAL))
    expected = recorded.get("calibration_sha256", chosen.sha256)
    if chosen.sha256 != expected:
        say(f"warning: int8 was calibrated with other radiographs ({expected[:12]}) than these manifests give "
            f"({chosen.sha256[:12]}), and some of them may be judged; name the manifests of `calibrate`")  # fmt: skip
    return chosen


def _precisions(manifest: Manifest) -> tuple[str, ...]:
    """fp32 first, whether or not it is held."""
    return (REFERENCE, *(name for name in PRECISIONS if name in manifest.precisions and name != REFERENCE))


def _limits(manifest: Manifest, precision: str) -> Limits:
    """Without an operating point nothing is decided. An fp32 that the bundle does not hold decides as the others do."""
    deciding = {name for name, point in manifest.operating_points.items() if point is not None}
    decides = precision in deciding if precision in manifest.precisions else bool(deciding)
    return Limits() if decides else Limits(flipped=None)


def _ask(engine: Engine, kept: Sequence[Path], description: str) -> Outputs:
    """One radiograph at a time, as the box asks."""
    return joined([engine.infer(read_input(path)) for path in bar(kept, description, total=len(kept))])
